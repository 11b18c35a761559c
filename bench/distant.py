"""`python -m bench.distant`: messages a second and connection towards a far destination.

A sink process of our own answers every batch of bytes after a delay (50 ms: a round trip to another continent); the gateway, with the
shipped sink example and ten connections, sends it what smtp-source handed in. The rate is taken between the first and the last tenth of
the messages, by the sink's clock. One round trip a message gives 20 a second at 50 ms; Postfix reaches 6.4. The last line is one JSON
object.
"""

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.relay.accounting import Group
from bench.relay.gateway import ROOT, Mailwright
from bench.relay.load import SESSIONS, Sources, message
from sandbox.snippet import toml

CONNECTIONS = 10


class FarEnd(asyncio.Protocol):
    """One connection of the sink: enough SMTP for a client that keeps to it. Replies leave `delay` seconds after what they answer."""

    delay = 0.05
    arrivals: list[float] = []
    open = 0
    most_open = 0

    def __init__(self) -> None:
        self._rest = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        FarEnd.open += 1
        FarEnd.most_open = max(FarEnd.most_open, FarEnd.open)
        self._answer(b"220 far.test ESMTP\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        FarEnd.open -= 1

    def data_received(self, data: bytes) -> None:
        self._rest += data
        replies = b""
        while True:
            if self._in_data:
                end = 0 if self._rest.startswith(b".\r\n") else self._rest.find(b"\r\n.\r\n") + 2
                if end == 1:
                    break
                self._rest, self._in_data = self._rest[end + 3 :], False
                FarEnd.arrivals.append(time.monotonic())
                replies += b"250 2.0.0 taken\r\n"
                continue
            line, found, rest = self._rest.partition(b"\r\n")
            if not found:
                break
            self._rest = rest
            replies += self._reply(line[:4].upper())
        if replies:
            self._answer(replies)

    def _reply(self, verb: bytes) -> bytes:
        match verb:
            case b"EHLO":
                return b"250-far.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n"
            case b"DATA":
                self._in_data = True
                return b"354 go on\r\n"
            case b"QUIT":
                return b"221 bye\r\n"
            case _:
                return b"250 ok\r\n"

    def _answer(self, replies: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay, self._transport.write, replies)


async def _sink(port: int, delay: float) -> None:
    """Serve until standard input ends, saying at each line of it how many messages came; then arrival times and most connections."""
    FarEnd.delay = delay
    server = await asyncio.get_running_loop().create_server(FarEnd, "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(len(FarEnd.arrivals), flush=True)
    print(json.dumps({"arrivals": FarEnd.arrivals, "connections": FarEnd.most_open}), flush=True)
    server.close()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.distant", description="Messages a second and connection at a distance.")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before every reply")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        asyncio.run(_sink(0, options.delay))
        return
    result = _run(options.messages // SESSIONS * SESSIONS, options.delay)
    if not options.json:
        print(f"{result['per_connection_per_s']} messages a second and connection over {result['connections']} connections")
    print(json.dumps(result))


def _run(messages: int, delay: float) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="mailwright-bench-", dir="/var/tmp"))
    command = [sys.executable, "-m", "bench.distant", "--sink", "--delay", str(delay)]
    sink = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert sink.stdin is not None
    assert sink.stdout is not None
    try:
        port = int(json.loads(sink.stdout.readline())["port"])
        gateway = _gateway(folder / "gateway", port)
        with Group("distant") as group:
            try:
                gateway.start(group)
                Sources(gateway.port, messages, message(10_000)).wait(120)
                _wait_for(sink.stdin, sink.stdout, messages)
                sink.stdin.close()
                seen = json.loads(sink.stdout.read())
            finally:
                gateway.stop()
    finally:
        sink.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return _figures(seen["arrivals"], seen["connections"], messages, delay)


def _wait_for(ask: IO[bytes], answer: IO[bytes], messages: int) -> None:
    """Return when the sink has `messages`, or none came for ten seconds."""
    seen, moved = -1, time.monotonic()
    while seen < messages and time.monotonic() - moved < 10:
        time.sleep(0.5)
        ask.write(b"?\n")
        ask.flush()
        now = int(answer.readline())
        if now != seen:
            seen, moved = now, time.monotonic()


def _gateway(folder: Path, sink_port: int) -> Mailwright:
    """The gateway of the relay bench, held to ten connections."""
    private = rsa.generate_private_key(65537, 2048)
    key = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    gateway = Mailwright(folder, _free_port(), sink_port, key)
    with gateway.config.open("a", encoding="utf-8") as file:
        file.write(toml({"provider": [{"name": "smarthost", "connections": CONNECTIONS}]}))
    return gateway


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def _figures(arrivals: list[float], connections: int, messages: int, delay: float) -> dict[str, object]:
    """The rate between the first and the last tenth."""
    first, last = len(arrivals) // 10, len(arrivals) * 9 // 10
    span = arrivals[last] - arrivals[first] if last > first else 0.0
    rate = (last - first) / span if span else 0.0
    return {
        "bench": "distant",
        "valid": len(arrivals) == messages and connections == CONNECTIONS,
        "delay_ms": delay * 1000,
        "messages": len(arrivals),
        "connections": connections,
        "per_s": round(rate, 1),
        "per_connection_per_s": round(rate / max(1, connections), 2),
    }


if __name__ == "__main__":
    main()
