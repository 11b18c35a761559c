"""What the gateway and its writing process say to each other: values, encoded, each with its length before it.

Four bytes of length (big-endian), then msgpack. Both ends are ours and of the same version; a frame over the bound, or one that does not
decode, means that the other end is broken.
"""

import msgspec

from gateway.spool.port import SpoolBroken, SpoolError, SpoolFull, SpoolRefused, Transaction, Written

LENGTH = 4
LARGEST = 1 << 31
"""Bytes of one frame, at most."""


class Begin(msgspec.Struct, frozen=True, gc=False, tag="begin"):
    """The first frame: which file, and under which lease number."""

    folder: str
    cache: int
    wal_limit: int
    lease: int


class Write(msgspec.Struct, frozen=True, gc=False, tag="write"):
    """One transaction."""

    transaction: Transaction


class Tidy(msgspec.Struct, frozen=True, gc=False, tag="tidy"):
    """One slice of housekeeping; ledgers of days before `first_kept` go."""

    first_kept: float


class Done(msgspec.Struct, frozen=True, gc=False, tag="done"):
    """The answer to each frame: what was written, whether there is more to tidy, and the size of the log."""

    wal_bytes: int
    written: Written = Written()
    more: bool = False


class Failed(msgspec.Struct, frozen=True, gc=False, tag="failed"):
    """The answer when it went wrong: the name of the port's error and its text."""

    error: str
    text: str


Request = Begin | Write | Tidy
Answer = Done | Failed

ERRORS: dict[str, type[SpoolError]] = {error.__name__: error for error in (SpoolFull, SpoolRefused, SpoolBroken)}
"""Errors that travel by name. Any other is SpoolBroken."""

_encode = msgspec.msgpack.Encoder().encode
requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def frame(value: Request | Answer) -> tuple[bytes, bytes]:
    """`value` as length and bytes."""
    encoded = _encode(value)
    if len(encoded) >= LARGEST:
        raise SpoolRefused(f"a transaction of {len(encoded)} bytes is over the bound")
    return len(encoded).to_bytes(LENGTH, "big"), encoded
