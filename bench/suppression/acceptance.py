"""Acceptance with and without the suppression check: a gateway's core in this process, 64 clients that each wait for their commit.

Rounds alternate, so that a noisy machine is noisy for both. Without SMTP around it the check is a larger part of the work than in a
gateway: there, a message is read from a socket too.
"""

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.suppression.material import address
from config.load import Configuration
from config.settings import Settings
from gateway.app import Gateway
from gateway.calls import Committed, Message, Submission
from gateway.process import SWITCH_INTERVAL, loop_factory
from gateway.spool.port import Hold
from mail.address import Address, address_of

CLIENTS = 64
ROUND = 2.0
ROUNDS = 4


class _Nobody:
    """Suppresses nobody."""

    def reason(self, account: str, stream: str, recipient: Address) -> str | None:
        return None


async def _measure(data: Path, entries: int) -> dict[str, Any]:
    tables = {
        "gateway": {"data": data, "hostname": "bench.test"},
        "listener": [],
        "http": {"address": "none"},
        "account": [{"name": "default", "domains": ["any"]}],
        "route": [{"domain": "*", "host": "127.0.0.1", "port": 9}],
        "spool": {"minimum_free": 0},
    }
    gateway = Gateway(Configuration(None, Settings.model_validate(tables)))
    await gateway.start()
    gateway.core.hold(Hold(gateway.core.identities.next(time.time()), time.time(), 0.0, account="default"))
    acceptor = gateway.core.acceptor
    checked = acceptor._suppression
    rates: dict[str, list[float]] = {"with": [], "without": []}
    number = 2 * entries
    try:
        for turn in range(2 * ROUNDS):
            kind = ("with", "without", "without", "with")[turn % 4]
            acceptor._suppression = checked if kind == "with" else _Nobody()  # type: ignore[assignment]
            count, seconds = await _round(gateway, number)
            number += count + CLIENTS
            rates[kind].append(count / seconds)
    finally:
        acceptor._suppression = checked
        await gateway.stop(grace=0.0)
    both = {kind: round(median(found)) for kind, found in rates.items()}
    return both | {"ratio": round(both["with"] / both["without"], 3)}


async def _round(gateway: Gateway, number: int) -> tuple[int, float]:
    sender = address_of("news@shop.example")
    assert sender is not None
    content = b"From: news@shop.example\r\nSubject: x\r\n\r\n" + b"x" * 70 * 140
    begun, count = time.monotonic(), 0

    async def client() -> None:
        nonlocal count
        while time.monotonic() - begun < ROUND:
            count += 1
            recipient = address_of(address(number + count))
            assert recipient is not None
            message = Message("default", "default", sender, "shop.example", time.time(), len(content), message_id=f"<{count}@shop.example>")
            answer = await gateway.core.accept(Submission(message, [recipient], content))
            assert isinstance(answer, Committed), answer

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return count, time.monotonic() - begun


def measure(data: Path, entries: int) -> dict[str, Any]:
    """Messages a second with the check against a list of `entries` in the data folder, and without."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)  # as in a gateway's own process
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_measure(data, entries))
    finally:
        sys.setswitchinterval(before)
