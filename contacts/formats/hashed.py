"""Lists of SHA-256 of the normal form, in hexadecimal, one a line: how two sides compare lists without showing addresses.

Plain ones can be read: an address is filed under its SHA-256, so the hash finds its place although nobody knows the address. Salted ones
(SHA-256 of salt, then normal form, as UTF-8) can be written and not read: nothing finds an address from them but trying every address.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from contacts.address import HASHED, hash_of, subject_of
from contacts.formats.record import BadLine, Line, Lines, Record
from contacts.formats.shape import Format, Written
from contacts.suppression import Entry, Reason, Scope

PAGE = 1000


def read(file: BinaryIO) -> Iterator[Line]:
    """64 hexadecimal digits a line, with or without `sha256:`; the first line may be a header."""
    lines = Lines(file)
    for line in lines:
        text = b"" if line is None else line.strip().strip(b'"').lower()
        if line is not None and not text:
            continue
        found = subject_of(HASHED + text.removeprefix(HASHED.encode()).decode("latin-1"))
        if found is not None and "@" not in found:
            yield Record(lines.number, found, Reason.IMPORTED, origin="sha256")
        elif lines.number > 1 or (b"sha" not in text and b"hash" not in text):
            yield BadLine(lines.number, "not 64 hexadecimal digits")


def write(entries: Iterable[Entry], written: Written, salt: bytes = b"") -> Iterator[bytes]:
    """The hash of every address once after the other; what does not hold for everybody is left out, and with a salt
    what is known by its hash only."""
    piece: list[str] = []
    for entry in entries:
        if not entry.address or entry.scope is not Scope.GLOBAL or entry.expires or (salt and "@" not in entry.address):
            written.left_out += 1
            continue
        written.entries += 1
        piece.append(hashlib.sha256(salt + entry.address.encode()).hexdigest() if salt else hash_of(entry.address).hex())
        if len(piece) == PAGE:
            yield ("\n".join(piece) + "\n").encode("ascii")
            piece.clear()
    if piece:
        yield ("\n".join(piece) + "\n").encode("ascii")


def salted(salt: bytes) -> Format:
    """The format with this salt."""
    return Format("sha256-salted", "SHA-256 of a salt and the address; cannot be imported.", write=functools.partial(write, salt=salt))
