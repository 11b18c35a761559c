"""Settlement: what an outcome makes of a delivery, decided before the commit and written with its event in one transaction.

Pure given `now` and a random source: `settle` reads the refusal table and the retry schedule and returns a `Settled` value: the change
for the spool, the event, what it became and when it is due again. It does not write, count or log.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from config.sending import Stream
from contacts.consequence import hard_bounce_addition
from gateway.calls import Settlement
from gateway.core.flows import FlowRegistry, Streams, pool_flow
from gateway.core.held import Held
from gateway.core.noticing import Noticing
from gateway.core.telling import UNTRIED, told
from gateway.delivery.refusal import Action, Past, action_for
from gateway.notices.policy import NoticePolicy
from gateway.spool.lifecycle import State
from gateway.spool.port import UNROUTED, Change, FlowKey
from gateway.traffic.retry import Retried, RetryDecision, after_greylisting, after_unsure, next_attempt, when_the_lane_allows
from mail.event import Event, EventKind, seal
from mail.outcome import Category, Delivered, Fault, Outcome, Unsure, Verdict, is_hard

SAME_SOURCE_GRACE = 3600.0
"""Seconds after a greylisted delivery's retry is due for which it stays bound to its source."""

EXCLUSION = 86_400.0
"""Seconds for which a source is excluded for a delivery after an IP-reputation refusal."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The consequence of one attempt."""

    change: Change
    became: EventKind
    next_due: float
    counted_by_breaker: bool = False
    reason: str = ""
    """Why a delivery ended without an attempt, for people."""
    addition: Event | None = None
    """The event that suppresses the recipient: the refusal says that the address is dead, or was one soft failure too many."""


def never(event: Event, now: float) -> Event | None:
    """Soft bounces have no consequence."""
    return None


class Settler:
    """Decides consequences. `random` gives jitter; `soft` knows whether a failure that is not hard suppresses after all."""

    def __init__(
        self,
        streams: Streams,
        flows: FlowRegistry,
        random_source: random.Random,
        node: str,
        soft: Callable[[Event, float], Event | None] = never,
        notices: NoticePolicy | None = None,
    ) -> None:
        self._soft = soft
        self._streams = streams
        self._noticing = Noticing(notices)
        self._flows = flows
        self._random = random_source
        self._node = node
        self._actions: dict[Action, Callable[[Held, Settlement, Verdict, float], Settled]] = {
            Action.FAIL: self._fail,
            Action.FAIL_COUNTED: self._fail_counted,
            Action.RETRY: self._retry,
            Action.RETRY_LANE: self._retry_lane,
            Action.RETRY_SAME_SOURCE: self._retry_same_source,
            Action.OTHER_SOURCE: self._other_source,
            Action.RETRY_UNSURE: self._retry_unsure,
        }

    def settle(self, held: Held, settlement: Settlement, now: float) -> Settled:
        """What `settlement` makes of `held`."""
        outcome = settlement.outcome
        if isinstance(outcome, Delivered):
            event = self._event(held, settlement, EventKind.DELIVERED, None, now)
            notice = self._noticing.relayed(held, settlement, outcome.reply, now) if held.notify else None
            change = Change(held.id, State.DELIVERED, now, [seal(event)], attempts=held.attempts + 1, notice=notice)
            return Settled(change, EventKind.DELIVERED, 0.0)
        key = self._key(held)
        past = Past(
            unsure=held.unsure,
            sources_tried=held.sources_tried,
            another_source=key is not None and self._streams.other_sources(key, settlement.facts.lane.source),
            retry_unsure=self._stream(held).unsure == "retry",
        )
        return self._actions[action_for(outcome, past)](held, settlement, outcome.verdict, now)

    def expire(self, held: Held, now: float) -> Settled:
        """The delivery's time is over while it waited."""
        event = self._untried(held, EventKind.EXPIRED, now, category=Category.EXPIRED.value, fault=Fault.UNKNOWN.value)
        notice = self._noticing.expired(held, now)
        change = Change(held.id, State.EXPIRED, now, [seal(event)], attempts=held.attempts, notice=notice)
        return Settled(change, EventKind.EXPIRED, 0.0)

    def cancel(self, held: Held, reason: str, now: float) -> Settled:
        """An operator, or a suppression that came later, ends the delivery."""
        event = self._untried(held, EventKind.CANCELLED, now, diagnostic=reason)
        change = Change(held.id, State.CANCELLED, now, [seal(event)], attempts=held.attempts)
        return Settled(change, EventKind.CANCELLED, 0.0, reason=reason)

    # One function for each action of the table.

    def _fail(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        if verdict.category in (Category.IP_REPUTATION, Category.RATE_LIMITED):
            verdict = msgspec.structs.replace(verdict, fault=Fault.SENDER_IP)
        event = self._event(held, settlement, EventKind.BOUNCED, verdict, now)
        # The consequence is decided before the commit and written with its cause (DESIGN section 5).
        addition = hard_bounce_addition(event, now) or self._soft(event, now)
        events = [seal(event)] if addition is None else [seal(event), seal(addition)]
        notice = self._noticing.failed(held, settlement, verdict, now)
        change = Change(held.id, State.FAILED, now, events, attempts=held.attempts + 1, notice=notice)
        return Settled(change, EventKind.BOUNCED, 0.0, addition=addition)

    def _fail_counted(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        return msgspec.structs.replace(self._fail(held, settlement, verdict, now), counted_by_breaker=True)

    def _retry(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        decision = next_attempt(self._stream(held).retry, held.steps, now, held.begun, self._random)
        # Hosts that cannot be reached may have been replaced, and so may a policy they do not satisfy: the next attempt asks anew.
        unroute = verdict.category in (Category.NETWORK, Category.TLS)
        return self._deferred(held, settlement, verdict, now, decision, unroute=unroute)

    def _retry_lane(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        retry = self._stream(held).retry
        until = now + retry.rest * (1.0 + retry.jitter * self._random.random())
        decision = when_the_lane_allows(retry, held.steps, until, now, held.begun)
        return self._deferred(held, settlement, verdict, now, decision)

    def _retry_same_source(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        decision = after_greylisting(self._stream(held).retry, held.steps, now, held.begun, self._random)
        key = self._key(held)
        if key is None or not isinstance(decision, Retried):
            return self._deferred(held, settlement, verdict, now, decision)
        bound = msgspec.structs.replace(key, only=settlement.facts.lane.source, without=())
        return self._deferred(held, settlement, verdict, now, decision, key=bound, eligible_until=decision.due + SAME_SOURCE_GRACE)

    def _other_source(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        key = self._key(held)
        if key is None:
            return self._retry(held, settlement, verdict, now)
        excluded = msgspec.structs.replace(pool_flow(key), without=tuple(sorted({*key.without, settlement.facts.lane.source})))
        decision = Retried(now, held.steps)
        return self._deferred(
            held, settlement, verdict, now, decision, key=excluded, eligible_until=now + EXCLUSION, sources_tried=held.sources_tried + 1
        )

    def _retry_unsure(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        decision = after_unsure(self._stream(held).retry, held.steps, now, held.begun)
        return self._deferred(held, settlement, verdict, now, decision, unsure=held.unsure + 1)

    # Shared ends.

    def _deferred(
        self,
        held: Held,
        settlement: Settlement,
        verdict: Verdict,
        now: float,
        decision: RetryDecision,
        *,
        key: FlowKey | None = None,
        eligible_until: float | None = None,
        unsure: int | None = None,
        sources_tried: int | None = None,
        unroute: bool = False,
    ) -> Settled:
        if not isinstance(decision, Retried) or decision.due >= held.expires:
            return self._expired(held, settlement, verdict, now)
        due = decision.due
        event = msgspec.structs.replace(self._event(held, settlement, EventKind.DEFERRED, verdict, now), next_attempt_at=due)
        change = Change(
            held.id,
            State.QUEUED,
            now,
            [seal(event)],
            flow=UNROUTED if unroute else self._flows.number(key) if key is not None else -1,
            due=due,
            attempts=held.attempts + 1,
            steps=decision.steps,
            unsure=held.unsure if unsure is None else unsure,
            sources_tried=held.sources_tried if sources_tried is None else sources_tried,
            eligible_until=held.eligible_until if eligible_until is None else eligible_until,
            reason=str(verdict.reply)[:500],
            unleased=held.flow == UNROUTED,
            notice=self._noticing.delayed(held, settlement, verdict, now),
        )
        return Settled(change, EventKind.DEFERRED, due)

    def _expired(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Settled:
        event = self._event(held, settlement, EventKind.EXPIRED, verdict, now)
        addition = self._soft(event, now)
        events = [seal(event)] if addition is None else [seal(event), seal(addition)]
        notice = self._noticing.failed(held, settlement, verdict, now)
        change = Change(held.id, State.EXPIRED, now, events, attempts=held.attempts + 1, notice=notice)
        return Settled(change, EventKind.EXPIRED, 0.0, addition=addition)

    def _stream(self, held: Held) -> Stream:
        return self._streams.get(held.message.stream)

    def _key(self, held: Held) -> FlowKey | None:
        return None if held.flow == UNROUTED else self._flows.key(held.flow)

    def _event(self, held: Held, settlement: Settlement, kind: EventKind, verdict: Verdict | None, now: float) -> Event:
        facts, outcome = settlement.facts, settlement.outcome
        reply = outcome.reply if isinstance(outcome, Delivered) else outcome.verdict.reply
        attempt = held.attempts + 1
        hard = verdict is not None and is_hard(verdict.category, kind is EventKind.BOUNCED)
        return told(
            held.message,
            held.id,
            held.recipient.text,
            kind,
            str(attempt),
            now,
            self._node,
            attempt=attempt,
            provider=facts.lane.provider,
            source=facts.lane.source,
            host=facts.host,
            address=facts.address,
            tls=facts.tls,
            tls_policy="" if facts.security is None else facts.security.policy,
            tls_result="" if facts.security is None else facts.security.result,
            phase="" if verdict is None else verdict.phase.value,
            category="" if verdict is None else verdict.category.value,
            fault="" if verdict is None else verdict.fault.value,
            hard=hard,
            code=reply.code,
            enhanced=reply.enhanced,
            diagnostic=reply.text[:1000],
            rule="" if verdict is None else verdict.rule,
            duplicate_possible=isinstance(outcome, Unsure) or held.unsure > 0,
            suppression_proposed=hard and verdict is not None and verdict.fault is Fault.RECIPIENT,
        )

    def _untried(self, held: Held, kind: EventKind, now: float, **facts: Any) -> Event:
        return told(held.message, held.id, held.recipient.text, kind, UNTRIED, now, self._node, attempt=held.attempts, **facts)


def verdict_of(outcome: Outcome) -> Verdict | None:
    """Why the attempt did not deliver, or None."""
    return None if isinstance(outcome, Delivered) else outcome.verdict
