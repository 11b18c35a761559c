"""Large lists into the store, while it is in use: constant memory, and an import that is whole or nothing.

An import reads everything into a staging file first (`contacts.staging`; several processes read, where the format lets a file be cut), so
that a bad line at the end is known before anything has changed. Then it goes into the list in slices of short transactions, in the order of
the keys (in any other order every slice would touch the whole file), under a batch that counts for nothing until its last transaction makes
it whole. What a crash left is taken out by the next import or `tidy`. One import at a time (a lock file); lookups and the event log go on
beside it, from this process or another.

An entry is a duplicate when the list has one for the same address, reason and scope that lasts as long: the older stays.
"""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import apsw
import msgspec

from contacts.database import transaction, translated
from contacts.filter import Filter
from contacts.formats.blocks import blocks
from contacts.formats.peek import first_byte
from contacts.formats.record import BadLine, Line
from contacts.formats.shape import Format
from contacts.listing import opened_beside
from contacts.staging import Chunk, Packer, Staged, Staging
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from contacts.workers import in_order
from mail.event import Event, EventKind, seal, timestamp, unseal

SLICE = 10_000
"""Entries in one transaction."""
KEEP_EXPIRED = 30 * 86_400.0
KEEP_REMOVED = 400 * 86_400.0
"""Seconds for which expired entries can be asked for, and for which late additions of removed ones are expected."""

_EXISTING = (
    "SELECT key, reason, scope, account, stream, list, expires FROM suppression e WHERE key IN (SELECT value FROM carray(?)) AND"
    " (batch = 0 OR EXISTS (SELECT 1 FROM batch b WHERE b.number = e.batch AND b.whole = 1))"
)
_INSERT = (
    "INSERT INTO suppression (key, id, address, reason, scope, created, expires, account, stream, list, facts, batch)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_EXPIRED = f"DELETE FROM suppression WHERE (key, id) IN (SELECT key, id FROM suppression WHERE expires > 0 AND expires < ? LIMIT {SLICE})"
_REMOVED = f"DELETE FROM removed WHERE id IN (SELECT id FROM removed WHERE at < ? LIMIT {SLICE})"

FOR_EVER = 9e99
Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Nobody looks."""


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
    changes: dict[str, Any] | None = None,
    dry_run: bool = False,
    skip_bad: bool = False,
    on_bad: Callable[[BadLine], None] = lambda line: None,
    progress: Progress = no_progress,
) -> Imported:
    """Import everything that `lines` gives, or, when a line is bad and they are not to be skipped, nothing. `batch` is a new name for it.

    `changes` replaces fields of every record. `progress` is told the step (`reading` or `merging`), how much is done and of how much.
    Raises StoreError.
    """

    def chunks() -> Iterator[Chunk]:
        packer, source, before = Packer(None, store.keys.secret, now, changes or {}), iter(lines), 0
        while page := list(itertools.islice(source, SLICE)):
            yield packer.pack(page, before)
            before += len(page)

    return _import(store, chunks(), batch, now, node, dry_run, skip_bad, on_bad, progress)


def import_file(
    store: SuppressionStore,
    file: BinaryIO,
    shape: Format,
    batch: str,
    now: float,
    *,
    node: str = "",
    changes: dict[str, Any] | None = None,
    dry_run: bool = False,
    skip_bad: bool = False,
    on_bad: Callable[[BadLine], None] = lambda line: None,
    progress: Progress = no_progress,
    processes: int = 1,
) -> Imported:
    """`import_lines` of a file in a format that can be read; a large one is read by several processes where the format allows it.
    While reading, `progress` counts octets."""
    assert shape.read is not None
    first, file = first_byte(file)
    if shape.splits is None or (shape.splits.unless and shape.splits.unless == first):
        more = {"node": node, "changes": changes, "dry_run": dry_run, "skip_bad": skip_bad, "on_bad": on_bad, "progress": progress}
        return import_lines(store, shape.read(file), batch, now, **more)  # type: ignore[arg-type]
    source = blocks(file, shape.splits)
    start = list(itertools.islice(source, 2))
    packer = Packer(shape, store.keys.secret, now, changes or {})
    chunks = in_order(packer, itertools.chain(start, source), processes if len(start) > 1 else 1)
    return _import(store, chunks, batch, now, node, dry_run, skip_bad, on_bad, progress)


def _import(
    store: SuppressionStore,
    chunks: Iterator[Chunk],
    batch: str,
    now: float,
    node: str,
    dry_run: bool,
    skip_bad: bool,
    on_bad: Callable[[BadLine], None],
    progress: Progress,
) -> Imported:
    with _alone(store.folder), opened_beside(store) as connection, contextlib.closing(Staging(store.folder)) as staging:
        tidy_batches(connection)
        read = refused = 0
        for chunk in chunks:
            staging.add(chunk)
            read, refused = read + chunk.read, refused + len(chunk.bad)
            for line in chunk.bad:
                on_bad(line)
            progress("reading", chunk.end or read, 0)
        if dry_run or (refused and not skip_bad):
            added = sum(len(_news(connection, rows)) for rows in _slices(staging))
            return Imported(batch, False, read, added, read - refused - added, refused)
        added = _merge(connection, staging, batch, progress, store.filter)
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


def forget(store: SuppressionStore, subject: str) -> int:
    """Erase what is known of a person (`contacts.address.subject_of`) but not that he is suppressed: the entry stays under its keyed hash,
    without address, texts and labels. How many entries. What is pending in memory is not yet in the file: carry it there first."""
    with opened_beside(store) as connection, transaction(connection):
        connection.execute("UPDATE suppression SET address = '', facts = NULL WHERE key = ?", (store.keys.of(subject),))
        gone = connection.changes()
        connection.execute("DELETE FROM soft WHERE key = ?", (store.keys.of(subject),))
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


def _slices(staging: Staging) -> Iterator[list[Staged]]:
    rows = staging.sorted()
    while page := list(itertools.islice(rows, SLICE)):
        yield page


def _news(connection: apsw.Connection, rows: list[Staged]) -> list[Staged]:
    """Those of `rows` that say more than the list does: it has no such entry, or one that ends earlier."""
    keys = apsw.carray(tuple(row[0] for row in rows))
    with translated("read"):
        found: list[Any] = connection.execute(_EXISTING, (keys,)).fetchall()
    if not found:
        return rows
    lasts: dict[tuple[Any, ...], float] = {}
    for *entry, expires in found:
        known = tuple(entry)
        lasts[known] = max(lasts.get(known, 0.0), expires or FOR_EVER)
    return [row for row in rows if (row[6] or FOR_EVER) > lasts.get((row[0], row[3], row[4], row[7], row[8], row[9]), 0.0)]


def _merge(connection: apsw.Connection, staging: Staging, batch: str, progress: Progress, known: Filter | None) -> int:
    """The staged entries into the list, in slices. How many were news."""
    with transaction(connection):
        connection.execute("INSERT INTO batch (id, whole) VALUES (?, 0)", (batch,))
        number = connection.last_insert_rowid()
    added = done = 0
    for rows in _slices(staging):
        if known is not None:
            known.add(row[0] for row in rows)  # before they count, which is when the batch is whole
        with transaction(connection):
            before = connection.total_changes()
            connection.executemany(_INSERT, [(row[0], f"{batch}.{row[1]}", *row[2:], number) for row in _news(connection, rows)])
            added += connection.total_changes() - before
        done += len(rows)
        progress("merging", done, staging.rows)
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
