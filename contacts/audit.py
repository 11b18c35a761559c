"""Whether three things agree: the replica of the suppression list (`contacts.db`), the suppression table of the contact database, and the
event log there. What differs is counted, and on demand mended, each time so that nobody is written to who asked not to be, and that what
somebody removed stays removed.

Pages both ways, in constant memory, beside everything else; so what changes meanwhile may be counted though it is no drift, and mending it
changes nothing. It never touches mail. Raises StoreError where either side cannot be read; what was mended until then is mended.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from contacts.database import translated
from contacts.listing import opened_beside
from contacts.postgres import SQL as PUBLISH
from contacts.postgres import PostgresContacts
from contacts.rows import COLUMNS, entry_of
from contacts.store import SuppressionStore
from contacts.suppression import Added, Change, Entry, Removed, change_of
from contacts.tables import change_in, clean, entry_row, event_in, statements, time_of

T = TypeVar("T")

PAGE = 2_000
WINDOW = 20_000
"""Positions of the event log that are looked at in one statement."""
SHOWN = 5
"""Ids that a finding names."""
SQL = statements("audit.sql")

_PAGE = (
    f"SELECT key, {COLUMNS} FROM suppression WHERE (key, id) > (?, ?)"
    f" AND (batch = 0 OR batch IN (SELECT number FROM batch WHERE whole = 1)) ORDER BY key, id LIMIT {PAGE}"
)
_OF_BATCH = (
    f"SELECT key, {COLUMNS} FROM suppression WHERE (key, id) > (?, ?)"
    f" AND batch = (SELECT number FROM batch WHERE id = ? AND whole = 1) ORDER BY key, id LIMIT {PAGE}"
)


class Finding(msgspec.Struct):
    """One kind of difference: how many, and some of their ids."""

    what: str
    count: int = 0
    ids: list[str] = []

    def add(self, ids: list[str]) -> None:
        """So many more."""
        self.count += len(ids)
        self.ids = (self.ids + ids)[:SHOWN]


class Audit(msgspec.Struct):
    """What was looked at, and what differs. `events_missing`: events of this node, already sent, that the database does not have."""

    rows: int = 0
    entries: int = 0
    events: int = 0
    events_missing: int = 0
    mended: int = 0
    not_here: Finding = msgspec.field(default_factory=lambda: Finding("in the suppression table, not in the replica"))
    still_here: Finding = msgspec.field(default_factory=lambda: Finding("removed in the table, still in the replica"))
    not_there: Finding = msgspec.field(default_factory=lambda: Finding("in the replica, not in the table"))
    still_there: Finding = msgspec.field(default_factory=lambda: Finding("removed in the replica, not in the table"))
    not_shown: Finding = msgspec.field(default_factory=lambda: Finding("in the event log, not shown by the table"))

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [self.not_here, self.still_here, self.not_there, self.still_there, self.not_shown]


class Auditor:
    """One audit. `node`, `sent` and `since` say which events the database should have: those of this node's log up to this position that
    are younger than this time (Unix seconds); older ones may have gone by retention."""

    def __init__(
        self, database: PostgresContacts, store: SuppressionStore, node: str, sent: int, since: float = 0.0, *, mend: bool
    ) -> None:
        self._database, self._store = database, store
        self._node, self._sent, self._since, self._mend = node, sent, since, mend
        self._found = Audit()

    async def run(self) -> Audit:
        """Look at everything. The event log first: what it mends in the table is then compared with the replica."""
        await self._events()
        await self._table()
        await self._replica()
        return self._found

    # The event log and the table.

    async def _events(self) -> None:
        since = time_of(self._since)
        async with self._database.answering() as connection:
            newest = await connection.fetchval(SQL["newest"])
            first = await connection.fetchval(SQL["first"], self._node, since)
        for start in range(0, newest, WINDOW):
            async with self._database.answering() as connection:
                self._found.events += await connection.fetchval(SQL["events"], start, start + WINDOW, self._node, first, since)
                forgotten = await connection.fetch(SQL["forgotten"], start, start + WINDOW)
            await self._show([row["body"].encode() for row in forgotten])
        if not newest and self._sent:
            self._found.events_missing = self._sent  # an empty database, and we have sent events to it
        elif first:
            self._found.events_missing = max(0, self._sent - first + 1 - self._found.events)

    async def _show(self, lines: list[bytes]) -> None:
        """Additions and removals of the log that the table does not show."""
        changes = [change for line in lines if (event := event_in(line)) is not None and (change := change_of(event)) is not None]
        self._found.not_shown.add([_identity(change) for change in changes])
        if self._mend and changes:
            async with self._database.answering() as connection, connection.transaction():
                for change in changes:
                    await _carry_out(connection, change)
            self._found.mended += len(changes)

    # The table and the replica.

    async def _table(self) -> None:
        after = ""
        while True:
            async with self._database.answering() as connection:
                rows = await connection.fetch(SQL["rows"], after, PAGE)
            if not rows:
                return
            after = rows[-1]["id"]
            self._found.rows += len(rows)
            changes = [change for row in rows if (change := change_in(row)) is not None]
            pending, removed = self._store.overlay()
            here, gone = await _in_thread(functools.partial(self._standing, changes))
            here |= {entry.id for entry in pending}
            gone |= removed
            await self._compare(changes, here, gone)

    async def _compare(self, changes: list[Change], here: set[str], gone: set[str]) -> None:
        news: list[Change] = []
        back: list[str] = []
        for change in changes:
            identity = _identity(change)
            match change:
                case Added() if identity in gone:
                    back.append(identity)
                case Added() if identity not in here:
                    news.append(change)
                case Removed() if identity in here:
                    news.append(change)
                case _:
                    pass
        self._found.not_here.add([_identity(change) for change in news if isinstance(change, Added)])
        self._found.still_here.add([_identity(change) for change in news if isinstance(change, Removed)])
        self._found.still_there.add(back)
        if self._mend and news:
            await _in_thread(lambda: self._store.replicate(news, self._store.replica_cursor))
        if self._mend and back:
            async with self._database.answering() as connection:
                await connection.execute(SQL["remove"], back)
        self._found.mended += (len(news) + len(back)) if self._mend else 0

    def _standing(self, changes: list[Change]) -> tuple[set[str], set[str]]:
        """Ids of these that the replica has, and that it knows to be removed: in the file."""
        here: set[str] = set()
        removed: set[str] = set()
        with opened_beside(self._store) as connection, translated("read"):
            for change in changes:
                address = change.entry.address if isinstance(change, Added) else change.address
                where = (self._store.keys.of(address), _identity(change))
                if connection.execute("SELECT 1 FROM suppression WHERE key = ? AND id = ?", where).fetchall():
                    here.add(where[1])
                if connection.execute("SELECT 1 FROM removed WHERE id = ?", where[1:]).fetchall():
                    removed.add(where[1])
        return here, removed

    async def _replica(self) -> None:
        place: tuple[bytes, str] = (b"", "")
        while True:
            rows = await _in_thread(functools.partial(self._page, place))
            if not rows:
                return
            place = rows[-1][0], rows[-1][1].id
            self._found.entries += len(rows)
            entries = {entry.id: entry for _, entry in rows if entry.address}
            async with self._database.answering() as connection:
                unknown = [row["id"] for row in await connection.fetch(SQL["unknown"], [clean(identity) for identity in entries])]
            self._found.not_there.add(unknown)
            if self._mend and unknown:
                await self._database.add_entries([entries[identity] for identity in unknown if identity in entries])
                self._found.mended += len(unknown)

    def _page(self, place: tuple[bytes, str]) -> list[tuple[bytes, Entry]]:
        with opened_beside(self._store) as connection, translated("read"):
            rows: list[Any] = connection.execute(_PAGE, place).fetchall()
        return [(row[0], entry_of(row[1:])) for row in rows]


async def carry_batch(database: PostgresContacts, store: SuppressionStore, batch: str) -> None:
    """The entries of one import into the table. They are no events, so nothing else brings them there. Raises StoreError."""
    place: tuple[bytes, str] = (b"", "")
    while rows := await _in_thread(functools.partial(_batch_page, store, batch, place)):
        place = rows[-1][0], rows[-1][1].id
        await database.add_entries([entry for _, entry in rows])


def _batch_page(store: SuppressionStore, batch: str, place: tuple[bytes, str]) -> list[tuple[bytes, Entry]]:
    with opened_beside(store) as connection, translated("read"):
        rows: list[Any] = connection.execute(_OF_BATCH, (*place, batch)).fetchall()
    return [(row[0], entry_of(row[1:], batch)) for row in rows]


async def republish(database: PostgresContacts, pages: Callable[[], list[bytes] | None]) -> int:
    """Put events from a file into the database again; those that are there change nothing. How many were new. `pages` blocks, and is called
    in a thread; None ends. Their place in the node's log is not known from a file: it is 0."""
    new = 0
    while (lines := await _in_thread(pages)) is not None:
        new += (await database.publish([(0, line) for line in lines])).new
    return new


def _identity(change: Change) -> str:
    return change.entry.id if isinstance(change, Added) else change.entry


async def _carry_out(connection: Any, change: Change) -> None:
    match change:
        case Added(entry):
            await connection.execute(PUBLISH["suppress"], *entry_row(entry))
        case Removed(address, identity, at):
            await connection.execute(PUBLISH["unsuppress"], clean(identity), clean(address), time_of(at))


async def _in_thread(act: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, act)
