"""What all outgoing connections of a process share: one sweeper for their time limits, one TLS context, and what hosts taught us.

Time limits here are minutes, so they are swept once a second and cost nothing per command: a connection says its deadline in a field, and
the sweeper calls `expire` on those that are over. What is remembered of hosts is bounded and ends by itself.
"""

import asyncio
import functools
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

MOST_HOSTS: Final = 20_000
"""Hosts remembered, per memory."""
NO_OVERLAP_SECONDS: Final = 86_400.0
BROKEN_TLS_SECONDS: Final = 3_600.0


class Signal:
    """Wakes one waiter. Setting it while nobody waits makes the next `wait` return at once; setting it twice wakes once."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter."""
        self._set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return once the signal is set, and unset it. A cancelled wait leaves it as it was."""
        if not self._set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._set = False


class Timed(Protocol):
    """Something with a deadline on the event loop's clock (infinite for none)."""

    deadline: float

    @property
    def flooded(self) -> bool:
        """The peer makes us hold more than we ever mean to: as bad as being late."""

    def expire(self) -> None:
        """The deadline is over. Called once for each; the deadline is then infinite until it is set again."""


class Sweeper:
    """Calls `expire` on whatever is over or flooded, within `interval` seconds. Its timer runs only while something is watched."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._watched: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def watched(self) -> int:
        """How many are watched."""
        return len(self._watched)

    def watch(self, timed: Timed) -> None:
        """Watch `timed` until `forget`."""
        self._watched.add(timed)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def forget(self, timed: Timed) -> None:
        """Stop watching `timed`."""
        self._watched.discard(timed)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(self._interval, self._sweep)
        for timed in [timed for timed in self._watched if timed.deadline <= now or timed.flooded]:
            timed.deadline = float("inf")
            timed.expire()


class HostMemory:
    """Hosts about which one thing holds for a while. Bounded; the oldest is forgotten first."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def note(self, host: str) -> None:
        """It holds for `host` from now."""
        self._until.pop(host, None)
        self._until[host] = self._clock() + self._seconds
        while len(self._until) > MOST_HOSTS:
            del self._until[next(iter(self._until))]

    def holds(self, host: str) -> bool:
        """Whether it holds for `host` now."""
        until = self._until.get(host)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._until[host]
        return False


class Network:
    """Shared by all sessions of a process. `hostname` is the EHLO name of sources that have none; `clock` gives Unix seconds."""

    def __init__(self, hostname: str, clock: Callable[[], float], chance: random.Random, sweep_interval: float = 1.0) -> None:
        self.hostname = hostname
        self.chance = chance
        self.sweeper = Sweeper(sweep_interval)
        self.no_overlap = HostMemory(NO_OVERLAP_SECONDS, clock)
        """Hosts that lost count when an envelope followed the final dot."""
        self.no_pipelining = HostMemory(NO_OVERLAP_SECONDS, clock)
        """Hosts that lost count within one pipelined group: they get one command at a time."""
        self.broken_tls = HostMemory(BROKEN_TLS_SECONDS, clock)
        """Hosts that offer STARTTLS and fail at it; skipped where TLS is opportunistic."""
        self._connections = 0
        self._verifying: ssl.SSLContext | None = None

    def trust(self, authorities: Path | None) -> None:
        """Certificates are checked against the authorities in this PEM file, or the system's. Raises OSError when it cannot be read."""
        self._verifying = verifying_context(authorities)

    @property
    def verifying(self) -> ssl.SSLContext:
        """Encryption with a server whose certificate is valid for the name it is connected to by."""
        if self._verifying is None:
            self._verifying = verifying_context(None)
        return self._verifying

    def number(self) -> int:
        """A number for a new connection."""
        self._connections += 1
        return self._connections

    @functools.cached_property
    def tls(self) -> ssl.SSLContext:
        """Encryption without identity: opportunistic TLS takes any certificate (RFC 7435). One context for all: making one is dear."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def verifying_context(authorities: Path | None) -> ssl.SSLContext:
    """TLS settings that check certificate and name. Raises OSError (ssl.SSLError is one) when the file has no certificates."""
    context = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 8461 sections 3.3 and 4.1 want the name among the DNS-IDs
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from Python 3.13 on, stricter than who runs a mail server can know
    return context


def authorities_problems(authorities: Path | None) -> list[str]:
    """Why the configured file of authorities cannot be used, in words; nothing when it can, or none is configured."""
    try:
        verifying_context(authorities)
    except OSError as error:
        return [f"sending.tls.authorities {authorities}: {error.strerror or error}"]
    return []
