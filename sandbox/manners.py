"""How a provider speaks and listens: aiosmtpd's server with a transport that can be slow, silent, too talkative or broken.

The tempers of `sandbox.scenario.MANNERS` are carried out here, whatever the dialogue is about: stalls, replies and reading in small pieces,
a reply too many or too few, garbage where a TLS handshake is due. A stall without end lasts until the client leaves or the sandbox stops.
What the client sends while reading is slow stays in the kernel, so it feels a closed TCP window, as from a slow host.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP

from sandbox.scenario import Temper

GARBAGE = b"\x15\x03\x03\x00\x02\x02\x28 this is no handshake\r\n"
"""Begins as a TLS alert does, and is none that holds."""


class Mannered(SMTP):
    """One connection. `behave` says how it goes on from here."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._speaking: Temper | None = None
        self._listening: Temper | None = None
        self._extra = False
        self._missing = False
        self._unread = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._held_back: asyncio.Transport | None = None
        self._wanted = 0
        self._arrived = asyncio.Event()

    async def behave(self, manners: Sequence[Temper]) -> None:
        """Take up `manners`; returns when the dialogue goes on."""
        for temper in manners:
            match temper.kind:
                case "stall":
                    await self._stall(temper.seconds)
                case "slow-replies":
                    self._speaking = temper
                case "slow-reading":
                    self._listening = temper
                case "extra-reply":
                    self._extra = True
                case "missing-reply":
                    self._missing = True
                case "garbage":
                    self.write_raw(GARBAGE)
                    await self.the_end()
                case _:
                    raise AssertionError(f"{temper.kind} is not a manner")

    async def _stall(self, seconds: float) -> None:
        """Say nothing, and look at nothing; without end, only at whether the client is still there."""
        if not seconds:
            await self.the_end()
        if isinstance(self.transport, asyncio.Transport):
            self.transport.pause_reading()  # a TLS handshake that comes meanwhile must not be taken for commands
        await asyncio.sleep(seconds)
        if isinstance(self.transport, asyncio.Transport):
            self.transport.resume_reading()

    async def the_end(self) -> None:
        """Wait for it: a client that leaves, or a sandbox that stops, cancels whoever waits here."""
        await asyncio.Event().wait()

    def write_raw(self, octets: bytes) -> None:
        """Put octets on the wire that are no reply."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.write(octets)

    @property
    def more_waits(self) -> bool:
        """Whether more than the command that is being answered has arrived."""
        return bool(self._unread) or bool(self._reader._buffer)  # type: ignore[attr-defined]

    # Out

    async def push(self, status: AnyStr) -> None:
        last = status[3:4] not in ("-", b"-")
        if self._missing:
            self._missing = not last
            return
        await self._say(status)
        if self._extra and last:
            self._extra = False
            await self._say(status)

    async def _say(self, status: AnyStr) -> None:
        if self._speaking is None:
            await super().push(status)
            return
        line = (status.encode() if isinstance(status, str) else bytes(status)) + b"\r\n"
        for start in range(0, len(line), self._speaking.octets):
            if start:
                await asyncio.sleep(self._speaking.pace)
            self.write_raw(line[start : start + self._speaking.octets])

    # In

    def data_received(self, data: bytes) -> None:
        if self._wanted > 0:
            self._wanted -= len(data)
            if self._wanted <= 0:
                self._arrived.set()
        if self._listening is None:
            super().data_received(data)
            return
        self._unread += data
        if self._timer is None and isinstance(self.transport, asyncio.Transport):
            self._held_back = self.transport  # after STARTTLS another one is the connection's
            self._held_back.pause_reading()
            self._take_a_piece()

    def _take_a_piece(self) -> None:
        self._timer = None
        if self._listening is None or self._held_back is None:
            return
        if not self._unread:
            self._held_back.resume_reading()
            self._held_back = None
            return
        piece = bytes(self._unread[: self._listening.octets])
        del self._unread[: self._listening.octets]
        self._timer = self.loop.call_later(self._listening.pace, self._take_a_piece)
        super().data_received(piece)

    async def arrival(self, octets: int) -> None:
        """Wait until so many more octets have come."""
        self._arrived.clear()
        self._wanted = octets - len(self._reader._buffer)  # type: ignore[attr-defined]
        if self._wanted > 0:
            await self._arrived.wait()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._held_back = None
        super().connection_lost(error)
