"""Acceptance with a large list and with an empty one (which is not looked into): two gateways that send nothing, taking mail in turns.

Twenty smtp-source sessions hand in 10 KB messages, as in `bench.relay`; every message is on disk when it is answered. Rounds alternate, so
that a noisy machine is noisy for both.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.relay.load import Sources, message
from gateway.admin.client import NotRunning, call

ROOT = Path(__file__).parents[2]
MESSAGES = 6_000
ROUNDS = 4

CONFIG = """
[gateway]
hostname = "bench.test"
domain = "bench.test"
data = "{data}"
[http]
address = "none"
[log]
level = "error"
[[listener]]
address = "127.0.0.1:{port}"
[[account]]
name = "default"
domains = ["any"]
[[route]]
domain = "*"
host = "127.0.0.1"
port = 9
[spool]
minimum_free = 0
"""


@contextlib.contextmanager
def _gateway(folder: Path, data: Path) -> Iterator[int]:
    """A gateway on a data folder that holds all mail; its port."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "mailwright.toml"
    config.write_text(CONFIG.format(data=data, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)], cwd=ROOT, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(NotRunning):
                call(data, "queue.hold", {"account": "default"})
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)  # the door opens last
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _round(port: int, content: bytes) -> float:
    begun = time.monotonic()
    return MESSAGES / (Sources(port, MESSAGES, content).wait(120) - begun)


def measure(folder: Path, data: Path) -> dict[str, Any]:
    """Messages a second with the list in `data`, and with an empty one."""
    content = message(10_000)
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with _gateway(folder / "with", data) as one, _gateway(folder / "without", folder / "empty") as other:
        ports = {"with": one, "without": other}
        for port in ports.values():
            _round(port, content)
        for turn in range(2 * ROUNDS):
            kind = ("with", "without", "without", "with")[turn % 4]
            rates[kind].append(_round(ports[kind], content))
    both = {kind: round(median(found)) for kind, found in rates.items()}
    return both | {"ratio": round(both["with"] / both["without"], 3)}
