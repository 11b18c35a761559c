"""What composing one message costs, step by step, and how many a CPU-second carries.

    python -m bench.dkim.sign [--seconds 2] [--size 10240] [--json]

Steps are the least of several rounds, in microseconds of one thread. The last part composes for real: 20 coroutines (as 20 connections)
over one Composer, each message new (nothing remembered), signed with RSA-2048 in a process of its own; CPU is that of both.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil

from config.settings import Settings
from gateway.calls import Assignment, Message
from gateway.compose import dkim
from gateway.compose.canonical import relaxed_body
from gateway.compose.composer import Composer
from gateway.compose.generate import generate
from gateway.compose.headers import Removal, leaving_fields, received
from gateway.compose.keyring import load_keyring
from mail.address import Address
from mail.message import facts, read_header
from mail.token import TokenKey, TokenKeys, short

CONNECTIONS = 20

HEADER = (
    b"From: =?utf-8?q?Caf=C3=A9?= News <news@example.org>\r\nTo: Someone <someone@example.net>\r\n"
    b"Subject: =?UTF-8?B?TGVzIG5vdXZlbGxlcyBkZSBub3ZlbWJyZQ==?=\r\nDate: Fri, 01 Nov 2024 10:00:00 +0000\r\n"
    b"Message-ID: <1234567890.abcdef@example.org>\r\nReply-To: reply@example.org\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative;\r\n boundary="=_abcdefghijklmnop"\r\nList-Id: News <news.example.org>\r\n'
    b"List-Unsubscribe: <https://example.org/u/abcdefghijklmnop>,\r\n <mailto:u@example.org>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Campaign: november-2024\r\nX-Mailer: CRM 1.0\r\nX-Stream: default\r\n"
)


def flat_body(size: int) -> bytes:
    """Plain text: already canonical."""
    line = b"lorem ipsum dolor sit amet consectetuer adipiscing elit sed diam nonummy\r\n"
    return (line * (size // len(line) + 1))[: size - 2] + b"\r\n"


def html_body(size: int) -> bytes:
    """Indented markup: the work a relaxed body can be."""
    chance = random.Random(1)
    lines: list[bytes] = []
    while sum(map(len, lines)) < size:
        words = b" ".join(b"x" * chance.randrange(2, 9) for _ in range(chance.randrange(9)))
        lines.append(b" " * (2 * chance.randrange(14)) + b'<td style="padding:0 10px; color:#333">' + words + b"</td>\r\n")
    return b"".join(lines)


def least(step: Callable[[], object], rounds: int = 7, seconds: float = 0.03) -> float:
    """Microseconds of one call: the least mean of some rounds."""
    started = time.perf_counter()
    step()
    number = max(1, int(seconds / max(time.perf_counter() - started, 1e-7)))
    means = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(number):
            step()
        means.append((time.perf_counter() - started) / number)
    return min(means) * 1e6


def assignment(number: int) -> Assignment:
    message = Message(
        account="crm",
        stream="default",
        campaign="november-2024",
        sender=Address("news@example.org", "example.org"),
        from_domain="example.org",
        received_at=1_730_455_200.0,
        size=10_240,
        id=number,
        client="192.0.2.3",
        helo="app.example.org",
    )
    return Assignment(number, message, Address("someone@example.net", "example.net"), "b+token@example.org", 1)


def steps(keys: dict[str, dkim.Key], settings: Settings, size: int) -> dict[str, float]:
    content = HEADER + b"\r\n" + flat_body(size)
    flat, html = flat_body(size), html_body(size)
    removal = Removal(settings.labels)
    given = assignment(1)
    header = read_header(content)
    fields = leaving_fields(header, given.message, removal, "gateway.example")
    hashed = dkim.body_hash(relaxed_body(flat))
    prepared = dkim.prepare(fields, hashed)
    half = {name: dkim.unsigned(key, prepared, 1.0) for name, key in keys.items()}
    tokens = TokenKeys((TokenKey("a", b"k" * 32),))
    return {
        "facts of the message (at the door)": least(lambda: facts(content)),
        "return-path token (at the door)": least(lambda: short(tokens, 3_141_592_653_589_793, 20_000)),
        "read header": least(lambda: read_header(content)),
        "fields that leave": least(lambda: leaving_fields(header, given.message, removal, "gateway.example")),
        "relaxed body, plain": least(lambda: relaxed_body(flat)),
        "relaxed body, indented html": least(lambda: relaxed_body(html)),
        "body hash": least(lambda: dkim.body_hash(flat)),
        "canonical header": least(lambda: dkim.prepare(fields, hashed)),
        "received": least(lambda: received(given, "mx.gateway.example")),
        "signature field and its hash": least(lambda: dkim.unsigned(keys["rsa"], prepared, 1.0)),
        "sign, RSA-2048": least(lambda: dkim.sign(half["rsa"])),
        "sign, Ed25519": least(lambda: dkim.sign(half["ed25519"])),
    }


async def compose_for(composer: Composer, body: bytes, seconds: float) -> dict[str, float]:
    """Compose new messages for some seconds, as CONNECTIONS connections do."""
    content = HEADER + b"\r\n" + body
    until = time.perf_counter() + seconds
    count = 0

    async def connection(first: int) -> None:
        nonlocal count
        number = first
        while time.perf_counter() < until:
            await composer.compose(assignment(number), eight_bit_ok=True, utf8_ok=False, content=content)
            number += CONNECTIONS
            count += 1

    await composer.compose(assignment(0), eight_bit_ok=True, utf8_ok=False, content=content)  # the signing process has begun
    before, started = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(connection(number) for number in range(1, CONNECTIONS + 1)))
    ended = time.perf_counter()
    cpu = cpu_seconds() - before
    return {"per_second": count / (ended - started), "per_cpu_second": count / cpu, "cpu_us": cpu / count * 1e6}


def cpu_seconds() -> float:
    """CPU used so far by this process and the signing process it has started."""
    itself = psutil.Process()
    times = [each.cpu_times() for each in (itself, *itself.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def run(coroutine: Coroutine[object, object, dict[str, float]]) -> dict[str, float]:
    try:
        import uvloop

        return uvloop.run(coroutine)
    except ImportError:
        return asyncio.run(coroutine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each run of the whole composer")
    parser.add_argument("--size", type=int, default=10_240, help="octets of the body")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costs, composers = measure(Path(folder), options.size, options.seconds)
    if options.json:
        print(json.dumps({"bench": "dkim", "steps_us": costs, "composer": composers}))
        return
    for name, cost in costs.items():
        print(f"{name:40} {cost:8.1f} us")
    for name, figures in composers.items():
        print(f"{name:40} {figures['cpu_us']:8.1f} us CPU {figures['per_cpu_second']:8.0f}/CPU-s {figures['per_second']:8.0f}/s")


def measure(folder: Path, size: int, seconds: float) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    files = {name: generate("example.org", name, algorithm, 2048, folder).file for name, algorithm in ALGORITHMS.items()}
    keys = {name: dkim.load_key(file.read_bytes(), "example.org", name) for name, file in files.items()}
    composers: dict[str, dict[str, float]] = {}
    base = Settings()
    for name, listed in {"unsigned": [], "Ed25519": ["ed25519"], "RSA-2048": ["rsa"], "both": ["rsa", "ed25519"]}.items():
        dkim_keys = [{"selector": key, "file": str(files[key]), "algorithm": ALGORITHMS[key]} for key in listed]
        settings = Settings.model_validate({"domain": [{"name": "example.org", "dkim": dkim_keys}]})
        composer = Composer(settings, load_keyring(settings, folder, "mx.gateway.example"), "mx.gateway.example", time.time)
        for kind, body in {"plain": flat_body(size), "html": html_body(size)}.items():
            composers[f"compose, {name}, {kind}"] = run(compose_for(composer, body, seconds))
        composer.close()
    return steps(keys, base, size), composers


ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}

if __name__ == "__main__":
    main()
