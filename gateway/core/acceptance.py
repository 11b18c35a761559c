"""Acceptance: how the core takes responsibility for a message. 250 is answered only after `accept` has returned `Committed`.

Every recipient becomes a delivery with its identity, return path and flow. Where its route is known, its flow's window has room and the
body fits the budget, it is written as leased at once and goes straight to a connection after the commit; else it waits on disk. The next
due time is written before or with the lease, so a crash never hammers a receiver.

Limits and trouble at our own door answer 4xx: too many messages waiting (451 4.3.1), no space (452 4.3.1), broken storage (451 4.3.0).
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from config.sending import Stream
from config.settings import Settings
from gateway.calls import Committed, Message, Refused, Submission, Wish
from gateway.core.committer import Committer
from gateway.core.flows import FlowRegistry, Streams
from gateway.core.held import Held, not_before
from gateway.core.observer import Observer
from gateway.core.telling import ACCEPTED, told
from gateway.delivery.route import Route
from gateway.delivery.security.demand import demand_of, demanded
from gateway.spool.notice import Told
from gateway.spool.port import UNROUTED, Acceptance, FlowKey, NewDelivery, Repeated, SpoolError, SpoolFull
from mail.address import Address
from mail.event import Event, EventKind, seal
from mail.identity import IdentitySource, to_text
from mail.reply import Reply

BUSY = Refused(Reply(451, "Too many messages are waiting, try again later", "4.3.1"))
FULL = Refused(Reply(452, "No space for new messages, try again later", "4.3.1"))
BROKEN = Refused(Reply(451, "Storage trouble, try again later", "4.3.0"))


class SuppressionView(Protocol):
    """Who must not be written to."""

    def reason(self, account: str, stream: str, recipient: Address) -> str | None:
        """Why this recipient is suppressed, or None. Raises SpoolError when that cannot be known."""

    def apply(self, event: Event) -> None:
        """Take an event in at once."""

    def catch_up(self, rows: list[tuple[int, bytes]]) -> None:
        """Carry rows of the event log to disk; called in a thread. Raises SpoolError."""


class Windows(Protocol):
    """What acceptance asks of the engine."""

    def reserve(self, flow: int, size: int) -> bool:
        """A place in the flow's window and room for `size` octets; a reserved place is filled by `place` or given back by `unreserve`."""

    def unreserve(self, flow: int, size: int) -> None:
        """Give a reserved place back."""

    def place(self, held: Held) -> None:
        """A delivery that is on disk as leased goes into its window."""

    def waits(self, flow: int) -> None:
        """A delivery of this flow is on disk as queued and due."""

    def due_later(self, due: float) -> None:
        """A delivery with a route is on disk as queued, and due at `due`."""

    def unrouted(self, domain: str) -> None:
        """Deliveries of this domain are on disk without a route."""


class Acceptor:
    """Turns submissions into acceptances."""

    def __init__(
        self,
        settings: Settings,
        identities: IdentitySource,
        flows: FlowRegistry,
        committer: Committer,
        windows: Windows,
        cached_route: Callable[[str], Route | None],
        return_path: Callable[[int, Message, float], str],
        suppression: SuppressionView,
        observer: Observer,
        clock: Callable[[], float],
        space_left: Callable[[], bool],
        domain: str,
    ) -> None:
        self._identities = identities
        self._flows = flows
        self._committer = committer
        self._windows = windows
        self._cached_route = cached_route
        self._return_path = return_path
        self._suppression = suppression
        self._observer = observer
        self._clock = clock
        self._space_left = space_left
        self._domain = domain
        self._repeated: dict[int, Repeated] = {}
        """Of acceptances whose end the committer is about to tell."""
        committer.on_repeated = self._note_repeated
        self.reconfigure(settings)

    def reconfigure(self, settings: Settings) -> None:
        """Use new settings for what comes."""
        self._streams = Streams(settings)
        self._most_waiting = settings.spool.waiting
        self._node = settings.gateway.node

    async def accept(self, submission: Submission, told: Told | None = None) -> Committed | Refused:
        """Take responsibility for one message, or say why not. `told` are the notices that it, a report of ours, tells."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        now = self._clock()
        message = self._identify(submission.message, now)
        stream = self._streams.get(message.stream)
        try:
            wanted, events = self._without_suppressed(submission.recipients, message, now)
        except SpoolError:
            return BROKEN
        wishes = dict(zip(submission.recipients, submission.wishes, strict=True)) if submission.wishes else None
        begins = now if message.labels is None else max(now, not_before(message))
        deliveries = [self._delivery(message, recipient, stream, now, begins, wishes) for recipient in wanted]
        events += [self._accepted_event(message, delivery, now, begins) for delivery in deliveries]
        expires = begins + stream.retry.lifetime
        if submission.deadline:
            expires = min(expires, submission.deadline)
        acceptance = Acceptance(message, submission.content, expires, deliveries, events, submission.key, submission.body, told)
        if not deliveries:
            if told is not None:
                self._committer.told(told)
            return await self._note_suppressed(message, events)
        if submission.key:
            return await self._accept_keyed(acceptance, wanted)
        try:
            # A door that goes away undoes nothing: whoever waits or not, the committer calls `_after_commit`.
            await self._committer.accept(acceptance, lambda error: self._after_commit(error, acceptance, wanted))
        except SpoolError as error:
            return FULL if isinstance(error, SpoolFull) else BROKEN
        return Committed(message.id, [delivery.id for delivery in deliveries])

    async def _accept_keyed(self, acceptance: Acceptance, recipients: list[Address]) -> Committed | Refused:
        """As any other; but the spool may say that some recipients, or all, were accepted before under the key."""
        found: list[Repeated] = []

        def done(error: SpoolError | None) -> None:
            repeated = self._repeated.pop(acceptance.message.id, None)
            if repeated is None or error is not None:
                self._after_commit(error, acceptance, recipients)
                return
            found.append(repeated)
            self._after_repeat(repeated, acceptance, recipients)

        try:
            await self._committer.accept(acceptance, done)
        except SpoolError as error:
            return FULL if isinstance(error, SpoolFull) else BROKEN
        if not found:
            return Committed(acceptance.message.id, [delivery.id for delivery in acceptance.deliveries])
        dropped = set(found[0].deliveries)
        kept = [delivery.id for delivery in acceptance.deliveries if delivery.id not in dropped]
        return Committed(acceptance.message.id if kept else found[0].first, kept, len(dropped), found[0].first)

    def _note_repeated(self, repeated: list[Repeated]) -> None:
        """The committer says so in the turn in which it ends those acceptances."""
        self._repeated.update((one.message, one) for one in repeated)

    def _after_repeat(self, repeated: Repeated, acceptance: Acceptance, recipients: list[Address]) -> None:
        dropped = set(repeated.deliveries)
        for delivery in acceptance.deliveries:
            if delivery.leased and delivery.id in dropped:
                self._windows.unreserve(delivery.flow, acceptance.message.size)
        pairs = zip(acceptance.deliveries, recipients, strict=True)
        kept = [(delivery, recipient) for delivery, recipient in pairs if delivery.id not in dropped]
        self._observer.repeated(acceptance.message, repeated.first, len(dropped), repeated.differs)
        if kept:
            rest = msgspec.structs.replace(acceptance, deliveries=[delivery for delivery, _ in kept])
            self._after_commit(None, rest, [recipient for _, recipient in kept])

    def _after_commit(self, error: SpoolError | None, acceptance: Acceptance, recipients: list[Address]) -> None:
        if error is None:
            self._hand_over(acceptance, recipients)
            self._observer.accepted(acceptance.message, [delivery.id for delivery in acceptance.deliveries])
            return
        for delivery in acceptance.deliveries:
            if delivery.leased:
                self._windows.unreserve(delivery.flow, acceptance.message.size)
        self._observer.refused(acceptance.message.account, "full" if isinstance(error, SpoolFull) else "broken")

    async def _note_suppressed(self, message: Message, events: list[bytes]) -> Committed | Refused:
        """Every recipient is suppressed: nothing enters the queue, the events still must be on disk before 250."""
        self._committer.events(events)
        try:
            await asyncio.shield(self._committer.flush())
        except SpoolError:
            return BROKEN
        return Committed(message.id, [])

    def _refusal(self) -> Refused | None:
        if self._committer.broken is not None:
            return BROKEN
        if self._committer.waiting >= self._most_waiting:
            self._observer.refused("", "busy")
            return BUSY
        if not self._space_left():
            self._observer.refused("", "full")
            return FULL
        return None

    def _identify(self, message: Message, now: float) -> Message:
        """Fix what identifies the message, once."""
        identity = self._identities.next(now)
        if message.message_id:
            return msgspec.structs.replace(message, id=identity)
        message_id = f"<{to_text(identity)}@{self._domain}>"
        return msgspec.structs.replace(message, id=identity, message_id=message_id, added_message_id=True)

    def _without_suppressed(self, recipients: list[Address], message: Message, now: float) -> tuple[list[Address], list[bytes]]:
        wanted: list[Address] = []
        events: list[bytes] = []
        for recipient in recipients:
            reason = self._suppression.reason(message.account, message.stream, recipient)
            if reason is None:
                wanted.append(recipient)
                continue
            self._observer.suppressed(message, recipient.text, reason)
            never = self._identities.next(now)
            event = told(message, never, recipient.text, EventKind.SUPPRESSED, ACCEPTED, now, self._node, reason=reason)
            events.append(seal(event))
        return wanted, events

    def _delivery(
        self, message: Message, recipient: Address, stream: Stream, now: float, begins: float, wishes: dict[Address, Wish] | None
    ) -> NewDelivery:
        """`begins`: when it may be tried first."""
        identity = self._identities.next(now)
        route = self._cached_route(recipient.domain)
        flow = UNROUTED
        leased = False
        if route is not None:
            flow = self._flows.number(flow_key(message, stream, route))
            leased = begins == now and self._windows.reserve(flow, message.size)
        due = now + stream.retry.first if leased else begins
        return_path = self._return_path(identity, message, begins)  # its token is good for the return window from then on
        if wishes is None:
            return NewDelivery(identity, recipient.text, recipient.domain, return_path, flow, due, leased)
        wish = wishes[recipient]
        return NewDelivery(identity, recipient.text, recipient.domain, return_path, flow, due, leased, wish.notify, wish.orcpt)

    def _hand_over(self, acceptance: Acceptance, recipients: list[Address]) -> None:
        for delivery, recipient in zip(acceptance.deliveries, recipients, strict=True):
            if delivery.leased:
                self._windows.place(
                    Held(
                        delivery.id,
                        acceptance.message,
                        recipient,
                        delivery.return_path,
                        delivery.flow,
                        acceptance.expires,
                        content=acceptance.content,
                        notify=delivery.notify,
                        orcpt=delivery.orcpt,
                    )
                )
            elif delivery.flow == UNROUTED:
                self._windows.unrouted(delivery.domain)
            elif not_before(acceptance.message):
                self._windows.due_later(delivery.due)
            else:
                self._windows.waits(delivery.flow)

    def _accepted_event(self, message: Message, delivery: NewDelivery, now: float, begins: float) -> bytes:
        event = told(message, delivery.id, delivery.recipient, EventKind.ACCEPTED, ACCEPTED, now, self._node)
        return seal(event if begins == now else msgspec.structs.replace(event, next_attempt_at=begins))


def flow_key(message: Message, stream: Stream, route: Route) -> FlowKey:
    """The flow of a delivery that any source of its stream's pool may carry."""
    key = route.key
    if stream.tls is not None or message.requiretls or message.tls_relaxed:
        key = demanded(key, demand_of(stream.tls, message.requiretls, message.tls_relaxed, route.proven, route.doubted))
    return FlowKey(route.provider, key, stream.pool, message.account, stream.name, message.campaign, stream.priority)
