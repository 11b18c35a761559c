"""What a contender must offer, and one measured round of it."""

import time
from pathlib import Path
from typing import Protocol

import msgspec

from bench.relay.accounting import Group, MemoryWatch
from bench.relay.load import SESSIONS, Sink, Sources

WARM_UP = 20 * SESSIONS
"""Messages before the clock starts, in each round: processes are forked, files and caches made."""

PATIENCE = 60.0


class Side(Protocol):
    """A relay under test: takes mail on 127.0.0.1:`port`."""

    name: str
    title: str
    port: int

    def start(self, group: Group, trace: Path | None = None) -> None:
        """Start in `group`, wait until it greets; with `trace`, under strace."""

    def stop(self) -> None:
        """End it; called once after each start."""


class Round(msgspec.Struct, frozen=True):
    """One round: `messages` through, at these rates (per second), with this CPU (milliseconds a message) and these peaks (MB)."""

    messages: int
    seconds: float
    accepted_per_s: float
    delivered_per_s: float
    cpu_ms_per_message: float
    cpu_user_ms: float
    cpu_system_ms: float
    rss_mb: float
    pss_mb: float


def measure(side: Side, sink_port: int, folder: Path, content: bytes, messages: int) -> Round:
    """Start `side` fresh, warm it up, send `messages` (a multiple of 20), stop it. Raises RuntimeError or TimeoutError."""
    with Sink(sink_port, folder) as sink, Group(side.name) as group:
        try:
            side.start(group)
            Sources(side.port, WARM_UP, content).wait(PATIENCE)
            sink.wait_for(WARM_UP, PATIENCE)
            time.sleep(0.5)
            user, system = group.cpu()
            began = time.monotonic()
            with MemoryWatch(group) as memory:
                accepted = Sources(side.port, messages, content).wait(600)
                delivered = sink.wait_for(WARM_UP + messages, PATIENCE)
                time.sleep(0.3)
            user, system = (now - before for now, before in zip(group.cpu(), (user, system), strict=True))
        finally:
            side.stop()
    return Round(
        messages=messages,
        seconds=delivered - began,
        accepted_per_s=messages / (accepted - began),
        delivered_per_s=messages / (delivered - began),
        cpu_ms_per_message=(user + system) * 1000 / messages,
        cpu_user_ms=user * 1000 / messages,
        cpu_system_ms=system * 1000 / messages,
        rss_mb=memory.rss,
        pss_mb=memory.pss,
    )
