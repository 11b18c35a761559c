"""`make bench`: the relay bench. `python -m bench.relay --help` tells its options; the last line on standard output is one JSON object.

Needs root and the Debian packages postfix, opendkim and strace (`apt-get install postfix opendkim opendkim-tools strace`), and nothing else
that keeps the processors busy. Everything lives in a temporary folder and on free loopback ports; the machine's own Postfix is not touched.
"""

import argparse
import json
import math
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.relay import report
from bench.relay.check import Soundness, check
from bench.relay.gateway import Mailwright
from bench.relay.load import SESSIONS, message
from bench.relay.postfix import Postfix, missing
from bench.relay.report import SHORTEST
from bench.relay.side import Round, Side, measure

SECONDS = 12.0
"""How long a round should be."""

_CALIBRATION = 100 * SESSIONS


def main() -> int:
    """Run what was asked. 0: valid, 1: invalid, 2: this machine cannot run it."""
    options = _options()
    sides = {"mailwright", "postfix"} if options.only in (None, "relay") else {options.only}
    lacks = missing()
    if lacks:
        print("this bench needs: " + "; ".join(lacks), file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="mailwright-bench-", dir=options.folder))
    folder.chmod(0o755)
    try:
        results = [_series(size, sides, folder, options) for size in options.sizes]
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    first = {"bench": "relay", **results[0]}
    if len(results) > 1:
        first["larger"] = results[1:]
    print(json.dumps(first))
    return 0 if all(each["valid"] for each in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=["relay", "mailwright", "postfix"], help="this bench, or one side of it")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line on standard output")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side and size")
    parser.add_argument("--messages", type=int, help="messages a round; without it, enough for ten seconds")
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=[10_000, 50_000], help="octets")
    parser.add_argument("--profile", action="store_true", help="our side under py-spy where it is installed, else cProfile")
    parser.add_argument("--no-check", action="store_true", help="skip the run that verifies signatures and counts syncs")
    parser.add_argument("--folder", default="/var/tmp", help="where the temporary folder is made: both spools are on that disk")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    return parser.parse_args()


class _Contenders:
    """Makes fresh sides: each start gets a folder and ports of its own."""

    def __init__(self, folder: Path, sink_port: int, key: bytes, profile: bool) -> None:
        self._folder, self._sink_port, self._key, self._profile = folder, sink_port, key, profile
        self._made = 0

    def make(self, name: str) -> Side:
        self._made += 1
        folder, port = self._folder / f"{name}-{self._made}", _free_port(2)
        if name == "postfix":
            return Postfix(folder, port, self._sink_port, self._key)
        profile = Path.cwd() / f"relay-{self._made}.profile" if self._profile else None
        return Mailwright(folder, port, self._sink_port, self._key, profile)


def _series(size: int, sides: set[str], parent: Path, options: argparse.Namespace) -> dict[str, object]:
    """All rounds at one message size."""
    folder = parent / str(size)
    folder.mkdir(mode=0o755)
    private = rsa.generate_private_key(65537, 2048)
    key = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    sink_port, content = _free_port(1), message(size)
    contenders = _Contenders(folder, sink_port, key, options.profile)
    names = [name for name in ("mailwright", "postfix") if name in sides]
    soundness: dict[str, Soundness] = {}
    counts: dict[str, int] = {}
    for name in names:
        side = contenders.make(name)
        if not options.no_check:
            soundness[side.name] = found = check(side, sink_port, folder, size, key)
            signed = f"{found.verified} of {found.messages} signatures verify"
            _say(f"{size // 1000} KB, {side.title}: {signed}, {found.syncs_per_message} syncs a message")
        counts[name] = options.messages or _enough(contenders.make(name), sink_port, folder, content)
    rounds: dict[str, list[Round]] = {}
    for number in range(1, options.rounds + 1):
        for name in names:
            side = contenders.make(name)
            result = measure(side, sink_port, folder, content, counts[name])
            if options.messages is None and result.seconds < SHORTEST:  # something slowed the calibration: once more, with enough
                counts[name] = _for_a_round(result.delivered_per_s)
                side = contenders.make(name)
                result = measure(side, sink_port, folder, content, counts[name])
            rounds.setdefault(side.name, []).append(result)
            _say(f"{size // 1000} KB, round {number} of {options.rounds}, {side.title}: {_words(result)}")
    series = report.summary(size, rounds, soundness)
    if not options.json:
        print(report.table(size, rounds, soundness))
    for sentence in series.get("invalid", []):
        _say(f"invalid: {sentence}")
    return series


def _words(result: Round) -> str:
    rates = f"{result.accepted_per_s:.0f} accepted/s, {result.delivered_per_s:.0f} delivered/s"
    return f"{rates}, {result.cpu_ms_per_message:.3f} ms CPU a message ({result.messages} in {result.seconds:.1f} s)"


def _enough(side: Side, sink_port: int, folder: Path, content: bytes) -> int:
    """Messages that keep `side` busy for a round, a multiple of the number of sessions, by a short run."""
    return _for_a_round(measure(side, sink_port, folder, content, _CALIBRATION).delivered_per_s)


def _for_a_round(rate: float) -> int:
    return math.ceil(rate * SECONDS / SESSIONS) * SESSIONS


def _free_port(count: int) -> int:
    """The first of `count` neighbouring ports that are free now."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for number in range(1, count):
                    with socket.socket() as next_one:
                        next_one.bind(("127.0.0.1", port + number))
            except OSError:
                continue
            return port


def _say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
