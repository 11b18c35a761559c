"""What a format is: how it is read and how it is written. Writers say what they cannot carry by leaving it out and counting it."""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec

from contacts.formats.record import Line
from contacts.suppression import Entry, Scope


class Written(msgspec.Struct):
    """Counts of an export, as it goes: entries in the file, and entries that the format has no word for."""

    entries: int = 0
    left_out: int = 0


class Splits(msgspec.Struct, frozen=True):
    """How a file is cut into parts that are read apart (`contacts.formats.blocks`): one record a line, or a quoted field over several.

    `prefix` is put before each part but the first, where the format has no `header`. A file that starts with `unless` is read whole.
    """

    quoted: bool = False
    header: bool = False
    prefix: bytes = b""
    unless: bytes = b""


class Format(msgspec.Struct, frozen=True):
    """One shape. `read` is None where it cannot be read back, `write` where it is only read."""

    name: str
    says: str
    """One line for people: what it carries and what it loses."""
    read: Callable[[BinaryIO], Iterator[Line]] | None = None
    write: Callable[[Iterable[Entry], Written], Iterator[bytes]] | None = None
    splits: Splits | None = None
    """None: a file is read from its start to its end."""
    lines: bool = True
    """An export is a header and then lines that do not know each other."""


def portable(entry: Entry) -> bool:
    """Whether a list without scopes can carry it: it holds for everybody, for ever, and its address is known."""
    return entry.scope is Scope.GLOBAL and not entry.expires and "@" in entry.address
