"""The suppression view on disk: `contacts.db` in the data folder, one SQLite file in WAL mode, read through SQLite and not held in memory.

Two threads use it. The loop thread looks up (`reason`) and applies events at once (`apply`), to a small overlay in memory. One other
thread carries the event log to disk (`catch_up`): entries and the position reached in the same transaction, on disk (fsync) when it
returns. What has arrived there leaves the overlay. So `position` is safe to trim the log by, and after a crash the log behind it is
applied again, which changes nothing twice.

Promises: a lookup touches one place of the file, and none while the list is empty; memory is bounded by the page cache (`CACHE`) and by
`MAX_PENDING` pending entries, beyond which `apply` writes through and waits for the disk. Raises StoreError where the file cannot be read
or written: a lookup that cannot be made is an error, never "not suppressed". It does not publish and does not decide.
"""

import contextlib
import itertools
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from contacts.address import normal_form
from contacts.database import opened, transaction, translated
from contacts.filter import IDENTITY, opened_filter
from contacts.key import AddressKeys, load_secret
from contacts.rows import COLUMNS, entry_of, row_of
from contacts.suppression import MAX_ENTRIES, Added, Change, Entry, Removed, Rules, change_of
from contacts.trouble import StoreError
from mail.address import Address
from mail.event import Event, unseal

MAX_PENDING = 65_536
SLICE = 5_000
"""Events in one transaction of `catch_up`, rows in one of a sweep."""
_MARK = b'"suppression_'
"""Only lines with it are decoded: most events are not about suppression."""

WHOLE = "(batch = 0 OR EXISTS (SELECT 1 FROM batch b WHERE b.number = suppression.batch AND b.whole = 1))"
"""Entries of an import count when all of it is there."""
EMPTY_FOR = 1.0
_LOOKUP = f"SELECT {COLUMNS} FROM suppression WHERE key = ? AND {WHOLE} LIMIT {MAX_ENTRIES}"
_ADD_UNLESS_REMOVED = (
    f"INSERT INTO suppression (key, {COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12"
    " WHERE NOT EXISTS (SELECT 1 FROM removed WHERE id = ?2) ON CONFLICT DO NOTHING"
)
_KEYS = f"SELECT DISTINCT key FROM suppression WHERE key > ? ORDER BY key LIMIT {SLICE}"
_REACHED = "INSERT INTO reached (log, position) VALUES (?, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
_CURSOR = "INSERT INTO note (name, value) VALUES ('replica', ?) ON CONFLICT DO UPDATE SET value = excluded.value"


class CaughtUp(msgspec.Struct, frozen=True):
    """What `catch_up` did: position on disk now, events that changed the view, lines that are no events (skipped; report them)."""

    position: int
    changed: int
    damaged: int


class SuppressionStore:
    """The view. `clock` gives Unix seconds; `vfs` names SQLite's file layer, for tests."""

    def __init__(self, folder: Path, rules: Rules, clock: Callable[[], float], vfs: str | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.rules = rules
        self._clock = clock
        self._writing = threading.Lock()
        path = folder / "contacts.db"
        known = path.exists() and path.stat().st_size > 0
        self.keys = AddressKeys(load_secret(folder / "contacts.key", create=not known))
        self._writer = opened(path, vfs, check=self.keys.check_value())
        self._reader = opened(path, vfs, reads_only=True)
        self._reached: dict[str, int] = dict(self.rows("SELECT log, position FROM reached"))
        self._overlay: dict[bytes, dict[str, Entry | None]] = {}
        self._pending = 0
        # What is lost when nobody looks up for long is a place in memory, bounded by MAX_PENDING.
        self._arrived: deque[tuple[bytes, str, bool]] = deque(maxlen=4 * MAX_PENDING)
        self._empty = True
        self._look_again = 0.0
        self.filter = opened_filter(folder)
        if self.filter is not None and not self.filter.believe(self._mark()) and not known:
            self.build_filter()

    # -- looking up: loop thread

    def reason(self, account: str, stream: str, recipient: Address, name: str = "") -> str | None:
        """Why mail of this account and stream (and list `name`) must not go to `recipient`, or None. Raises StoreError."""
        if self._arrived:
            self._forget_arrived()
        if self._empty and not self._overlay and self._still_empty():
            return None
        key = self.keys.of(normal_form(recipient))
        known = self.filter
        if known is not None and known.believed and key not in self._overlay and known.surely_absent(key):
            return None
        found = self._find(key)
        return self.rules.reason(found, account, stream, name, self._clock()) if found else None

    def reason_everywhere(self, account: str, recipient: Address) -> str | None:
        """Why no mail of this account may go to `recipient`, whatever its stream, or None. Raises StoreError."""
        self._forget_arrived()
        if self._empty and not self._overlay and self._still_empty():
            return None
        found = self._find(self.keys.of(normal_form(recipient)))
        return self.rules.reason_everywhere(found, account, self._clock()) if found else None

    def entries(self, recipient: Address) -> list[Entry]:
        """Every entry of `recipient` with its evidence, expired ones too, oldest first."""
        return self.entries_of(normal_form(recipient))

    def entries_of(self, subject: str) -> list[Entry]:
        """`entries` of an address in normal form or a hash (`contacts.address.subject_of`)."""
        self._forget_arrived()
        found = self._find(self.keys.of(subject), whole=True)
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def apply(self, event: Event) -> list[Change]:
        """Take an event in at once, before it is on this disk. Returns what changed; nothing for what was known already."""
        self._forget_arrived()
        change = change_of(event)
        if change is None:
            return []
        pending: Entry | None = None
        match change:
            case Added(pending):
                key, identity = self.keys.of(pending.address), pending.id
            case Removed(address, identity):
                key = self.keys.of(address)
        if self._knows(key, identity, pending):
            return []
        if self._pending >= MAX_PENDING:
            self._write([change], None, 0)
        else:
            mine = self._overlay.setdefault(key, {})
            self._pending += identity not in mine
            mine[identity] = pending
        return [change]

    @property
    def pending(self) -> int:
        """Entries in memory that are not yet in the file; its bound is MAX_PENDING."""
        return self._pending

    def overlay(self) -> tuple[list[Entry], set[str]]:
        """What is in memory and not yet in the file: entries, and the ids of removed ones."""
        self._forget_arrived()
        pending = [(identity, entry) for mine in self._overlay.values() for identity, entry in mine.items()]
        return [entry for _, entry in pending if entry is not None], {identity for identity, entry in pending if entry is None}

    def _knows(self, key: bytes, identity: str, entry: Entry | None) -> bool:
        """Whether this addition (or removal: None) is old news: an addition is, too, when its entry was removed."""
        mine = self._overlay.get(key, {})
        if identity in mine and (entry is not None or mine[identity] is None):
            return True
        if self.rows("SELECT 1 FROM removed WHERE id = ?", (identity,)):
            return True
        return entry is not None and bool(self.rows("SELECT 1 FROM suppression WHERE key = ? AND id = ?", (key, identity)))

    def _find(self, key: bytes, *, whole: bool = False) -> list[Entry]:
        pending = self._overlay.get(key) if self._overlay else None
        try:
            rows: list[Any] = self._reader.execute(_LOOKUP, (key,)).fetchall()
        except apsw.Error as error:
            raise StoreError(f"cannot read contacts.db: {error}") from error
        if not rows and not pending:
            return []
        found = {row[0]: entry_of(row, self._batch_id(row[10]) if whole else "") for row in rows}
        for identity, entry in (pending or {}).items():
            if entry is None:
                found.pop(identity, None)
            else:
                found[identity] = entry
        return list(found.values())

    def _forget_arrived(self) -> None:
        """What is in the file is no longer needed in memory. A removal that is pending is not ended by the addition before it."""
        if self._arrived:
            self._empty = False  # only here, on the loop thread: a look into the file that was too early must not win
        while self._arrived:
            key, identity, removal = self._arrived.popleft()
            mine = self._overlay.get(key)
            if mine is None or identity not in mine or (mine[identity] is None) != removal:
                continue
            del mine[identity]
            self._pending -= 1
            if not mine:
                del self._overlay[key]

    def _still_empty(self) -> bool:
        """An empty list is looked at once a second: another process may have imported one."""
        now = self._clock()
        if not self._look_again - EMPTY_FOR <= now < self._look_again:
            self._look_again = now + EMPTY_FOR
            self._empty = not self.rows("SELECT 1 FROM suppression LIMIT 1")
        return self._empty

    def _batch_id(self, number: int) -> str:
        found = self.rows("SELECT id FROM batch WHERE number = ?", (number,)) if number else []
        return str(found[0][0]) if found else ""

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Look something up; loop thread. Raises StoreError."""
        with translated("read"):
            return self._reader.execute(sql, values).fetchall()

    # -- the filter

    def _mark(self) -> bytes:
        rows = self.rows("SELECT value FROM note WHERE name = 'filter'")
        return bytes(rows[0][0]) if rows else b""

    def look_at_filter(self) -> None:
        """Another process has imported: if the filter's file was taken away, its bits are not here, and the filter is no more."""
        if self.filter is not None and not self.filter.still_there(self.folder):
            self.filter.believed = False
            self.filter = None

    def build_filter(self) -> bool:
        """Read every key into the filter, if it is not believed yet; from a thread, it may take half a minute. Whether it is believed."""
        if self.filter is None or self.filter.believed:
            return self.filter is not None
        mark, place = secrets.token_bytes(IDENTITY), b""
        connection = opened(self.folder / "contacts.db", reads_only=True)
        try:
            while True:
                with translated("read"):
                    rows: list[Any] = connection.execute(_KEYS, (place,)).fetchall()
                if not rows:
                    break
                self.filter.add(row[0] for row in rows)
                place = rows[-1][0]
        finally:
            connection.close()
        with self.writing() as writer:
            writer.execute("INSERT INTO note VALUES ('filter', ?) ON CONFLICT DO UPDATE SET value = excluded.value", (mark,))
        self.filter.built(mark)
        return True

    # -- writing: one thread at a time

    def catch_up(self, rows: Iterable[tuple[int, bytes]], log: str = "node") -> CaughtUp:
        """Apply (position, line) rows of event log `log`, ascending, to the file. On disk when it returns. Raises StoreError: nothing of
        the slice at hand was done, call again with the same rows."""
        reached, changed, damaged = self.position(log), 0, 0
        source: Iterator[tuple[int, bytes]] = iter(rows)
        while page := list(itertools.islice(source, SLICE)):
            changes: list[Change] = []
            for position, line in page:
                if position <= reached or _MARK not in line:
                    continue
                try:
                    change = change_of(unseal(line))
                except msgspec.DecodeError:
                    damaged += 1
                    continue
                if change is not None:
                    changes.append(change)
            last = max(reached, page[-1][0])
            if last > reached:
                changed += self._write(changes, log, last)
                reached = last
        return CaughtUp(reached, changed, damaged)

    def position(self, log: str = "node") -> int:
        """How far `log` is applied, on disk. Cheap, from any thread."""
        return self._reached.get(log, 0)

    def reconcile(self, last: int, log: str = "node") -> bool:
        """Told that `log` ends at `last` now: True when we were beyond it, so it is another log than the one we followed, and is read
        again from its start."""
        if self.position(log) <= last:
            return False
        with self._writing, transaction(self._writer) as writer:
            writer.execute("DELETE FROM reached WHERE log = ?", (log,))
        self._reached.pop(log, None)
        return True

    def replicate(self, changes: list[Change], cursor: str) -> int:
        """Take in what others changed in the contact database, with the cursor behind it, in one transaction. How many were news."""
        return self._write(changes, None, 0, cursor)

    @property
    def replica_cursor(self) -> str:
        """The cursor behind what `replicate` took in last; "" at the start. From the thread that replicates."""
        with self._writing, translated("read"):
            rows: list[Any] = self._writer.execute("SELECT value FROM note WHERE name = 'replica'").fetchall()
        return bytes(rows[0][0]).decode() if rows else ""

    def _write(self, changes: list[Change], log: str | None, position: int, cursor: str | None = None) -> int:
        """Changes and position in one transaction. How many of the changes were news."""
        keyed = [(self.keys.of(change.entry.address if isinstance(change, Added) else change.address), change) for change in changes]
        if self.filter is not None:
            self.filter.add(key for key, change in keyed if isinstance(change, Added))
        with self._writing, transaction(self._writer) as writer:
            news = sum(self._carry_out(writer, key, change) for key, change in keyed)
            if log is not None:
                writer.execute(_REACHED, (log, position))
            if cursor is not None:
                writer.execute(_CURSOR, (cursor.encode(),))
        if log is not None:
            self._reached[log] = position
        self._arrived.extend((key, *_token(change)) for key, change in keyed)
        return news

    @staticmethod
    def _carry_out(writer: apsw.Connection, key: bytes, change: Change) -> bool:
        """Whether it was news."""
        match change:
            case Added(entry):
                writer.execute(_ADD_UNLESS_REMOVED, row_of(entry, key))
                return writer.changes() > 0
            case Removed(_, identity, at):
                writer.execute("INSERT INTO removed (id, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (identity, at))
                news = writer.changes() > 0
                writer.execute("DELETE FROM suppression WHERE key = ? AND id = ?", (key, identity))
                return news

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One durable transaction; from the thread that writes. Raises StoreError."""
        with self._writing, transaction(self._writer) as writer:
            yield writer

    def close(self) -> None:
        """Close the file. What was not caught up is in the event log still."""
        with self._writing, translated("close"):
            self._reader.close()
            self._writer.close()
            if self.filter is not None:
                self.filter.close()


def _token(change: Change) -> tuple[str, bool]:
    """Entry, and whether it is its removal: what tells the overlay that it is not needed any more."""
    return (change.entry.id, False) if isinstance(change, Added) else (change.entry, True)
