"""What the gateway and its writing process say to each other: values, encoded, and how they travel.

A request lies in memory that both have mapped (copying mail through a socket costs more than writing it to the log); the socket carries its
length. One that is too large for that room follows the length on the socket. Answers are small and come on the socket. One request at a
time, so the room needs no bookkeeping. Both ends are ours and of the same version: what does not decode means that the other is broken.
"""

import mmap
import os
import socket
import struct
import tempfile

import msgspec

from gateway.spool.port import SpoolBroken, SpoolError, SpoolFull, SpoolRefused, Transaction, Written

LARGEST = 1 << 31
"""Bytes of one frame, at most."""

ROOM = 32 << 20
"""Bytes of the shared room. Only pages that were once used take memory."""

HEAD = struct.Struct(">BI")
"""Where a frame lies (one of the two below) and its length."""

HERE = 0
"""On the socket, behind the head."""

THERE = 1
"""In the shared room, from its beginning."""


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

_encoder = msgspec.msgpack.Encoder()
requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Room:
    """The shared memory, by a descriptor that a child inherits."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = _anonymous_file()
            os.ftruncate(descriptor, ROOM)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, ROOM)
        self._scratch = bytearray()

    def put(self, request: Request) -> tuple[bytes, bytes | memoryview]:
        """Lay `request` down. The head for the socket, and what must follow it there (often nothing)."""
        scratch = self._scratch  # kept: fresh memory for each batch of mail would be paid in page faults
        _encoder.encode_into(request, scratch)
        size = len(scratch)
        if size >= LARGEST:
            raise SpoolRefused(f"a transaction of {size} bytes is over the bound")
        if size > ROOM:
            self._scratch = bytearray()
            return HEAD.pack(HERE, size), memoryview(scratch)
        self._map[:size] = scratch
        return HEAD.pack(THERE, size), b""

    def get(self, size: int) -> Request:
        """The request that was laid down."""
        with memoryview(self._map) as view, view[:size] as part:
            return requests.decode(part)

    def close(self) -> None:
        """End."""
        self._map.close()
        os.close(self.descriptor)


def receive(channel: socket.socket, room: Room) -> Request | None:
    """The next request, waited for; None when the other end closed."""
    head = _exactly(channel, HEAD.size)
    if head is None:
        return None
    where, size = HEAD.unpack(head)
    if where == THERE:
        return room.get(size)
    body = _exactly(channel, size)
    return None if body is None else requests.decode(body)


def answer_frame(answer: Answer) -> bytes:
    """`answer` as it travels."""
    encoded = _encoder.encode(answer)
    return HEAD.pack(HERE, len(encoded)) + encoded


def _exactly(channel: socket.socket, size: int) -> bytearray | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        number = channel.recv_into(view)
        if not number:
            return None
        view = view[number:]
    return buffer


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mailwright-spool", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
