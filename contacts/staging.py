"""Where an import waits until all of it was read: records as packed rows, in 256 buckets by the first octet of their keys, in one file.

`Packer` makes a chunk of rows from lines, in whatever process; `Staging` keeps the chunks and gives the rows back bucket by bucket, in the
order of the keys, so that they enter the list where they belong without a sorter, and in memory is one bucket at a time (10 million
entries: 12 MB). The file has no name in its folder once it is open, so that a process that is killed leaves nothing.

Entries with the same key, reason and scope are one: the longest lasting stays, of equal ones the first.
"""

import io
import itertools
import operator
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from contacts.formats.blocks import Block
from contacts.formats.record import BadLine, Line
from contacts.formats.shape import Format
from contacts.key import AddressKeys
from contacts.rows import REASON_NUMBER, SCOPE_NUMBER, facts_of
from contacts.trouble import StoreError

BUCKETS = 256

Staged = tuple[bytes, int, str, int, int, float, float, str, str, str, bytes | None]
"""Key, number within the import, address, reason, scope, created, expires, account, stream, list, facts."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Staged])


class Chunk(msgspec.Struct, frozen=True):
    """A part of an import: lines read, lines refused with their reasons, and rows by bucket. `end`: octets of the file read so far."""

    read: int
    rows: int
    bad: list[BadLine]
    pieces: list[bytes]
    end: int


class Packer:
    """Makes chunks. Can be sent to another process. `changes` replaces fields of every record."""

    def __init__(self, shape: Format | None, secret: bytes, now: float, changes: dict[str, Any]) -> None:
        self._shape, self._secret, self._now, self._changes = shape, secret, now, changes
        self._keys: AddressKeys | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_keys": None}

    def __call__(self, block: Block) -> Chunk:
        """The chunk of a block. Its records are numbered by their lines: in a format that splits a line has one."""
        assert self._shape is not None
        assert self._shape.read is not None
        lines = self._shape.read(io.BytesIO(block.data))
        return self.pack(lines, block.before, block.end, by_line=True)

    def pack(self, lines: Iterable[Line], before: int = 0, end: int = 0, *, by_line: bool = False) -> Chunk:
        """The chunk of `lines`; `before` is added to their numbers, which are those in the file or (not `by_line`) counted here."""
        keys = self._keys = self._keys or AddressKeys(self._secret)
        key_of, now, changes = keys.of, self._now, self._changes
        buckets: list[list[Staged]] = [[] for _ in range(BUCKETS)]
        bad: list[BadLine] = []
        read = 0
        for line in lines:
            read += 1
            if isinstance(line, BadLine):
                bad.append(BadLine(line.line + before, line.why) if by_line else line)
                continue
            record = msgspec.structs.replace(line, **changes) if changes else line
            key = key_of(record.address)
            buckets[key[0]].append(
                (
                    key,
                    before + (record.line if by_line else read),
                    record.address,
                    REASON_NUMBER[record.reason],
                    SCOPE_NUMBER[record.scope],
                    record.created or now,
                    record.expires,
                    record.account,
                    record.stream,
                    record.list,
                    facts_of(record, record.origin or "import"),
                )
            )
        pieces = [_encoder.encode(bucket) if bucket else b"" for bucket in buckets]
        return Chunk(read, read - len(bad), bad, pieces, end)


class Staging:
    """The file. Raises StoreError when it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._file = _translated(lambda: tempfile.TemporaryFile(dir=folder, prefix="contacts.import"))  # noqa: SIM115
        self._places: list[tuple[int, list[int]]] = []
        self._end = 0
        self.rows = 0

    def add(self, chunk: Chunk) -> None:
        """Keep a chunk."""
        _translated(lambda: self._file.write(b"".join(chunk.pieces)))
        self._places.append((self._end, list(itertools.accumulate(map(len, chunk.pieces), initial=0))))
        self._end += self._places[-1][1][-1]
        self.rows += chunk.rows

    def sorted(self) -> Iterator[Staged]:
        """Every row in the order of the keys, duplicates merged."""
        _translated(self._file.flush)
        for number in range(BUCKETS):
            rows = list(itertools.chain.from_iterable(self._pieces(number)))
            rows.sort(key=operator.itemgetter(0))
            yield from _merged(rows)

    def _pieces(self, number: int) -> Iterator[list[Staged]]:
        handle = self._file.fileno()
        for start, ends in self._places:
            length = ends[number + 1] - ends[number]
            if length:
                yield _decoder.decode(os.pread(handle, length, start + ends[number]))

    def close(self) -> None:
        """The file is gone."""
        self._file.close()


def _merged(rows: list[Staged]) -> Iterator[Staged]:
    start, count = 0, len(rows)
    while start < count:
        key = rows[start][0]
        end = start + 1
        while end < count and rows[end][0] == key:
            end += 1
        if end == start + 1:
            yield rows[start]
        else:
            yield from _longest(rows[start:end])
        start = end


def _longest(rows: list[Staged]) -> Iterable[Staged]:
    best: dict[tuple[Any, ...], Staged] = {}
    for row in sorted(rows, key=lambda row: (-(row[6] or 9e99), row[1])):
        best.setdefault((row[3], row[4], row[7], row[8], row[9]), row)
    return best.values()


def _translated(doing: Any) -> Any:
    try:
        return doing()
    except OSError as error:
        raise StoreError(f"cannot write the import beside contacts.db: {error.strerror or error}") from error
