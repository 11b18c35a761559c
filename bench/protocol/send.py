"""How fast one process sends: messages per CPU-second through real sessions, against a trivial sink in another process.

`python -m bench.protocol.send [--messages N] [--size OCTETS] [--connections N] [--delay MS] [--loop uvloop|asyncio] [--no-overlap]
[--json]`

What is measured is `run_session` with everything below it (protocol, dialogue, settling) and a composer that adds one header line: no
signature, no spool, no DNS. Wall-clock figures depend on what else the machine does; the CPU figure is this process's own. With
`--delay` the sink answers each read that much later: the messages per second of one connection show the round trips a message costs.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import time

from config.sending import RouteTls, Source
from config.settings import Settings
from gateway.calls import Assignment, Closed, Handout, Lane, Message, Opening, Permit, Settle, TlsFacts
from gateway.compose.composer import Composed, Unsendable
from gateway.delivery.network import Network
from gateway.delivery.route import Host, Route
from gateway.delivery.session import run_session
from mail.address import Address
from mail.outcome import Delivered, Verdict


class Composer:
    """Adds one line."""

    async def compose(self, assignment: Assignment, *, eight_bit_ok: bool, utf8_ok: bool, content: bytes) -> Composed | Unsendable:
        return Composed([b"Received: from bench\r\n", content], len(content) + 22, eight_bit=False, smtputf8=False, signed_by="")


class Core:
    """Hands out the same message `left` times and counts what comes back."""

    def __init__(self, left: int, content: bytes) -> None:
        self.left = left
        self.content = content
        self.delivered = 0
        self.overlapped = 0
        self.other: list[object] = []
        self.given = 0
        self.message = Message("a", "s", Address("news@example.com", "example.com"), "example.com", 0.0, len(content), id=1)
        self.recipient = Address("somebody@example.net", "example.net")

    async def next(self, permit: int, n: int) -> Handout:
        n = min(n, self.left)
        self.left -= n
        first = self.given + 1
        self.given += n
        return Handout(
            [Assignment(first + k, self.message, self.recipient, "b+aaaaaaaaaaaaaaaaa@example.com", 1, self.content) for k in range(n)],
            close=self.left == 0,
        )

    def settle(self, settle: Settle) -> None:
        for one in settle.settlements:
            if isinstance(one.outcome, Delivered):
                self.delivered += 1
                self.overlapped += one.facts.overlapped
            else:
                self.other.append(one.outcome)
        self.left += len(settle.returned)

    async def settled(self) -> None:
        return

    def closed(self, closed: Closed) -> None:
        if closed.trouble is not None:
            self.other.append(closed.trouble)


class Quiet:
    """Nobody watches."""

    def connected(self, source: str, provider: str, result: str) -> None:
        return

    def unconnected(self, source: str, provider: str, trouble: Verdict) -> None:
        print("no connection:", trouble.reply, file=sys.stderr)

    def secured(self, provider: str, facts: TlsFacts) -> None:
        return

    def no_overlap(self, host: str, why: str) -> None:
        print("lost count:", why, file=sys.stderr)

    def no_pipelining(self, host: str, why: str) -> None:
        print("lost count in a group:", why, file=sys.stderr)

    def faulted(self, what: str, error: BaseException) -> None:
        print(what, error, file=sys.stderr)


async def send(port: int, messages: int, size: int, connections: int, overlap: bool) -> dict[str, float]:
    """Send everything; the figures."""
    line = b"All work and no play makes Jack a dull boy, again and again and again.\r\n"
    content = (b"Subject: bench\r\n\r\n" + line * (size // len(line) + 1))[: size - 2] + b"\r\n"
    core = Core(messages, content)
    network = Network("bench.example", time.time, random.Random(1))
    if not overlap:
        network.no_overlap.note("sink.example")
    route = Route("static:sink", "default", (Host("sink.example", ("127.0.0.1",)),), port, RouteTls.NONE, True)
    settings = Settings()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    sessions = [
        run_session(
            Permit(k, Opening(Lane("default", "default"), route.key), 0.0, messages),
            route,
            Source(name="default"),
            core,
            Composer(),
            lambda message: None,
            settings,
            time.time,
            Quiet(),
            network=network,
        )
        for k in range(connections)
    ]
    await asyncio.gather(*sessions)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if core.other or core.delivered != messages:
        raise SystemExit(f"not everything was delivered: {core.delivered} of {messages}, {core.other[:3]}")
    return {
        "messages": messages,
        "octets": size,
        "connections": connections,
        "overlapped": core.overlapped,
        "per_cpu_second": round(messages / cpu, 1),
        "us_per_message": round(cpu / messages * 1e6, 1),
        "per_second": round(messages / wall, 1),
        "per_second_and_connection": round(messages / wall / connections, 2),
    }


def main() -> None:
    """Run the sink, send, print."""
    arguments = argparse.ArgumentParser(description="messages per CPU-second of the sender")
    arguments.add_argument("--messages", type=int, default=10_000)
    arguments.add_argument("--size", type=int, default=10_240)
    arguments.add_argument("--connections", type=int, default=10)
    arguments.add_argument("--delay", type=float, default=0.0, help="milliseconds before the sink answers")
    arguments.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments.add_argument("--no-overlap", action="store_true")
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    sink = subprocess.Popen([sys.executable, "-m", "bench.protocol.sink", "0", str(chosen.delay)], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        job = send(port, chosen.messages, chosen.size, chosen.connections, not chosen.no_overlap)
        if chosen.loop == "uvloop":
            import uvloop

            figures = uvloop.run(job)
        else:
            figures = asyncio.run(job)
    finally:
        sink.kill()
        sink.wait()
    if chosen.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
