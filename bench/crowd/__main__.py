"""What a crowd costs a normal client, and what an idle TLS connection costs in memory.

    python -m bench.crowd [--pairs 5] [--messages 1500] [--idle 300] [--slow 300] [--json]

A normal client hands messages of 10 KB to a gateway one after the other and waits for each 250; the gateway delivers them to a sink. It
does so alone and beside a crowd (idle ones over TLS; slow ones: an octet of a message a second over TLS, an octet of a command a second,
and some that ask much and read nothing), in turns, the order changing with each pair. The slowdown is the median of the pairs' ratios.
Memory is the growth of the gateway's resident set for each of the idle TLS connections: fresh ones, and ones that have sent a message of
100 KB each, after as many connections in the clear have done the same.

The last line is one JSON object; exit code 0 when the slowdown is at most 10 % and an idle connection under 64 KiB. Needs a quiet machine.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.crowd.clients import STEP_SECONDS, Crowd, free_port
from bench.relay.load import message
from gateway.admin.client import call
from tests.doors.house import write_certificate

ROOT = Path(__file__).parents[2]
MOST_SLOWDOWN = 1.10
MOST_OCTETS = 64 * 1024

CONFIG = """
[gateway]
hostname = "gateway.test"
data = "data"
[http]
address = "127.0.0.1:{http}"
[[listener]]
name = "plain"
address = "127.0.0.1:{port}"
limits = {{ connections_per_ip = 5000, connections = 5000, minimum_rate = 0 }}
[[listener]]
name = "tls"
address = "127.0.0.1:{tls}"
tls = "implicit"
certificate = "cert.pem"
key = "key.pem"
limits = {{ connections_per_ip = 5000, connections = 5000, minimum_rate = 0 }}
[[account]]
name = "default"
domains = ["any"]
connections = 5000
[[route]]
domain = "*"
host = "127.0.0.1"
port = {sink}
tls = "none"
[dns]
allow_private = true
[log]
level = "warning"
"""


class Gateway:
    """`mailwright serve` with a listener in the clear and one with TLS, and a sink behind it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self.tls_port = free_port(), free_port()
        sink, self._http = free_port(), free_port()
        write_certificate(folder, "localhost")
        text = CONFIG.format(http=self._http, port=self.port, tls=self.tls_port, sink=sink)
        (folder / "mailwright.toml").write_text(text)
        self._sink = subprocess.Popen([sys.executable, "-m", "bench.protocol.sink", str(sink)], cwd=ROOT, stdout=subprocess.DEVNULL)
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(folder / "mailwright.toml")]
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)

    def wait(self) -> None:
        """Until it greets. Raises RuntimeError when it does not."""
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                if connection.recv(100).startswith(b"220"):
                    return
            time.sleep(0.1)
        raise RuntimeError((self._folder / "log").read_text()[-2000:])

    def drain(self) -> None:
        """Until its queue is empty. Raises RuntimeError when it is not after a minute."""
        for _ in range(600):
            if call(self._folder / "data", "queue.list", {"limit": 1})["total"] == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("the queue does not drain")

    def settle(self) -> None:
        """Until it has little to do: what the crowd said at its arrival is answered. Raises RuntimeError after half a minute."""
        for _ in range(60):
            before = self._cpu()
            time.sleep(0.5)
            if self._cpu() - before < 0.1:
                return
        raise RuntimeError("the gateway does not come to rest")

    def _cpu(self) -> float:
        """Seconds of CPU used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Octets of resident memory."""
        fields = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in fields if line.startswith("Rss:"))

    def stop(self) -> None:
        """End both."""
        self._process.terminate()
        self._process.wait(60)
        self._sink.kill()
        self._sink.wait()


@contextlib.contextmanager
def running() -> Iterator[Gateway]:
    """A gateway in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mailwright-crowd-", dir="/var/tmp"))
    try:
        gateway = Gateway(folder)
        try:
            gateway.wait()
            yield gateway
        finally:
            gateway.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def send(port: int, count: int, content: bytes) -> float:
    """Hand in `count` messages one after the other; messages a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = peer.makefile("rb")
        replies.readline()
        peer.sendall(b"EHLO normal.example\r\n")
        while replies.readline()[3:4] == b"-":
            pass
        begun = time.monotonic()
        for _ in range(count):
            peer.sendall(b"MAIL FROM:<news@example.test>\r\nRCPT TO:<reader@example.test>\r\nDATA\r\n")
            for _ in range(3):
                replies.readline()
            peer.sendall(content + b".\r\n")
            answer = replies.readline()
            if not answer.startswith(b"250"):
                raise RuntimeError(answer.decode())
        seconds = time.monotonic() - begun
        peer.sendall(b"QUIT\r\n")
        return count / seconds


def slow_kinds(count: int) -> dict[str, int]:
    """How `count` slow clients divide."""
    quarter = count // 4
    return {"slow message": count - 2 * quarter, "slow command": quarter, "deaf": quarter}


def pair(gateway: Gateway, wanted: dict[str, int], messages: int, crowd_first: bool) -> tuple[float, float]:
    """Messages a second alone and in the crowd. Raises RuntimeError when the crowd did not stand to the end."""
    content = message(10_000)
    rates: dict[bool, float] = {}
    for crowded in (True, False) if crowd_first else (False, True):
        if crowded:
            crowd = Crowd(wanted, gateway.port, gateway.tls_port)
            with crowd:
                time.sleep(1.5 * STEP_SECONDS)
                gateway.settle()
                rates[crowded] = send(gateway.port, messages, content)
            if crowd.left != sum(wanted.values()):
                raise RuntimeError(f"only {crowd.left} of {sum(wanted.values())} stood to the end")
            gateway.settle()
        else:
            rates[crowded] = send(gateway.port, messages, content)
        gateway.drain()
    return rates[False], rates[True]


def memory(gateway: Gateway, kind: str, count: int, settle: float = 4.0) -> float:
    """Octets of resident memory for each of `count` connections of a kind that idle, `settle` seconds after they came."""
    before = gateway.resident()
    with Crowd({kind: count}, gateway.port, gateway.tls_port):
        time.sleep(settle)
        gateway.drain()
        grown = gateway.resident() - before
    time.sleep(1)
    return grown / count


def main() -> int:
    """Measure; 0 when both bounds hold, 1 when one does not."""
    options = _options()
    wanted = {"idle": options.idle, **slow_kinds(options.slow)}
    with running() as gateway:
        send(gateway.port, 200, message(10_000))
        gateway.drain()
        fresh = memory(gateway, "idle", options.idle)
    with running() as gateway:
        send(gateway.port, 200, message(10_000))
        gateway.drain()
        memory(gateway, "user in the clear", options.idle)
        used = memory(gateway, "user", options.idle)
        pairs = [pair(gateway, wanted, options.messages, number % 2 == 1) for number in range(options.pairs)]
    ratios = [alone / crowded for alone, crowded in pairs]
    slowdown = statistics.median(ratios)
    result = {
        "bench": "crowd",
        "crowd": wanted,
        "messages_per_s": [[round(rate, 1) for rate in rates] for rates in pairs],
        "slowdown": round(slowdown, 4),
        "slowdowns": [round(ratio, 4) for ratio in ratios],
        "idle_tls_octets": round(fresh),
        "idle_tls_octets_after_a_message": round(used),
    }
    if not options.json:
        print(f"alone and in the crowd, messages a second: {'; '.join(f'{alone:.0f} and {crowded:.0f}' for alone, crowded in pairs)}")
        print(f"slowdown {100 * (slowdown - 1):.1f} % (median; at most 10)")
        print(f"an idle TLS connection: {fresh / 1024:.1f} KiB, {used / 1024:.1f} KiB after a message of 100 KB (under 64)")
    print(json.dumps(result))
    return 0 if slowdown <= MOST_SLOWDOWN and max(fresh, used) < MOST_OCTETS else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="pairs of a run alone and a run in the crowd")
    parser.add_argument("--messages", type=int, default=1500, help="messages of the normal client in each run")
    parser.add_argument("--idle", type=int, default=300, help="idle clients")
    parser.add_argument("--slow", type=int, default=300, help="slow clients")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
