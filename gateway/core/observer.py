"""What the core tells those who watch. The composition root carries it to metrics and log; tests collect it."""

from typing import Protocol

from bounce.report import Action
from gateway.calls import AttemptFacts, Message
from gateway.core.held import Held
from mail.outcome import Outcome


class Observer(Protocol):
    """Each method is called once for each fact, on the event loop's thread, and must be quick."""

    def accepted(self, message: Message, deliveries: list[int]) -> None:
        """A message is on disk."""

    def repeated(self, message: Message, first: int, recipients: int, differs: bool) -> None:
        """Recipients of a message were accepted before under its idempotency key, first with message `first`, and are not sent to again.
        `differs`: then with another body."""

    def refused(self, account: str, reason: str) -> None:
        """The core did not take a message; `reason` is one word (full, busy, broken)."""

    def attempted(self, held: Held, provider: str, outcome: Outcome, facts: AttemptFacts, became: str, next_due: float) -> None:
        """One attempt ended. `became` is the event kind; `next_due` is 0 for an end."""

    def ended(self, held: Held, provider: str, became: str, reason: str) -> None:
        """A delivery ended without an attempt (expired, cancelled, unroutable); `reason` is for people."""

    def suppressed(self, message: Message, recipient: str, reason: str) -> None:
        """A recipient was not queued, or not tried."""

    def connection_trouble(self, source: str, provider: str, host: str, outcome: Outcome) -> None:
        """A connection could not be made or used."""

    def committed(self, size: int, seconds: float) -> None:
        """One transaction was written: messages and outcomes in it, and how long it took."""

    def published(self, sink: str, events: int) -> None:
        """Events were written to a sink, durably."""

    def returned(self, count: int) -> None:
        """Deliveries went back to the queue untouched."""

    def stale(self, deliveries: list[int]) -> None:
        """Outcomes or releases of deliveries that were not ours to change: they changed nothing, which is a bug of ours."""

    def told(self, message: Message | None, action: Action, recipients: int, result: str) -> None:
        """A report about `recipients` of `message` was accepted (`sent`), or will never be: `result` is the reason in one word."""

    def tripped(self, account: str, campaign: str, provider: str, seconds: float, why: str) -> None:
        """A campaign was put on hold at a provider because too much of it is refused."""
