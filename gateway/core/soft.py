"""Soft bounces: a mailbox that fails on several days is suppressed for a while, and watched for a while after that.

`addition_of` is asked for the consequence of a final failure before it is committed, so that the `suppression_added` event goes with its
cause. `follow` reads the event log, in the thread that carries it to disk, and keeps the counts: a failure counts, a delivery forgets, a
suppression begins the probation that follows its end, taking it off the list forgets. Each may happen twice for one event and changes
nothing then: failures of one day are one, and an event's times are its own.

A lookup that fails counts nothing and suppresses nobody: the failure itself is in the log, and counts when that is read.
"""

from collections.abc import Callable, Iterable

import msgspec

from bounce.consequence import DAY, DEFAULT, Consequence, Decision, Evidence, History, count, of_facts
from bounce.consequence import Policy as BouncePolicy
from config.suppression import Suppression
from contacts.address import normalise
from contacts.consequence import added
from contacts.soft import NOTHING, Past, SoftFailures
from contacts.suppression import Reason, Scope
from contacts.trouble import StoreError
from mail.event import Event, EventKind, unseal
from mail.outcome import Category, Fault

FAILURES = frozenset({EventKind.BOUNCED, EventKind.EXPIRED})
_RECIPIENT = b'"fault":"recipient"'
_DELIVERED = b'"kind":"delivered"'
_LIMIT = b'"reason":"soft_bounce_limit"'
_CATEGORIES = frozenset(category.value for category in Category)
_ADDRESS = b'"recipient":"'


class SoftBounces:
    """Counts and decides. `told` hears of trouble with the store."""

    def __init__(self, failures: SoftFailures, settings: Suppression, told: Callable[[str], None]) -> None:
        self._failures = failures
        self._told = told
        self.reconfigure(settings)

    def reconfigure(self, settings: Suppression) -> None:
        """Use new settings for what comes."""
        self._on = settings.soft_bounces > 0
        self._probation = settings.soft_probation
        self._policy: BouncePolicy = msgspec.structs.replace(
            DEFAULT,
            soft_threshold=max(1, settings.soft_bounces),
            soft_window=settings.soft_window,
            soft_expiry=settings.soft_expiry,
        )

    def addition_of(self, event: Event, now: float) -> Event | None:
        """The event that suppresses the recipient of `event` for a while, because of it and of what came before; mostly None."""
        decision = self._decision(event)
        if decision is None:
            return None
        try:
            past = self._failures.past(decision.address)
        except StoreError as error:
            self._told(str(error))
            return None
        if self._after(past, decision)[1] is not Consequence.SUPPRESS:
            return None
        expires = event.at + self._policy.soft_expiry
        return added(event, Reason.SOFT_BOUNCE_LIMIT, Scope.GLOBAL, now, event.origin or "smtp", expires)

    def _decision(self, event: Event) -> Decision | None:
        """What the policy says of a final failure whose fault is the recipient's and which does not say that the address is dead; None for
        every other event, and for one that does not count."""
        soft = event.kind in FAILURES and event.fault == Fault.RECIPIENT.value and not event.hard and not event.suppression_proposed
        address = normalise(event.recipient) if soft and self._on else None
        if address is None or event.category not in _CATEGORIES:
            return None
        evidence = Evidence("event", event.at, event.diagnostic, event.rule, event.enhanced)
        decision = of_facts(self._policy, address, Category(event.category), Fault.RECIPIENT, hard=False, evidence=evidence)
        return decision if decision.consequence is Consequence.COUNT else None

    def _after(self, past: Past, decision: Decision) -> tuple[Past, Consequence]:
        """The past after this failure, and what follows. Mail that was under way when the suppression began counts for nothing."""
        at = decision.evidence.at
        if at < past.probation - self._probation:
            return past, Consequence.NOTHING
        if at < past.probation:
            return past, Consequence.SUPPRESS
        history, decided = count(self._policy, History(past.times), decision, at)
        return Past(history.times, past.probation), decided.consequence

    # In the thread that carries the event log to disk.

    def follow(self, lines: Iterable[bytes], now: float) -> None:
        """Keep the counts. Raises StoreError: nothing of these lines was kept."""
        revisions = [revision for line in lines if (revision := self._revision(line)) is not None]
        if revisions:
            self._failures.revise(revisions, now)

    def tidy(self, now: float) -> int:
        """Forget what cannot matter any more. Raises StoreError."""
        return self._failures.tidy(now - max(self._policy.soft_window, DAY), now)

    def _revision(self, line: bytes) -> tuple[str, Callable[[Past], Past]] | None:
        if _DELIVERED in line:
            return None if self._failures.none else self._delivered(line)
        if _RECIPIENT not in line and _LIMIT not in line:
            return None
        try:
            event = unseal(line)
        except msgspec.DecodeError:
            return None  # told by whoever reads it for the list
        address = normalise(event.recipient)
        limit = event.reason == Reason.SOFT_BOUNCE_LIMIT.value and address is not None
        if limit and event.kind is EventKind.SUPPRESSION_ADDED and event.expires:
            until = event.expires + self._probation
            return address or "", lambda past: Past((), until)
        if limit and event.kind is EventKind.SUPPRESSION_REMOVED:
            return address or "", lambda past: NOTHING
        decision = self._decision(event)
        return None if decision is None else (decision.address, lambda past: self._after(past, decision)[0])

    def _delivered(self, line: bytes) -> tuple[str, Callable[[Past], Past]] | None:
        """Almost every line ends here, so it is not decoded."""
        start = line.find(_ADDRESS) + len(_ADDRESS)
        address = line[start : line.find(b'"', start)].decode("utf-8", "replace").lower()
        if not self._failures.has_past(address):
            return None
        return address, lambda past: NOTHING
