"""Carries what the core says to metrics and log: one line per attempt with all an operator needs, one count per fact."""

from collections.abc import Callable

from bounce.report import Action
from gateway.calls import AttemptFacts, Message
from gateway.core.held import Held
from gateway.observe import log
from gateway.observe.metrics import Metrics
from mail.event import EventKind
from mail.outcome import Deferred, Delivered, Failed, Outcome, Unsure

SLOW_COMMIT = 1.0
"""Seconds after which a commit is worth a line."""

_WORDS = {Delivered: "delivered", Deferred: "deferred", Failed: "failed", Unsure: "unsure"}


class Reporting:
    """An `Observer` for real life."""

    def __init__(self, metrics: Metrics, secured: Callable[[str, AttemptFacts], None] = lambda domain, facts: None) -> None:
        """`secured` hears of attempts over connections of which something was asked of TLS: the recipient's domain, and the facts."""
        self._metrics = metrics
        self._secured = secured

    def accepted(self, message: Message, deliveries: list[int]) -> None:
        """A message is on disk."""
        self._metrics.accepted(message.listener, message.stream, len(deliveries), message.size)
        log.accepted(
            message=message.id,
            recipients=len(deliveries),
            account=message.account,
            stream=message.stream,
            campaign=message.campaign,
            sender=message.sender.text,
            message_id=message.message_id,
            size=message.size,
            client=message.client,
            helo=message.helo,
            listener=message.listener,
        )

    def repeated(self, message: Message, first: int, recipients: int, differs: bool) -> None:
        """Recipients were accepted before under the same idempotency key."""
        self._metrics.repeated(message.stream, recipients, differs)
        log.repeated(message=message.id, first=first, recipients=recipients, account=message.account, another_body=differs)

    def refused(self, account: str, reason: str) -> None:
        """The core did not take a message."""
        self._metrics.refused("core", 452 if reason == "full" else 451, reason)

    def attempted(self, held: Held, provider: str, outcome: Outcome, facts: AttemptFacts, became: str, next_due: float) -> None:
        """One attempt ended."""
        message = held.message
        category = "" if isinstance(outcome, Delivered) else outcome.verdict.category.value
        metrics = self._metrics
        metrics.attempted(facts.lane.source, provider, message.stream, _WORDS[type(outcome)], category, facts.ended - facts.started)
        if isinstance(outcome, Delivered):
            metrics.delivered(message.stream, facts.ended - (message.received_at if message.labels is None else held.begun))
        elif became == EventKind.EXPIRED.value:
            metrics.ended(provider, message.stream, became, category)
        log.attempt(
            delivery=held.id,
            message=message.id,
            recipient=held.recipient,
            return_path=held.return_path,
            account=message.account,
            stream=message.stream,
            campaign=message.campaign,
            number=held.attempts + 1,
            outcome=outcome,
            facts=facts,
            queued_at=message.received_at,
            next_attempt_at=next_due,
            consequence=became,
        )
        if facts.security is not None:
            self._secured(held.recipient.domain, facts)
        if isinstance(outcome, Unsure):
            log.duplicate_possible(delivery=held.id, recipient=held.recipient.text, why="the reply to the final dot was lost")

    def ended(self, held: Held, provider: str, became: str, reason: str) -> None:
        """A delivery ended without an attempt."""
        message = held.message
        self._metrics.ended(provider, message.stream, became, became if became == "expired" else "")
        log.ended(
            delivery=held.id, recipient=held.recipient.text, account=message.account, campaign=message.campaign, state=became, reason=reason
        )

    def suppressed(self, message: Message, recipient: str, reason: str) -> None:
        """A recipient was not queued, or not tried."""
        self._metrics.ended("", message.stream, "suppressed", reason)

    def connection_trouble(self, source: str, provider: str, host: str, outcome: Outcome) -> None:
        """A connection could not be made or used. Sessions count it; here is its line."""
        if isinstance(outcome, Delivered):
            return
        verdict = outcome.verdict
        log.connection_failed(
            source=source,
            provider=provider,
            host=host,
            address="",
            phase=verdict.phase.value,
            reply=verdict.reply,
            category=verdict.category.value,
        )

    def committed(self, size: int, seconds: float) -> None:
        """One transaction was written."""
        self._metrics.committed(size, seconds)
        if seconds > SLOW_COMMIT:
            log.commit_slow(seconds, size)

    def published(self, sink: str, events: int) -> None:
        """Events reached a sink."""
        self._metrics.published(sink, events)

    def returned(self, count: int) -> None:
        """Deliveries went back untouched: nothing happened to them, so nothing is counted."""

    def stale(self, deliveries: list[int]) -> None:
        """Changes that changed nothing."""
        log.changes_stale(deliveries)

    def told(self, message: Message | None, action: Action, recipients: int, result: str) -> None:
        """A report to a sender, or none."""
        self._metrics.told(action.value, result)
        log.told(
            message=0 if message is None else message.id,
            account="" if message is None else message.account,
            sender="" if message is None else message.sender.text,
            action=action.value,
            recipients=recipients,
            result=result,
        )

    def tripped(self, account: str, campaign: str, provider: str, seconds: float, why: str) -> None:
        """A campaign rests at a provider."""
        log.campaign_held(account=account, campaign=campaign, provider=provider, seconds=seconds, why=why)
