"""Coverage-guided fuzzing of what reads mail that comes back: bounce.parse, fbl.parse, bounce.classify.

    python -m tests.fuzz.judgement [--seconds 600] [--seed N] [--save FOLDER]

Inputs are mutated (bytes, lines, parts spliced from others, words of the formats, growth); one that takes a way through the code that none
took before is kept and mutated further. What must hold for every input: no exception; no more than half a second of processor time; a
message that is recognised as no bounce proposes no suppression; what is read is read the same way twice. The first input that breaks a
promise is written to FOLDER and ends the run with exit code 1. Deterministic for a seed and a machine. Seeds are this project's own
fixtures, and the labelled corpora where they are beside the project.
"""

import argparse
import random
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bounce.classify import classify, reply_of
from bounce.parse import parse as parse_bounce
from bounce.report import Kind
from fbl.parse import parse as parse_complaint

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tuple(str(ROOT / room) for room in ("bounce", "fbl", "mail"))
LONGEST = 65_536
SLOWEST = 0.5

WORDS = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
    b"Content-Type: message/delivery-status\n\n",
    b"Content-Type: message/feedback-report\n\n",
    b"Content-Transfer-Encoding: base64\n",
    b"Content-Transfer-Encoding: quoted-printable\n",
    b"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n",
    b"Feedback-Type: abuse\nVersion: 1\n",
    b"X-Failed-Recipients: a@b.example\n",
    b"--b\n",
    b"--b--\n",
    b"\n\n",
    b"<a@b.example>:\n",
    b"550 5.1.1 user unknown\n",
    b">>> RCPT To:<a@b.example>\n<<< 550 ",
    b"Auto-Submitted: auto-replied\n",
    b"----- Original message -----\n",
    b"On Monday someone wrote:\n> ",
    b"until 31.12.2026",
    b"=?utf-8?B?4pyT?=",
    b'{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"a@b.example"}]}}',
    b"\xff\xfe",
    b"\x1b$B",
)


def seeds() -> list[bytes]:
    """This project's own samples, and the corpora where they are."""
    found = [b"", b"From: a@b.example\n\nhello\n"]
    for path in sorted((ROOT / "tests" / "bounce").glob("*.toml")):
        for entries in tomllib.loads(path.read_text()).values():
            found += [_message(entry) for entry in entries if isinstance(entry, dict)]
    for path in sorted((ROOT.parent / "shared" / "corpora").glob("*/messages/**/*")):
        if path.is_file() and path.stat().st_size < LONGEST:
            found.append(path.read_bytes())
    return found


def _message(entry: dict[str, Any]) -> bytes:
    head = f"From: {entry.get('from', 'a@b.example')}\nSubject: {entry['subject']}\n{entry.get('headers', '')}".rstrip("\n")
    return f"{head}\n\n{entry['body']}".encode()


class Coverage:
    """Which ways through the rooms an input took: pairs of lines that followed each other."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self._new = 0
        self._ours: dict[CodeType, bool] = {}

    def run(self, work: Callable[[], object]) -> int:
        """The number of new pairs that `work` made."""
        self._new = 0
        sys.settrace(self._enter)
        try:
            work()
        finally:
            sys.settrace(None)
        return self._new

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(ROOMS)
        if not ours:
            return None
        last = 0

        def line(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                pair = (code, last, frame.f_lineno)
                last = frame.f_lineno
                if pair not in self.seen:
                    self.seen.add(pair)
                    self._new += 1
            return line

        return line


def mutate(octets: bytes, pool: list[bytes], source: random.Random) -> bytes:
    """One to five changes."""
    for _ in range(source.randint(1, 5)):
        octets = source.choice(_CHANGES)(octets, pool, source)[:LONGEST]
    return octets


def _byte(octets: bytes, _pool: list[bytes], source: random.Random) -> bytes:
    place = source.randrange(len(octets) + 1)
    return octets[:place] + bytes([source.randrange(256)]) + octets[place + 1 :]


def _cut(octets: bytes, _pool: list[bytes], source: random.Random) -> bytes:
    start, end = sorted((source.randrange(len(octets) + 1), source.randrange(len(octets) + 1)))
    return octets[:start] + octets[end:] if source.random() < 0.8 else octets[start:end]


def _word(octets: bytes, _pool: list[bytes], source: random.Random) -> bytes:
    place = octets.rfind(b"\n", 0, source.randrange(len(octets) + 1)) + 1
    return octets[:place] + source.choice(WORDS) + octets[place:]


def _splice(octets: bytes, pool: list[bytes], source: random.Random) -> bytes:
    other = source.choice(pool)
    return octets[: source.randrange(len(octets) + 1)] + other[source.randrange(len(other) + 1) :]


def _line(octets: bytes, _pool: list[bytes], source: random.Random) -> bytes:
    lines = octets.split(b"\n")
    first, second = source.randrange(len(lines)), source.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _repeat(octets: bytes, _pool: list[bytes], source: random.Random) -> bytes:
    start, end = sorted((source.randrange(len(octets) + 1), source.randrange(len(octets) + 1)))
    piece = octets[start : min(end, start + 40)]
    return octets[:start] + piece * source.randint(2, 200) + octets[start:]


_CHANGES = (_byte, _byte, _cut, _word, _word, _splice, _line, _repeat)


def check(octets: bytes) -> str:
    """The promise that `octets` breaks, or ""."""
    before = time.process_time()
    report = parse_bounce(octets)
    complaint = parse_complaint(octets)
    classify(reply_of(octets[:2_000].decode("latin-1")))
    if time.process_time() - before > SLOWEST:
        return "too slow"
    if report is not None and report.kind is not Kind.BOUNCE and any(entry.suppress for entry in report.recipients):
        return "suppresses what is no bounce"
    if complaint is not None and report is not None and report.kind is Kind.BOUNCE and any(entry.suppress for entry in report.recipients):
        return "suppresses for a complaint"
    return "" if parse_bounce(octets) == report else "not the same twice"


def run(seconds: float, seed: int, folder: Path) -> int:
    """Fuzz; the exit code."""
    source, coverage = random.Random(seed), Coverage()
    pool: list[bytes] = []
    started, tried = time.monotonic(), 0
    waiting = seeds()
    source.shuffle(waiting)
    while time.monotonic() - started < seconds:
        octets = waiting.pop() if waiting else mutate(source.choice(pool), pool, source)
        tried += 1
        try:
            broken = check(octets) if tried % 16 == 0 else ""
            new = coverage.run(lambda octets=octets: (parse_bounce(octets), parse_complaint(octets)))  # type: ignore[misc]
        except Exception as error:  # a broken promise, whatever it is
            broken, new = f"{type(error).__name__}: {error}", 0
        if broken:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"broken-{seed}-{tried}.eml"
            path.write_bytes(octets)
            print(f"{broken}: {path}")
            return 1
        if new or not pool:
            pool.append(octets)
    print(f"{tried} inputs, {len(pool)} kept, {len(coverage.seen)} ways through the code, seed {seed}: every promise held")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--save", type=Path, default=ROOT / "var" / "fuzz")
    arguments = parser.parse_args()
    return run(arguments.seconds, arguments.seed, arguments.save)


if __name__ == "__main__":
    sys.exit(main())
