"""A file cut at line ends into blocks that can be read apart from each other, in any process, with the numbers of their lines.

A block begins with what its format needs at the start of a file: the header row again, or nothing. In a format with quotes a line end
inside quotes does not count: a quote opens or closes, so a place is outside of them when an even number came before it. A file whose
quotes never close is cut all the same after `LARGEST` octets, and what cannot be read is reported by whoever reads the block. Lines that
are too long are cut down to something that is too long still, so that they are reported and not held.
"""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from contacts.formats.record import MAX_LINE
from contacts.formats.shape import Splits

BLOCK = 2_000_000
"""Octets of a block, about."""
LARGEST = 8_000_000


class Block(msgspec.Struct, frozen=True, gc=False):
    """`data` is read as a file; a line number in it, plus `before`, is the one in the file. `end`: octets of the file up to here."""

    data: bytes
    before: int
    end: int


def blocks(file: BinaryIO, splits: Splits) -> Iterator[Block]:
    """The blocks of a file. A file of one block is one, without anything before it."""
    held = b""
    lines = end = 0
    prefix: bytes | None = None
    while True:
        piece = file.read(BLOCK)
        held += piece
        place = _place(held, quoted=splits.quoted) if piece else len(held)
        if piece and not place:
            if len(held) <= LARGEST:
                continue
            held = _shortened(held, file)
            place = held.rfind(b"\n") + 1 or len(held)
        data, held = held[:place], held[place:]
        end += len(data)
        if data:
            before = lines - (prefix.count(b"\n") if prefix else 0)
            yield Block((prefix or b"") + data, before, end)
            lines += data.count(b"\n")
        if not piece:
            return
        if prefix is None:
            prefix = _header(data, quoted=splits.quoted) if splits.header else splits.prefix


def _place(held: bytes, *, quoted: bool) -> int:
    """Behind the last line end that ends a record, 0 when there is none."""
    place = held.rfind(b"\n") + 1
    if not quoted or not place:
        return place
    inside = held.count(b'"', 0, place) % 2
    while inside and place:
        earlier = held.rfind(b"\n", 0, place - 1) + 1
        inside ^= held.count(b'"', earlier, place) % 2
        place = earlier
    return place


def _shortened(held: bytes, file: BinaryIO) -> bytes:
    """`held` ends in a line (or in quotes) without an end in sight: that line is read past."""
    start = held.rfind(b"\n") + 1
    if start > 1:
        return held  # quotes that do not close, over many lines
    held = held[: MAX_LINE + 2]
    while (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
        pass
    return held + b"\n"


def _header(data: bytes, *, quoted: bool) -> bytes:
    """The first record that is not empty, with its line end."""
    place = 0
    while True:
        end = data.find(b"\n", place) + 1
        if not end:
            return data
        if data[:end].strip(b"\r\n \t,\xef\xbb\xbf") and not (quoted and data.count(b'"', 0, end) % 2):
            return data[:end]
        place = end
