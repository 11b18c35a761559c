"""The list read through, beside whatever else happens to it: as entries, or as a file in one of the formats.

The keys are keyed hashes, so they are spread evenly: a file is written range by range of keys, each in about the time of any other, by
several processes where the format allows it, in the order of the ranges. That order means nothing to anybody and costs nothing: it is how
the file lies on disk. Memory is bounded by the ranges under way. What changes meanwhile may be in or not; nothing is there twice.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from contacts.database import opened, translated
from contacts.formats.shape import Format, Written
from contacts.rows import COLUMNS, REASON_NUMBER, entry_of
from contacts.store import SuppressionStore
from contacts.suppression import Entry, Reason
from contacts.workers import in_order

PAGE = 2_000
"""Entries that are read at once."""
RANGES = 1024
WORTH_PROCESSES = 100_000
"""Entries from which other processes are worth their start."""
END = b"\xff" * 17
"""Behind every key."""

_PAGE = (
    f"SELECT key, {COLUMNS} FROM suppression WHERE (key, id) > (?, ?) AND key < ? AND created >= ? AND (expires = 0 OR expires > ?)"
    f" AND reason IN (?) AND (batch = 0 OR batch IN (SELECT number FROM batch WHERE whole = 1)) ORDER BY key, id LIMIT {PAGE}"
)


def entries(store: SuppressionStore, now: float, since: float = 0.0, reason: str = "") -> Iterator[Entry]:
    """Every live entry created at `since` or later (and for `reason`), in the order of the keys, page by page. Raises StoreError."""
    with opened_beside(store) as connection:
        yield from _between(connection, b"", END, now, since, reason)


def _between(connection: apsw.Connection, start: bytes, end: bytes, now: float, since: float, reason: str) -> Iterator[Entry]:
    """Entries whose keys are behind `start` and before `end`."""
    wanted = [REASON_NUMBER[Reason(reason)]] if reason else list(REASON_NUMBER.values())
    sql = _PAGE.replace("IN (?)", f"IN ({', '.join('?' * len(wanted))})")
    place: tuple[bytes, str] = (start, "")
    while True:
        with translated("read"):
            names: list[Any] = connection.execute("SELECT number, id FROM batch").fetchall()
            rows: list[Any] = connection.execute(sql, (*place, end, since, now, *wanted)).fetchall()
        batches: dict[int, str] = dict(names)
        for row in rows:
            yield entry_of(row[1:], batches.get(row[11], "") if row[11] else "")
        if len(rows) < PAGE:
            return
        place = (rows[-1][0], rows[-1][1])


class Exporter:
    """Writes ranges of the list, in whatever process. The file is opened there, for reading only."""

    def __init__(self, path: Path, shape: Format, now: float, since: float) -> None:
        self._path, self._shape, self._now, self._since = path, shape, now, since
        self._header = b"".join(_write(shape, iter(()), Written()))
        self._connection: apsw.Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connection": None}

    def __call__(self, number: int) -> tuple[bytes, int, int]:
        """Range `number` of RANGES, without the header: its octets, entries written, entries left out."""
        connection = self._connection = self._connection or opened(self._path, reads_only=True)
        written = Written()
        found = _between(connection, _border(number), _border(number + 1), self._now, self._since, "")
        data = b"".join(_write(self._shape, found, written))
        return data[len(self._header) :], written.entries, written.left_out

    @property
    def header(self) -> bytes:
        """What comes before the first range."""
        return self._header

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()


def pieces(
    store: SuppressionStore, shape: Format, now: float, since: float, written: Written, processes: int, progress: Callable[[float], None]
) -> Iterator[bytes]:
    """The list as a file, piece by piece. `written` counts as it goes; `progress` is told the part that is done, 0 to 1. Raises
    StoreError."""
    if not shape.lines:
        yield from _write(shape, entries(store, now, since), written)
        return
    exporter = Exporter(store.folder / "contacts.db", shape, now, since)
    try:
        yield exporter.header
        for number, (data, count, left_out) in enumerate(in_order(exporter, range(RANGES), processes if _large(store) else 1), 1):
            written.entries += count
            written.left_out += left_out
            progress(number / RANGES)
            yield data
    finally:
        exporter.close()


def _large(store: SuppressionStore) -> bool:
    with opened_beside(store) as connection, translated("read"):
        rows: list[Any] = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM suppression LIMIT {WORTH_PROCESSES})").fetchall()
    return int(rows[0][0]) == WORTH_PROCESSES


def _border(number: int) -> bytes:
    """The first key of a range."""
    return END if number == RANGES else (number << 6).to_bytes(2, "big") if number else b""


def _write(shape: Format, found: Iterator[Entry], written: Written) -> Iterator[bytes]:
    assert shape.write is not None
    return shape.write(found, written)


@contextlib.contextmanager
def opened_beside(store: SuppressionStore) -> Iterator[apsw.Connection]:
    """One more connection to the store's file, for long work."""
    connection = opened(store.folder / "contacts.db", check=store.keys.check_value())
    try:
        yield connection
    finally:
        connection.close()
