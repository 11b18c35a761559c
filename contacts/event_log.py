"""`events.db` in the data folder: the event log of a gateway without PostgreSQL, for those who pull (`GET /v1/events?after=`).

It is filled and read as the event table of PostgreSQL is: a batch is one durable transaction (fsync), an event that comes again changes
nothing, the number among its address's events is given in the insert's transaction, and a reader of `after` skips none, because there is
one writer. Positions are its own, and grow on from `begin` where the file is made anew, so that a reader's cursor outlives a lost file.

Blocking; each instance is used by one thread at a time. On a bad day (disk full, file damaged, locked for long) everything raises
StoreError, nothing was half done, and the file is opened anew for the next call: an fsync is never tried again on the same handle.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import msgspec

from contacts.road import Published
from contacts.tables import event_in, recipient_of, statements
from contacts.trouble import StoreError
from mail.event import Event, EventKind, seal, unseal, without_person

FILE = "events.db"
APPLICATION = 0x4D574556
"""PRAGMA application_id of the file."""
VERSION = 1
MOST = 5_000
"""Rows in one answer."""
TOGETHER = 200
"""Rows in one statement: each step of a statement is a crossing, and beside a busy loop a thread waits long for each."""
SLICE = 1_000
"""Rows of one transaction that erases or deletes: others want to write too."""
FREED = 4_000
"""Pages that are given back to the file system after such a slice, at most."""
BUSY = 10_000
"""Milliseconds to wait for another connection's lock."""

SQL = statements("event_log.sql")


class EventLog:
    """The file in `folder`, made where it is missing. Raises StoreError when there is one that is not ours."""

    def __init__(self, folder: Path, begin: int = 0) -> None:
        self._path = folder / FILE
        self._begin = begin
        self._connection: apsw.Connection | None = None
        with self._file("open"):
            pass

    def publish(self, rows: Sequence[tuple[int, bytes]]) -> Published:
        """Put (position, line) rows of the node's log in, in their order, in one transaction. Lines that are no events are skipped and
        counted. Raises StoreError: nothing was done or all of it was, which the next call finds out."""
        events = [(position, line, event) for position, line in rows if (event := event_in(line)) is not None]
        new = 0
        if events:
            with self._transaction("write") as file:
                for start in range(0, len(events), TOGETHER):
                    new += _inserted(file, events[start : start + TOGETHER])
        return Published(rows[-1][0] if rows else 0, new, len(rows) - len(events), 0)

    def after(self, position: int, limit: int = 1000) -> list[tuple[int, int, bytes]]:
        """Events behind `position`, in order: (position, sequence of its address, line). Raises StoreError."""
        with self._file("read") as file:
            rows: list[Any] = file.execute(SQL["after"], (position, min(limit, MOST))).fetchall()
        return [(place, sequence, line.encode()) for place, sequence, line in _pages.decode(rows[0][0])]

    def known(self, address: str) -> list[bytes]:
        """Events of an address in normal form, in order. Raises StoreError."""
        with self._file("read") as file:
            return [body for (body,) in file.execute(SQL["known"], (address,))]

    def forget(self, address: str) -> int:
        """Take a person out of his events, which stay where they are; how many. Raises StoreError: make the call again then."""
        gone = 0
        while True:
            with self._transaction("write") as file:
                found: list[Any] = file.execute(SQL["about"], (address, SLICE)).fetchall()
                file.executemany(SQL["erase"], [(seal(without_person(unseal(body))), position) for position, body in found])
                file.execute(SQL["uncount"], (address,))
            gone += len(found)
            if len(found) < SLICE:
                break
        if gone:
            with self._file("write") as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log beside the file names the person too
        return gone

    def retain(self, now: float, seconds: float, kinds: Mapping[str, float]) -> int:
        """Delete events older than `seconds`, or than what `kinds` says of theirs; how many. Raises StoreError."""
        gone = 0
        for kind in EventKind:
            before = now - kinds.get(kind.value, seconds)
            while count := self._delete(kind.value, before):
                gone += count
        return gone

    def close(self) -> None:
        """End."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _delete(self, kind: str, before: float) -> int:
        with self._transaction("write") as file:
            found = file.execute(SQL["old"], (kind, before, SLICE)).fetchall()
            file.executemany(SQL["uncount"], sorted(set(found)))
        if found:
            with self._file("write") as file:
                file.execute(f"PRAGMA incremental_vacuum({FREED})").fetchall()
        return len(found)

    @contextlib.contextmanager
    def _file(self, doing: str) -> Iterator[apsw.Connection]:
        """The connection, opened where it is not; errors of SQLite as StoreError, after which it is closed. `doing` is a verb."""
        try:
            if self._connection is None:
                self._connection = _opened(self._path, self._begin)
            yield self._connection
        except (apsw.Error, OSError) as error:
            self.close()
            raise StoreError(f"cannot {doing} {FILE}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self, doing: str) -> Iterator[apsw.Connection]:
        with self._file(doing) as file:
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
                file.execute("COMMIT")
            except BaseException:
                if file.in_transaction:
                    file.execute("ROLLBACK")
                raise


_pages = msgspec.json.Decoder(list[tuple[int, int, str]])


def _inserted(file: apsw.Connection, events: list[tuple[int, bytes, Event]]) -> int:
    """How many were new."""
    values: list[Any] = []
    for position, line, event in events:
        body = line.decode("utf-8", "replace").encode()  # a field that this program does not know may hold anything
        values += (position, event.id, event.at, event.kind.value, recipient_of(event), body)
    file.execute(SQL["insert"].replace("$rows", ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(events))), values)
    return file.changes()


def _opened(path: Path, begin: int) -> apsw.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(BUSY)
        found = (connection.pragma("application_id"), connection.pragma("user_version"))
        if found == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
            _make(connection, begin)
        elif found != (APPLICATION, VERSION):
            raise StoreError(f"{FILE} is not of this version of Mailwright; it was left as it is")
        connection.execute("PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 64000000")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: apsw.Connection, begin: int) -> None:
    connection.execute("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL")
    with connection:
        connection.execute((files("contacts") / "events.sql").read_text(encoding="utf-8"))
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (begin,))
        connection.execute(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}")
