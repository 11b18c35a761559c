"""One outgoing connection: a transport on one side, the sans-IO `Client` on the other, a deadline, and a signal for who waits.

Events that the peer's bytes make are queued in `events`; the session takes them. Everything that can happen (events, loss, expiry, room to
write) sets the one signal. The queue is bounded by the commands outstanding. The deadline follows the command whose reply is due next
(RFC 5321 section 4.5.3.2) and is swept, not timed. Nothing raises: a lost or late peer is a field.

Does not open itself (`gateway.delivery.opening`) and does not know what a message is worth (`gateway.delivery.session`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec

from config.sending import Sending
from gateway.delivery.network import Signal, Sweeper
from gateway.smtp.client import Client, ClientEvent, Verb
from mail.outcome import Phase

BLOCK: Final = 131_072
"""Octets of a large message given to the transport at once."""
SMALL: Final = 262_144
"""A message up to this size is written in one go."""
MOST_UNSENT: Final = 4 * SMALL
"""Octets that may wait to be sent; what we say ourselves is far less. A peer can make TLS answer (new keys) and take nothing."""
CLOSING_SECONDS: Final = 5.0
"""Time for a closing connection to send what it has; then it is cut."""
FOREVER: Final = float("inf")

PHASES: Final = {
    Verb.GREETING: Phase.BANNER,
    Verb.EHLO: Phase.EHLO,
    Verb.HELO: Phase.EHLO,
    Verb.STARTTLS: Phase.STARTTLS,
    Verb.RSET: Phase.MAIL,
    Verb.MAIL: Phase.MAIL,
    Verb.RCPT: Phase.RCPT,
    Verb.DATA: Phase.DATA,
    Verb.LONE_DOT: Phase.DATA,
    Verb.DOT: Phase.DOT,
    Verb.CHUNK: Phase.DOT,
    Verb.QUIT: Phase.DOT,
}


class Gone(msgspec.Struct, frozen=True, gc=False):
    """No event will come: the peer was late (`late`) or left, while `phase` was awaited."""

    late: bool
    phase: Phase
    what: str


def time_limits(sending: Sending) -> dict[Verb, float]:
    """Seconds allowed for each reply (RFC 5321 section 4.5.3.2)."""
    limits = dict.fromkeys(Verb, sending.command_timeout)
    limits[Verb.GREETING] = sending.greeting_timeout
    limits[Verb.DATA] = sending.data_timeout
    limits[Verb.DOT] = limits[Verb.CHUNK] = limits[Verb.LONE_DOT] = sending.dot_timeout
    limits[Verb.QUIT] = CLOSING_SECONDS
    return limits


class Connection(asyncio.Protocol):
    """See the module. `transport` is None before it is made and after it is lost."""

    def __init__(self, signal: Signal, sweeper: Sweeper, limits: dict[Verb, float], block_timeout: float) -> None:
        self.client = Client()
        self.events: deque[ClientEvent] = deque()
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.late = False
        self.why = ""
        """Why the connection was lost, for people."""
        self.deadline = FOREVER
        self._signal = signal
        self._sweeper = sweeper
        self._limits = limits
        self._block_timeout = block_timeout
        self._full = False
        self._closing = False
        self._time = asyncio.get_running_loop().time

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once; `upgraded` gives the TLS transport later."""
        if self.lost:  # given up while the loop was still at it
            cast(asyncio.Transport, transport).abort()
            return
        self.transport = cast(asyncio.Transport, transport)
        self._sweeper.watch(self)
        self._rearm()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer become events; commands that were held go out. A part of a reply wins the peer no time."""
        if self._closing:
            return
        awaited = self.client.awaiting
        events = self.client.receive(data)
        self.events.extend(events)
        more = self.client.data_to_send()
        if more and self.transport is not None:
            self.transport.write(more)
        if events or more or self.client.awaiting is not awaited:
            self._rearm()
        self._signal.set()

    def eof_received(self) -> bool:
        """The peer has closed its side: so do we."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The end, whoever wanted it."""
        self.lost = True
        self.transport = None
        self.deadline = FOREVER
        self.why = self.why or (f"{type(error).__name__}: {error}"[:200] if error is not None else "the connection was closed by the peer")
        self._sweeper.forget(self)
        self._signal.set()

    def pause_writing(self) -> None:
        """The transport holds enough for now."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        self._signal.set()

    def expire(self) -> None:
        """The deadline is over: what was awaited did not come."""
        self.late = True
        if self._closing and self.transport is not None:
            self.transport.abort()
        self._signal.set()

    @property
    def flooded(self) -> bool:
        """Whether more waits to be sent than we ever say at once."""
        return self._full and self.transport is not None and self.transport.get_write_buffer_size() > MOST_UNSENT

    # What the session says

    @property
    def over(self) -> bool:
        """Whether nothing more can be said or heard."""
        return self.lost or self.late or self._closing

    @property
    def phase(self) -> Phase:
        """The phase of the reply that is due."""
        verb = self.client.awaiting
        return PHASES[verb] if verb is not None else Phase.BODY

    def upgraded(self, transport: asyncio.Transport) -> None:
        """From now on `transport` (TLS) carries the dialogue."""
        self.transport = transport

    def write(self, *data: bytes) -> None:
        """Give small things to the wire, as one write."""
        if self.transport is not None:
            if len(data) == 1:
                self.transport.write(data[0])
            else:
                self.transport.writelines(data)
        self._rearm()

    async def write_large(self, content: bytes, wait: Callable[[], Awaitable[None]]) -> bool:
        """Give `content` to the wire block by block, as it is taken. False: the peer answered, left, or took nothing for too long."""
        view = memoryview(content)
        for start in range(0, len(view), BLOCK):
            if not await self._room(wait) or self.transport is None:
                return False
            self.transport.write(view[start : start + BLOCK])
        await self._hear(wait)
        if not await self._room(wait):
            return False
        self._rearm()
        return True

    async def _room(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Wait until the transport takes more. False: the peer answered, left, or took nothing for too long."""
        self.deadline = self._time() + self._block_timeout
        while self._full and not (self.over or self.events):
            await wait()
        return not (self.over or self.events)

    async def _hear(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Let the loop say what it knows: a transport that was reset swallows blocks until it says that it is lost."""
        heard = False

        def turn() -> None:
            nonlocal heard
            heard = True
            self._signal.set()

        asyncio.get_running_loop().call_soon(turn)
        while not heard:
            await wait()

    async def event(self) -> ClientEvent | Gone:
        """The next event, when it comes. For the opening dialogue."""
        while not self.events:
            if self.late:
                return Gone(True, self.phase, "no answer in time")
            if self.lost:
                return Gone(False, self.phase, self.why)
            await self._signal.wait()
        return self.events.popleft()

    def hasten(self, seconds: float) -> None:
        """The reply that is due must come within `seconds`, if its own limit is longer."""
        self.deadline = min(self.deadline, self._time() + seconds)

    def close(self, *, politely: bool = True) -> None:
        """End the connection: with QUIT when nothing is outstanding and `politely`. What is not sent in a few seconds is cut."""
        if self.transport is None or self._closing:
            return
        if politely and not self.client.closing and self.client.awaiting is None:
            self.transport.write(self.client.quit())
        elif self.late or self.transport.get_write_buffer_size():
            self.cut()  # a peer that takes nothing would keep us waiting
            return
        self._closing = True
        self.deadline = self._time() + CLOSING_SECONDS
        self.transport.close()

    def cut(self) -> None:
        """End the connection now."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def give_up(self) -> None:
        """Forget a connection whose making failed: its transport may never say that it is lost."""
        self.cut()
        self.connection_lost(None)

    async def gone(self) -> None:
        """Return when the transport has ended (a few seconds after `close`, at most)."""
        while not self.lost and self.transport is not None:
            await self._signal.wait()

    def _rearm(self) -> None:
        """Set the deadline for the reply that is due next."""
        if not self._closing:
            verb = self.client.awaiting
            self.deadline = FOREVER if verb is None else self._time() + self._limits[verb]
