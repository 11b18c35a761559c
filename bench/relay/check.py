"""Whether both sides do the whole work: signatures verified on a sample, and the syncs that make it durable counted.

A short run of its own, because both cost time: the sink keeps every message in a file, the side runs under strace. Not measured for speed.
"""

import base64
import re
import time
from pathlib import Path

import dkim
import msgspec
from cryptography.hazmat.primitives import serialization

from bench.relay.accounting import Group
from bench.relay.load import Sink, Sources, message
from bench.relay.side import Side

SAMPLE = 200

_CALL = re.compile(r"(\d+\.\d+) \w+\(")  # the entry of a system call in strace's output; its return may be on a line of its own


class Soundness(msgspec.Struct, frozen=True):
    """What was found on `messages` messages."""

    messages: int
    verified: int
    syncs_per_message: float

    @property
    def sound(self) -> bool:
        """Every signature verifies, and something was synced: at least once for each twenty, as many as were on their way at once."""
        return self.messages > 0 and self.verified == self.messages and self.syncs_per_message * 20 >= 1


def check(side: Side, sink_port: int, folder: Path, size: int, key: bytes) -> Soundness:
    """Run `SAMPLE` messages of `size` octets through `side`."""
    dump, trace = folder / f"dump-{side.name}", folder / f"trace-{side.name}"
    with Sink(sink_port, folder, dump) as sink, Group(f"check-{side.name}") as group:
        try:
            side.start(group, trace)
            began = time.time()
            Sources(side.port, SAMPLE, message(size)).wait(120)
            sink.wait_for(SAMPLE, 60)
            ended = time.time() + 0.2
        finally:
            side.stop()
    calls = _CALL.findall(trace.read_text(errors="replace"))
    syncs = sum(began <= float(when) <= ended for when in calls)
    files = [file for file in dump.iterdir() if file.is_file()]
    verified = sum(_verifies(file.read_bytes(), _record(key)) for file in files)
    return Soundness(len(files), verified, round(syncs / SAMPLE, 2))


def _record(key: bytes) -> bytes:
    """The DKIM record of the private key (RFC 6376 section 3.6.1)."""
    private = serialization.load_pem_private_key(key, None)
    public = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def _verifies(dumped: bytes, record: bytes) -> bool:
    """Whether the message smtp-sink wrote down carries a good signature of example.test, made with the key of the bench."""
    content = dumped.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    start = content.find(b"\r\nReceived:") + 2  # smtp-sink puts the envelope above what it received
    signed = content[: content.find(b"\r\n\r\n")].lower()
    dkim_at = signed.find(b"\r\ndkim-signature:") + 2
    start = min(place for place in (start, dkim_at) if place >= 2)

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return record if name == b"bench._domainkey.example.test." else b""

    try:
        return bool(dkim.verify(content[start:], dnsfunc=lookup))
    except dkim.DKIMException:
        return False
