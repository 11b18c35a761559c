"""From what happened to what follows: the `suppression_added` event that goes into the same transaction as its cause.

Pure: the id of the new event is made from the id of its cause, so the same cause seen twice (a repeated settle, a second report with the
same event) gives the same event, which changes nothing the second time. Whether a refusal is grave enough is decided before, by `bounce`;
here `suppression_proposed` is taken at its word. A delay, a reply or an automatic answer never suppresses.
"""

import msgspec

from contacts.suppression import Policy, Reason, Scope
from mail.event import Event, EventKind, timestamp

SUFFIX = ".s"
"""Appended to the id of the cause. One cause has one consequence."""

_REASONS = {
    EventKind.BOUNCED: Reason.HARD_BOUNCE,
    EventKind.COMPLAINED: Reason.COMPLAINT,
    EventKind.UNSUBSCRIBED: Reason.UNSUBSCRIBE,
}
_ORIGINS = {EventKind.BOUNCED: "smtp", EventKind.COMPLAINED: "feedback", EventKind.UNSUBSCRIBED: "one-click"}
DEFAULT = Policy()


def addition_of(event: Event, now: float, policy: Policy = DEFAULT) -> Event | None:
    """The event that suppresses because of `event`, or None: it is not of a kind that can, or does not propose it.

    A complaint or an unsubscription proposes by being there: its door has checked the token before it made the event.
    """
    reason = _REASONS.get(event.kind)
    if reason is None or (reason is Reason.HARD_BOUNCE and not event.suppression_proposed):
        return None
    return added(event, reason, _scope(event, reason, policy), now, event.origin or _ORIGINS[event.kind])


def hard_bounce_addition(event: Event, now: float) -> Event | None:
    """The event that suppresses a dead address because of a `bounced` event that proposes it; None for every other event."""
    return addition_of(event, now) if event.kind is EventKind.BOUNCED else None


def added(event: Event, reason: Reason, scope: Scope, now: float, origin: str, expires: float = 0.0) -> Event:
    """The event that adds an entry for the recipient of `event`, with `event` as its evidence. `expires` in Unix seconds, 0: never."""
    identity = event.id + SUFFIX
    return msgspec.structs.replace(
        event,
        id=identity,
        entry=identity,
        kind=EventKind.SUPPRESSION_ADDED,
        at=now,
        time=timestamp(now),
        reason=reason.value,
        scope=scope.value,
        origin=origin,
        evidence=event.id,
        expires=expires,
        suppression_proposed=False,
        next_attempt_at=0.0,
        duplicate_possible=False,
    )


def _scope(event: Event, reason: Reason, policy: Policy) -> Scope:
    """The scope the policy wants, or the next wider one that the event has a name for."""
    scope = policy.scope_of(reason, event.stream)
    if scope is Scope.LIST and not event.list:
        scope = Scope.STREAM
    if scope is Scope.STREAM and not event.stream:
        scope = Scope.ACCOUNT
    if scope is Scope.ACCOUNT and not event.account:
        scope = Scope.GLOBAL
    return scope
