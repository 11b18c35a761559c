"""One person in event files: the lines that name him, and files without what they say of him.

An erased line keeps that something happened, when, where and with what result, so that counts stay right; it loses the recipient, every
text of a stranger and every label the application gave. A file is replaced as a whole, on disk before the old one is gone, with its time
kept. Blocking: from a thread. Files are read in pieces, so memory is bounded and other threads are not held up for long.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mail.event import Event, seal, unseal, without_person

PIECE = 262_144


def lines_about(path: Path, address: str) -> Iterator[bytes]:
    """Lines of a file that contain the address, in any case."""
    needle = address.encode()
    for piece in _pieces(path):
        if needle in piece.lower():
            yield from (line for line in piece.split(b"\n") if needle in line.lower())


def erase(path: Path, address: str) -> int:
    """Rewrite a file without what it says of the person; how many lines that changed. A file that does not name him is left alone."""
    found = sum(1 for _ in lines_about(path, address))
    if not found:
        return 0
    needle, before = address.encode(), path.stat()
    beside = path.with_name(path.name + ".rewriting")
    with beside.open("wb") as out:
        os.fchmod(out.fileno(), before.st_mode & 0o777)
        for piece in _pieces(path):
            if needle in piece.lower():
                piece = b"\n".join(erased(line) if needle in line.lower() else line for line in piece.split(b"\n"))
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(beside, path)
    return found


def erased(line: bytes) -> bytes:
    """The event in `line` without the person; nothing of a line that is no event."""
    try:
        event: Event = unseal(line)
    except msgspec.DecodeError:
        return b""
    return seal(without_person(event))


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece + (b"" if piece.endswith(b"\n") else file.readline())
