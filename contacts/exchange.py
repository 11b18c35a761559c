"""Large lists in and out of the store, while it is in use: constant memory, and an import that is whole or nothing.

An import reads everything into a staging file first, so that a bad line at the end is known before anything has changed. Then it is sorted
and duplicates are merged, and it goes into the list in slices of short transactions, in the order of the keys (in any other order every
slice would touch the whole file), under a batch that counts for nothing until its last transaction makes it whole. What a crash left is
taken out by the next import or `tidy`. One import at a time (a lock file); lookups and the event log go on beside it, from this process or
another.

An entry is a duplicate when the list has one for the same address, reason and scope that lasts as long: the older stays.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from contacts.database import opened, transaction, translated
from contacts.formats.record import BadLine, Line
from contacts.key import AddressKeys
from contacts.rows import COLUMNS, REASON_NUMBER, entry_of, row_of
from contacts.store import WHOLE, SuppressionStore
from contacts.suppression import Entry, Reason
from contacts.trouble import StoreError
from mail.event import Event, EventKind, seal, timestamp, unseal

SLICE = 10_000
"""Entries in one transaction."""
PAGE = 2_000
"""Entries that an export reads at once."""
KEEP_EXPIRED = 30 * 86_400.0
KEEP_REMOVED = 400 * 86_400.0
"""Seconds for which expired entries can be asked for, and for which late additions of removed ones are expected."""

_ALL = f"key, {COLUMNS}"
_SAME = (
    "EXISTS (SELECT 1 FROM main.suppression e WHERE e.key = s.key AND e.reason = s.reason AND e.scope = s.scope AND e.account = s.account"
    " AND e.stream = s.stream AND e.list = s.list AND (e.expires = 0 OR s.expires BETWEEN 1 AND e.expires) AND (e.batch = 0 OR"
    " EXISTS (SELECT 1 FROM main.batch b WHERE b.number = e.batch AND b.whole = 1)))"
)
_SORT = f"""CREATE TABLE staged.sorted AS SELECT {_ALL}, max(CASE expires WHEN 0 THEN 9e99 ELSE expires END) AS lasting
    FROM staged.raw GROUP BY key, reason, scope, account, stream, list ORDER BY key"""
_MERGE = f"""INSERT INTO main.suppression ({_ALL})
    SELECT {", ".join("s." + name if name != "batch" else "?" for name in _ALL.split(", "))} FROM staged.sorted s
    WHERE s.rowid > ? AND s.rowid <= ? AND NOT {_SAME} ON CONFLICT DO NOTHING"""

_PAGE = (
    f"SELECT {_ALL}, (SELECT id FROM batch b WHERE b.number = batch) FROM suppression WHERE (key, id) > (?, ?) AND created >= ?"
    f" AND (expires = 0 OR expires > ?) AND reason IN (?) AND {WHOLE} ORDER BY key, id LIMIT {PAGE}"
)
_EXPIRED = f"DELETE FROM suppression WHERE (key, id) IN (SELECT key, id FROM suppression WHERE expires > 0 AND expires < ? LIMIT {SLICE})"
_REMOVED = f"DELETE FROM removed WHERE id IN (SELECT id FROM removed WHERE at < ? LIMIT {SLICE})"


class Imported(msgspec.Struct, frozen=True):
    """What an import did, or (`done` false) would do: a dry run, or one that bad lines forbid. Lines read; added, merged, refused."""

    batch: str
    done: bool
    read: int
    added: int
    merged: int
    refused: int


def import_lines(
    store: SuppressionStore,
    lines: Iterable[Line],
    batch: str,
    now: float,
    *,
    node: str = "",
    dry_run: bool = False,
    skip_bad: bool = False,
    on_bad: Callable[[BadLine], None] = lambda line: None,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Imported:
    """Import everything that `lines` gives, or, when a line is bad and they are not to be skipped, nothing. `batch` is a new name for it.

    `progress` is told the step (`reading`, `merging`), how much is done and of how many (0: unknown). Raises StoreError.
    """
    with _alone(store.folder), _staging(store) as connection:
        tidy_batches(connection)
        read, refused = _stage(connection, lines, store.keys, batch, now, on_bad, progress)
        total = _sorted(connection)
        if dry_run or (refused and not skip_bad):
            merged = _count(connection, f"SELECT count(*) FROM staged.sorted s WHERE {_SAME}")
            return Imported(batch, False, read, total - merged, read - refused - total + merged, refused)
        added = _merge(connection, batch, total, progress)
        done = Imported(batch, True, read, added, read - refused - added, refused)
        with transaction(connection):
            connection.execute("UPDATE batch SET whole = 1, event = ? WHERE id = ?", (seal(import_event(done, node, now)), batch))
        return done


def import_event(imported: Imported, node: str, now: float) -> Event:
    """The one event of an import."""
    counts = {"read": imported.read, "added": imported.added, "merged": imported.merged, "refused": imported.refused}
    kind = EventKind.SUPPRESSION_IMPORTED
    return Event(
        id=f"{imported.batch}.i", kind=kind, at=now, time=timestamp(now), recipient="", node=node, batch=imported.batch, counts=counts
    )


def unannounced(store: SuppressionStore) -> list[Event]:
    """Events of imports that the event log does not have yet. Write them there, then call `announced`."""
    with opened_beside(store) as connection, translated("read"):
        rows: list[Any] = connection.execute("SELECT event FROM batch WHERE event IS NOT NULL").fetchall()
    return [unseal(row[0]) for row in rows]


def announced(store: SuppressionStore, batch: str) -> None:
    """The event log has the event of this import."""
    with opened_beside(store) as connection, transaction(connection):
        connection.execute("UPDATE batch SET event = NULL WHERE id = ?", (batch,))


def entries(store: SuppressionStore, now: float, since: float = 0.0, reason: str = "") -> Iterator[Entry]:
    """Every live entry created at `since` or later (and for `reason`), in the order of the keys, page by page: what changes meanwhile may
    be in or not."""
    place: tuple[bytes, str] = (b"", "")
    wanted = [REASON_NUMBER[Reason(reason)]] if reason else list(REASON_NUMBER.values())
    sql = _PAGE.replace("(?)", f"({', '.join('?' * len(wanted))})")
    with opened_beside(store) as connection:
        while True:
            with translated("read"):
                rows: list[Any] = connection.execute(sql, (*place, since, now, *wanted)).fetchall()
            for row in rows:
                yield entry_of(row[1:12], row[12] or "")
            if len(rows) < PAGE:
                return
            place = (rows[-1][0], rows[-1][1])


def forget(store: SuppressionStore, subject: str) -> int:
    """Erase what is known of a person (`contacts.address.subject_of`) but not that he is suppressed: the entry stays under its keyed hash,
    without address, texts and labels. How many entries. What is pending in memory is not yet in the file: carry it there first."""
    with opened_beside(store) as connection, transaction(connection):
        connection.execute("UPDATE suppression SET address = '', facts = NULL WHERE key = ?", (store.keys.of(subject),))
        gone = connection.changes()
    with opened_beside(store) as connection, translated("write"):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the old pages are in the log until it is emptied
    return gone


def tidy(store: SuppressionStore, now: float) -> int:
    """Take out what nobody asks for: long expired entries, old removals, imports that died. How many rows went. Raises StoreError."""
    gone = 0
    with opened_beside(store) as connection:
        for sql, before in (
            (
                _EXPIRED,
                now - KEEP_EXPIRED,
            ),
            (_REMOVED, now - KEEP_REMOVED),
        ):
            while True:
                with transaction(connection):
                    connection.execute(sql, (before,))
                    changed = connection.changes()
                gone += changed
                if changed < SLICE:
                    break
        try:
            with _alone(store.folder):
                gone += tidy_batches(connection)
        except ImportRunning:
            pass
    return gone


class ImportRunning(StoreError):
    """Another import has the lock."""


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder / "contacts.import.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImportRunning("another import is running") from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def opened_beside(store: SuppressionStore) -> Iterator[apsw.Connection]:
    """One more connection to the store's file, for long work."""
    connection = opened(store.folder / "contacts.db", check=store.keys.check_value())
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _staging(store: SuppressionStore) -> Iterator[apsw.Connection]:
    """A connection with an empty staging file beside the list; it needs no durability and is gone afterwards."""
    path = store.folder / "contacts.import"
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        with opened_beside(store) as connection:
            with translated("write"):
                connection.execute("ATTACH ? AS staged", (str(path),))
                connection.execute("PRAGMA staged.journal_mode = OFF; PRAGMA staged.synchronous = OFF; PRAGMA staged.cache_size = -16000")
                connection.execute(f"CREATE TABLE staged.raw ({_ALL})")
            yield connection
    finally:
        path.unlink(missing_ok=True)


def _stage(
    connection: apsw.Connection,
    lines: Iterable[Line],
    keys: AddressKeys,
    batch: str,
    now: float,
    on_bad: Callable[[BadLine], None],
    progress: Callable[[str, int, int], None],
) -> tuple[int, int]:
    """Every record into the staging file. Lines read, lines refused."""
    insert = f"INSERT INTO staged.raw VALUES ({', '.join('?' * 12)})"
    read = refused = 0
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        read += 1
        if isinstance(line, BadLine):
            refused += 1
            on_bad(line)
            continue
        entry = line.entry(batch, read, now)
        rows.append(row_of(entry, keys.of(entry.address)))
        if len(rows) == SLICE:
            _into(connection, insert, rows)
            progress("reading", read, 0)
    _into(connection, insert, rows)
    progress("reading", read, 0)
    return read, refused


def _into(connection: apsw.Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    with translated("write"), connection:
        connection.executemany(sql, rows)
    rows.clear()


def _sorted(connection: apsw.Connection) -> int:
    with translated("write"):
        connection.execute(_SORT)
        connection.execute("DROP TABLE staged.raw")
    return _count(connection, "SELECT coalesce(max(rowid), 0) FROM staged.sorted")


def _count(connection: apsw.Connection, sql: str) -> int:
    with translated("read"):
        rows: list[Any] = connection.execute(sql).fetchall()
    return int(rows[0][0])


def _merge(connection: apsw.Connection, batch: str, total: int, progress: Callable[[str, int, int], None]) -> int:
    """The sorted entries into the list, in slices. How many were news."""
    with transaction(connection):
        connection.execute("INSERT INTO batch (id, whole) VALUES (?, 0)", (batch,))
        number = connection.last_insert_rowid()
    added = 0
    for start in range(0, total, SLICE):
        with transaction(connection):
            connection.execute(_MERGE, (number, start, start + SLICE))
            added += connection.changes()
        progress("merging", min(start + SLICE, total), total)
    return added


def tidy_batches(connection: apsw.Connection) -> int:
    """Take out what imports left that did not come to their end. The caller holds the import lock. How many entries went."""
    gone = 0
    with translated("read"):
        dead: list[Any] = connection.execute("SELECT number FROM batch WHERE whole = 0").fetchall()
    for (number,) in dead:
        place = b""
        while True:
            with transaction(connection):
                sql = "SELECT key, id FROM suppression WHERE key >= ? AND batch = ? ORDER BY key, id LIMIT ?"
                rows: list[Any] = connection.execute(sql, (place, number, SLICE)).fetchall()
                connection.executemany("DELETE FROM suppression WHERE key = ? AND id = ?", rows)
            if not rows:
                break
            gone += len(rows)
            place = rows[-1][0]
        with transaction(connection):
            connection.execute("DELETE FROM batch WHERE number = ?", (number,))
    return gone
