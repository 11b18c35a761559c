"""What an attempt makes of a delivery: one event, one state that fits it, a next due time only where it goes on."""

import itertools
import random

import pytest

from config.sending import Pool, Retry, Source, Stream
from config.settings import Settings
from gateway.calls import AttemptFacts, Lane, Message, Settlement
from gateway.core.flows import FlowRegistry, Streams
from gateway.core.held import Held
from gateway.core.settlement import Settled, Settler
from gateway.spool.lifecycle import State
from gateway.spool.port import UNROUTED, FlowKey, NewFlow
from mail.address import Address
from mail.event import FINAL, Event, EventKind, unseal
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Outcome, Phase, Unsure, Verdict
from mail.reply import Reply

NOW = 1_000_000.0
RECIPIENT = Address("ann@mailbox.example", "mailbox.example")
SENDER = Address("news@shop.example", "shop.example")
STATES = {
    EventKind.DELIVERED: State.DELIVERED,
    EventKind.BOUNCED: State.FAILED,
    EventKind.EXPIRED: State.EXPIRED,
    EventKind.CANCELLED: State.CANCELLED,
    EventKind.DEFERRED: State.QUEUED,
}
KEY = FlowKey("google", "mx", "default", "crm", "news", "spring", "normal")


def _settler(unsure: str = "retry", lifetime: float = 86_400.0) -> tuple[Settler, FlowRegistry]:
    stream = Stream.model_validate({"name": "news", "unsure": unsure, "retry": {"lifetime": lifetime}})
    settings = Settings(
        stream=[stream], source=[Source(name="s1"), Source(name="s2")], pool=[Pool(name="default", members={"s1": 1, "s2": 1})]
    )
    flows = FlowRegistry([NewFlow(1, KEY)], lambda flow: None)
    return Settler(Streams(settings), flows, random.Random(1), "node"), flows


def _held(flow: int = 1, attempts: int = 0, steps: int = 0, unsure: int = 0, sources_tried: int = 0) -> Held:
    message = Message("crm", "news", SENDER, "shop.example", NOW, 10, id=5, campaign="spring")
    return Held(7, message, RECIPIENT, "b+x@gateway.example", flow, NOW + 86_400.0, attempts, steps, unsure, sources_tried)


def _verdict(category: Category, fault: Fault, code: int = 451) -> Verdict:
    return Verdict(Reply(code, "words of the receiver", f"{code // 100}.0.0"), category, fault, "rule", Phase.RCPT)


def _settle(outcome: Outcome, held: Held, settler: Settler, now: float = NOW + 1) -> Settled:
    facts = AttemptFacts(started=now - 1, ended=now, lane=Lane("s1", "google"), host="mx.google.example")
    return settler.settle(held, Settlement(held.id, outcome, facts), now)


def _first_event(settled: Settled) -> Event:
    return unseal(settled.change.events[0])


def _outcomes() -> list[Outcome]:
    found: list[Outcome] = [Delivered(Reply(250, "taken", "2.0.0"))]
    for category, fault in itertools.product(Category, Fault):
        found += [Deferred(_verdict(category, fault)), Failed(_verdict(category, fault, 550)), Unsure(_verdict(category, fault))]
    return found


@pytest.mark.parametrize("flow", [1, UNROUTED])
@pytest.mark.parametrize("unsure", ["retry", "fail"])
def test_every_outcome_has_one_event_and_the_state_that_fits_it(flow: int, unsure: str) -> None:
    settler, _ = _settler(unsure)
    for outcome in _outcomes():
        settled = _settle(outcome, _held(flow), settler)
        event = _first_event(settled)
        assert settled.became is event.kind
        assert settled.change.state is STATES[event.kind]
        assert (event.kind in FINAL) == (settled.next_due == 0.0), outcome
        assert sum(unseal(line).kind in STATES for line in settled.change.events) == 1, "one outcome, one event about the delivery"
        if event.kind is EventKind.DEFERRED:
            assert settled.next_due == settled.change.due == event.next_attempt_at >= NOW + 1
        assert event.hard <= (event.kind is EventKind.BOUNCED)
        assert event.suppression_proposed <= (event.hard and event.fault == Fault.RECIPIENT)


def test_identities_of_events_are_stable_and_differ_from_attempt_to_attempt() -> None:
    settler, _ = _settler()
    deferred = Deferred(_verdict(Category.RECEIVER_TROUBLE, Fault.RECEIVER))
    first, again, second = (_first_event(_settle(deferred, _held(attempts=number), settler)).id for number in (0, 0, 1))
    ended = unseal(settler.expire(_held(attempts=1), NOW).change.events[0]).id
    assert first == again
    assert len({first, second, ended}) == 3


def test_a_rate_limit_uses_no_step_of_the_schedule_and_greylisting_binds_to_its_source() -> None:
    settler, flows = _settler()
    limited = _settle(Deferred(_verdict(Category.RATE_LIMITED, Fault.SENDER_IP)), _held(steps=2), settler)
    assert limited.change.steps == 2
    grey = _settle(Deferred(_verdict(Category.GREYLISTED, Fault.RECEIVER)), _held(), settler)
    assert flows.key(grey.change.flow).only == "s1"
    assert grey.change.eligible_until == grey.next_due + 3600.0
    assert 270 <= grey.next_due - NOW <= 330


def test_an_ip_reputation_refusal_tries_another_source_and_then_blames_the_ip() -> None:
    settler, flows = _settler()
    blocked = Failed(_verdict(Category.IP_REPUTATION, Fault.SENDER_IP, 550))
    other = _settle(blocked, _held(), settler)
    assert (other.became, flows.key(other.change.flow).without) == (EventKind.DEFERRED, ("s1",))
    last = _first_event(_settle(blocked, _held(sources_tried=2), settler))
    assert (last.kind, last.fault, last.hard) == (EventKind.BOUNCED, Fault.SENDER_IP, False)


def test_an_unsure_attempt_is_repeated_once_after_its_delay_and_says_what_may_be() -> None:
    settler, _ = _settler()
    lost = Unsure(_verdict(Category.NETWORK, Fault.NETWORK))
    once = _settle(lost, _held(), settler)
    assert once.next_due == NOW + 1 + Retry().unsure
    assert _first_event(once).duplicate_possible
    delivered = _first_event(_settle(Delivered(Reply(250, "ok")), _held(unsure=1), settler))
    assert delivered.duplicate_possible, "the copy before may have arrived as well"
    assert _settle(lost, _held(unsure=1), settler).became is EventKind.BOUNCED


def test_a_delivery_without_time_for_another_try_expires_with_the_words_of_its_last() -> None:
    settler, _ = _settler(lifetime=400.0)
    event = _first_event(_settle(Deferred(_verdict(Category.MAILBOX_FULL, Fault.RECIPIENT)), _held(attempts=3), settler, NOW + 390))
    assert (event.kind, event.category, event.diagnostic) == (EventKind.EXPIRED, Category.MAILBOX_FULL, "words of the receiver")
