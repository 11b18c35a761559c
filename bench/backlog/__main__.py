"""A gateway with 200,000 deliveries queued behind a closed lane, against one with an empty queue.

    python -m bench.backlog [--deliveries 200000] [--rounds 5] [--messages 3000] [--json]

It fills a spool by the core's own acceptance, starts the gateway on it and measures: resident memory of all its processes, the time from
the start of the process to the first delivery on another lane, console time to hold and to release the whole campaign, and the rate of
acceptance in turns with a gateway whose queue is empty (median of the ratios, round by round). The closed lane is a next hop where
nobody listens. Prints progress, a table and, as its last line, one JSON object. Needs Postfix's smtp-source and smtp-sink.
"""

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.relay.accounting import Group
from bench.relay.load import SENDER, Sink, message
from bench.relay.postfix import greets, until
from config.load import Configuration
from gateway.admin.client import call
from gateway.app import Gateway
from gateway.calls import Committed, Message, Submission
from mail.address import Address

ROOT = Path(__file__).parents[2]
CAMPAIGN = "autumn"

CONFIG = """
[gateway]
hostname = "gateway.test"
data = "data"
[http]
address = "127.0.0.1:{http}"
[[listener]]
address = "127.0.0.1:{port}"
[[account]]
name = "default"
domains = ["any"]
[[provider]]
name = "closed"
[[route]]
domain = "closed.test"
host = "127.0.0.1"
port = {closed}
tls = "none"
provider = "closed"
[[route]]
domain = "*"
host = "127.0.0.1"
port = {sink}
tls = "none"
[dns]
allow_private = true
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """One gateway folder and its process."""

    def __init__(self, folder: Path, sink: int, closed: int) -> None:
        folder.mkdir()
        self.folder, self.port, self._http = folder, _free_port(), _free_port()
        self.config = folder / "mailwright.toml"
        self.config.write_text(CONFIG.format(port=self.port, http=self._http, sink=sink, closed=closed))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, group: Group) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(self.config)]
            self._process = group.start(command, stdout=log, stderr=log, cwd=ROOT)
        until(lambda: greets(self.port), "Mailwright", self.folder)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def accept(self, count: int, content: Path) -> float:
        """Messages accepted per second: 20 sessions to a domain of the open lane."""
        began = time.monotonic()
        command = ["smtp-source", "-4", "-d", "-s", "20", "-m", str(count), "-f", SENDER, "-t", "reader@d01.test", "-F", str(content)]
        subprocess.run([*command, f"127.0.0.1:{self.port}"], check=True, timeout=300)
        return count / (time.monotonic() - began)


async def _fill(config: Path, deliveries: int, content: bytes) -> None:
    """Queue `deliveries` for the closed lane and one for the open one, by the core's own acceptance; nothing is sent."""
    gateway = Gateway(Configuration(config))
    core = gateway.core
    core.start(deliver=False)
    await gateway.router.route("closed.test")

    async def accept(number: int, domain: str) -> None:
        now = time.time()
        entry = Message("default", "default", Address(SENDER, "example.test"), "example.test", now, len(content), campaign=CAMPAIGN)
        taken = await core.accept(Submission(entry, [Address(f"r{number}@{domain}", domain)], content))
        assert isinstance(taken, Committed), taken

    for start in range(0, deliveries, 500):
        await asyncio.gather(*(accept(number, "closed.test") for number in range(start, min(start + 500, deliveries))))
        if start % 20_000 == 0:
            print(f"  {start} queued", file=sys.stderr)
    await accept(0, "open.test")
    await gateway.stop(0.0)


def _timed(node: Node, name: str, **arguments: str) -> float:
    began = time.monotonic()
    call(node.folder / "data", name, arguments)
    return (time.monotonic() - began) * 1000


def run(deliveries: int, rounds: int, messages: int) -> dict[str, float]:
    """The whole measurement."""
    content = message(10_240)
    with tempfile.TemporaryDirectory(prefix="mailwright-backlog-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        eml = folder / "message.eml"
        eml.write_bytes(content.replace(b"\r\n", b"\n"))
        sink_port, closed = _free_port(), _free_port()
        full, empty = Node(folder / "full", sink_port, closed), Node(folder / "empty", sink_port, closed)
        print(f"filling a spool with {deliveries} deliveries", file=sys.stderr)
        asyncio.run(_fill(full.config, deliveries, content))
        with Sink(sink_port, folder) as sink, Group("full") as group, Group("empty") as other:
            began = time.monotonic()
            full.start(group)
            first = sink.wait_for(1, 60) - began
            empty.start(other)
            time.sleep(3)
            hold = _timed(full, "queue.hold", campaign=CAMPAIGN)
            release = _timed(full, "queue.release", campaign=CAMPAIGN)
            ratios, rates = [], []
            for number in range(rounds):
                pair = [(full, full.accept(messages, eml)), (empty, empty.accept(messages, eml))]
                ratios.append(pair[0][1] / pair[1][1])
                rates.append(pair)
                print(f"  round {number + 1}: {pair[0][1]:.0f}/s beside the backlog, {pair[1][1]:.0f}/s without", file=sys.stderr)
                sink.wait_for(1 + 2 * messages * (number + 1), 60)
            rss = group.resident()
            left = call(full.folder / "data", "queue.list", {"limit": 1})["total"]
            full.stop()
            empty.stop()
    return {
        "deliveries": left,
        "rss_mb": round(rss, 1),
        "restart_to_delivery_s": round(first, 2),
        "hold_ms": round(hold, 1),
        "release_ms": round(release, 1),
        "acceptance_ratio": round(statistics.median(ratios), 3),
        "accepted_per_s": round(statistics.median(pair[0][1] for pair in rates)),
        "accepted_per_s_empty": round(statistics.median(pair[1][1] for pair in rates)),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    options = parser.parse_args()
    for needed in ("smtp-source", "smtp-sink"):
        if shutil.which(needed) is None:
            sys.exit(f"{needed} is missing: it is part of the package postfix")
    figures = run(options.deliveries, options.rounds, options.messages)
    if not options.json:
        for key, value in figures.items():
            print(f"{key:24} {value}")
    print(json.dumps({"bench": "backlog", **figures}))


if __name__ == "__main__":
    main()
