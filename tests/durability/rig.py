"""A gateway in a process of its own, a receiver that counts, and a client that remembers what was answered 250.

The receiver is aiosmtpd with PIPELINING offered, so that the gateway overlaps transactions as it does in real life.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CountingReceiver:
    """Counts each message by its X-Number."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: Counter[str] = Counter()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=20)

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        start = content.index(b"X-Number: ") + 10
        self.received[content[start : content.index(b"\r\n", start)].decode()] += 1
        return "250 2.0.0 taken"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


CONFIG = """
[gateway]
hostname = "gateway.test"
domain = "gateway.test"
data = "data"
[http]
address = "127.0.0.1:{http}"
[[listener]]
address = "127.0.0.1:{port}"
[[account]]
name = "default"
domains = ["any"]
[[stream]]
name = "default"
[stream.retry]
first = "1s"
growth = 1.0
longest = "1s"
greylisted = "1s"
unsure = "1s"
rest = "1s"
[[route]]
domain = "*"
host = "127.0.0.1"
port = {next_hop}
tls = "none"
[dns]
allow_private = true
[spool]
minimum_free = 0
"""


class GatewayProcess:
    """`mailwright serve` in a folder, started and killed at will."""

    def __init__(self, folder: Path, next_hop: int, extra: str = "") -> None:
        self.folder = folder
        self.port, self.http = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "mailwright.toml"
        self.config.write_text(CONFIG.format(port=self.port, http=self.http, next_hop=next_hop) + extra)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that listens."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start and wait until it answers; seconds that took."""
        begun = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(self.config)],
                stderr=log,
                stdout=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        while time.monotonic() - begun < 30:
            assert self._process.poll() is None, f"the gateway ended: {(self.folder / 'log').read_text()[-2000:]}"
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    if connection.recv(100).startswith(b"220"):
                        return time.monotonic() - begun
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the gateway does not answer")

    def kill(self) -> None:
        """kill -9 of the gateway and whatever it started, between any two instructions."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=60)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """One console call."""
        from gateway.admin.client import call

        return call(self.folder / "data", name, arguments)

    def events(self) -> list[dict[str, Any]]:
        """All events written so far."""
        events: list[dict[str, Any]] = []
        for file in sorted((self.folder / "data").glob("events.ndjson*"), reverse=True):
            events.extend(json.loads(line) for line in file.read_bytes().splitlines() if line.endswith(b"}"))
        return events

    def log_lines(self) -> list[dict[str, Any]]:
        """All log lines that are whole."""
        found = []
        for line in (self.folder / "log").read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                found.append(json.loads(line))
        return found

    def empty(self, patience: float = 60.0) -> None:
        """Wait until nothing is queued."""
        until = time.monotonic() + patience
        while (left := self.call("queue.list", limit=1)["total"]) > 0:
            assert time.monotonic() < until, f"{left} deliveries are still queued"
            time.sleep(0.1)


class Campaign:
    """Sends numbered messages over some connections for ever, in a thread; remembers those answered 250."""

    def __init__(self, port: int, connections: int = 8, size: int = 2000) -> None:
        self._port, self._connections, self._size = port, connections, size
        self.accepted: set[str] = set()
        self.offered = 0
        self._stop = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        await asyncio.gather(*(self._connection() for _ in range(self._connections)))

    async def _connection(self) -> None:
        while not self._stop:
            try:
                async with asyncio.timeout(20):
                    await self._send_until_cut()
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(0.01)

    async def _send_until_cut(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await reader.readline()
            writer.write(b"HELO campaign\r\n")
            await reader.readline()
            while not self._stop:
                self.offered += 1
                number = f"n{self.offered}"
                writer.write(b"MAIL FROM:<news@example.test>\r\nRCPT TO:<%s@d.test>\r\nDATA\r\n" % number.encode())
                replies = [await reader.readline() for _ in range(3)]
                if not replies[2].startswith(b"354"):
                    raise EOFError(replies)
                writer.write(self._message(number))
                if (await reader.readline()).startswith(b"250"):
                    self.accepted.add(number)
        finally:
            writer.close()

    def _message(self, number: str) -> bytes:
        head = f"From: news@example.test\r\nTo: x@d.test\r\nSubject: news\r\nX-Number: {number}\r\n\r\n"
        return head.encode() + b"text text text text\r\n" * (self._size // 21) + b".\r\n"
