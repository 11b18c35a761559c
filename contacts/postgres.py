"""The contact database in PostgreSQL: the road of events into it, and what others wrote there.

`publish` takes a batch of the event log and makes it one transaction: events, contact state, suppression, the customer's own statements, a
NOTIFY. It may be called again with the same events, for ever: (time, id) is their key, and what is there already does nothing. Publishers
of all gateways take one advisory lock, so positions become visible in order and a reader of `after` skips none. `changes` gives what
anybody changed in the suppression table; its cursor stays behind the oldest running transaction, so that a slow one is not skipped.

On a bad day (server away, restarted, connection cut in the middle) everything raises StoreError and nothing was done or all of it was,
which the next call finds out. It never blocks mail: it is called by a task of its own, and prepares a batch in slices.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from config.statements import Statement
from contacts.connected import Connected
from contacts.road import Published
from contacts.suppression import Added, Change, Entry, Removed, change_of
from contacts.tables import argument, change_in, clean, entry_row, event_in, record, statements, time_of
from contacts.trouble import ContentError
from mail.event import Event

MOST = 5_000
"""Events in one transaction, rows in one answer."""
SLICE = 100
"""Events that are prepared in one turn of the loop: about a millisecond."""

SQL = statements("publish.sql")
_START = ("0", "")


class PostgresContacts(Connected):
    """One connection to the contact database. Use from one task. `kinds`: stream to `transactional` or `marketing`."""

    def __init__(self, dsn: str, node: str, kinds: Mapping[str, str], statements: Sequence[Statement] = ()) -> None:
        super().__init__(dsn)
        self._node = node
        self.kinds = kinds
        """May be replaced at any time: a reload brings new streams."""
        self._statements = tuple(statements)
        self._months: set[tuple[int, int]] = set()
        self._ahead = _START
        self._same_history = False

    def lost(self) -> None:
        """What was known of the database is not known of the next connection."""
        self._months.clear()
        self._ahead = _START
        self._same_history = False

    async def publish(self, rows: Sequence[tuple[int, bytes]]) -> Published:
        """Put (position, line) rows of this node's log into the database, in their order, in one transaction: the first MOST of them, the
        result says how far. Raises StoreError.

        Where the database refuses the whole for what is in it (a constraint of the customer's that is checked at the commit), it is tried
        in halves; an event that is refused alone goes in without the customer's statements, else it counts as damaged.
        """
        rows = rows[:MOST]
        try:
            return await self._publish(rows)
        except ContentError as refusal:
            if len(rows) == 1:
                return await self._publish_alone(rows, refusal)
        half = len(rows) // 2
        first, second = await self.publish(rows[:half]), await self.publish(rows[half:])
        return Published(second.position, first.new + second.new, first.damaged + second.damaged, first.refused + second.refused)

    async def _publish_alone(self, rows: Sequence[tuple[int, bytes]], refusal: ContentError) -> Published:
        try:
            done = await self._publish(rows, because=refusal)
        except ContentError:
            return Published(rows[0][0], 0, 1, 0)
        return done

    async def _publish(self, rows: Sequence[tuple[int, bytes]], because: ContentError | None = None) -> Published:
        """One transaction. With `because` the customer's statements are not run, and are noted as refused for this reason."""
        incoming, records = await self._prepared(rows)
        damaged = len(rows) - len(incoming)
        if not incoming:
            return Published(rows[-1][0] if rows else 0, 0, damaged, 0)
        async with self.answering() as connection, connection.transaction():
            await connection.execute(SQL["lock"])
            await self._partitions(connection, [event for _, event, _ in incoming])
            await connection.execute(SQL["incoming"])
            await connection.execute(SQL["fill"], *zip(*records, strict=True))
            new = await connection.fetch(SQL["events"])
            refused = await self._consequences(connection, incoming, new, because) if new else 0
            await connection.execute(SQL["node"], self._node, incoming[-1][0])
            if new:
                await connection.execute(SQL["notify"], str(new[-1]["position"]))
        return Published(rows[-1][0], len(new), damaged, refused)

    async def after(self, position: int, limit: int = 1000) -> list[tuple[int, int, bytes]]:
        """Events behind `position`, in order: (position, sequence of its address, line). Raises StoreError."""
        async with self.answering() as connection:
            rows = await connection.fetch(SQL["after"], position, min(limit, MOST))
        return [(row["position"], row["sequence"], row["body"].encode()) for row in rows]

    async def changes(self, cursor: str = "", limit: int = MOST) -> tuple[list[Change], str]:
        """What anybody changed in the suppression table since `cursor` ("": ever), and the cursor behind it. Raises StoreError.

        The cursor stays behind the oldest transaction that runs. What was committed beyond it is given at once all the same, and once more
        when the cursor passes it: one who holds a transaction open for long delays nobody else's entries.
        """
        async with self.answering() as connection:
            behind = await self._of_this_history(connection, _place(cursor))
            rows = await connection.fetch(SQL["changes"], *behind, min(limit, MOST))
            after = (rows[-1]["changed"], rows[-1]["id"]) if rows else behind
            early = []
            if len(rows) < min(limit, MOST):
                early = await connection.fetch(SQL["early"], *max(after, self._ahead, key=_order), min(limit, MOST))
                self._ahead = (early[-1]["changed"], early[-1]["id"]) if early else self._ahead
        found = [change for row in (*rows, *early) if (change := change_in(row)) is not None]
        return found, ":".join(after) if rows or behind == _START else cursor

    async def _of_this_history(self, connection: Any, place: tuple[str, str]) -> tuple[str, str]:
        """`place`, or the start where this database has never come so far: it was restored from a backup, or is another one."""
        if not self._same_history:
            newest = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            if int(place[0]) > int(newest):
                return _START
            self._same_history = True
        return place

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Rows for entries that are no events themselves: those of an import. Known ones stay as they are. Raises StoreError."""
        rows = [entry_row(entry) for entry in entries if entry.address]  # a forgotten person has none, and stays at home
        if rows:
            async with self.answering() as connection:
                await connection.execute(SQL["suppress_many"], *zip(*rows, strict=True))

    # -- a batch

    async def _prepared(self, rows: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, Event, bytes]], list[tuple[Any, ...]]]:
        """The events in `rows` and their records. The loop turns between slices: mail goes on."""
        incoming: list[tuple[int, Event, bytes]] = []
        records: list[tuple[Any, ...]] = []
        for start in range(0, len(rows), SLICE):
            for position, line in rows[start : start + SLICE]:
                event = event_in(line)
                if event is not None:
                    records.append(record(len(incoming), position, event, line, self._node, self.kinds.get(event.stream, "")))
                    incoming.append((position, event, line))
            await asyncio.sleep(0)
        return incoming, records

    async def _partitions(self, connection: Any, events: list[Event]) -> None:
        """A partition for every month that is needed, made beside the first event of it."""
        for month in sorted({(time.year, time.month) for time in (time_of(event.at) for event in events)} - self._months):
            name = f"event_{month[0]:04}_{month[1]:02}"
            if await connection.fetchval("SELECT to_regclass($1)", f"mailwright.{name}") is None:
                start, end = _month(*month), _month(month[0] + month[1] // 12, month[1] % 12 + 1)
                await connection.execute(
                    f"CREATE TABLE mailwright.{name} PARTITION OF mailwright.event FOR VALUES FROM ('{start}') TO ('{end}')"
                )
            self._months.add(month)

    async def _consequences(
        self, connection: Any, incoming: list[tuple[int, Event, bytes]], new: list[Any], because: ContentError | None
    ) -> int:
        """Contact state, suppression and the customer's statements for the new events. How many statements were refused."""
        ordinals = [row["ordinal"] for row in new]
        await connection.execute(SQL["state"], ordinals, [row["sequence"] for row in new])
        await connection.execute(SQL["days"], ordinals)
        refused = 0
        for ordinal in ordinals:
            event = incoming[ordinal][1]
            await self._suppression(connection, event)
            for statement in self._statements:
                if event.kind.value != statement.kind:
                    continue
                if because is None:
                    refused += not await self._run(connection, statement, event)
                else:
                    await _note_refused(connection, statement, event, because.state, str(because))
                    refused += 1
        return refused

    async def _suppression(self, connection: Any, event: Event) -> None:
        match change_of(event):
            case Added(entry):
                await connection.execute(SQL["suppress"], *entry_row(entry))
            case Removed(address, identity, at):
                await connection.execute(SQL["unsuppress"], clean(identity), clean(address), time_of(at))
            case None:
                pass

    async def _run(self, connection: Any, statement: Statement, event: Event) -> bool:
        """One of the customer's statements, in this transaction. One that can never succeed is noted and does not stop the road."""
        try:
            async with connection.transaction():
                await connection.execute(statement.sql, *[argument(event, field) for field in statement.fields])
        except (asyncpg.PostgresError, ValueError) as error:
            state = getattr(error, "sqlstate", None) or "22000"  # a value that does not fit its parameter is found before it is sent
            if state[:2] not in _FOR_EVER:
                raise
            await _note_refused(connection, statement, event, state, str(error))
            return False
        return True


async def _note_refused(connection: Any, statement: Statement, event: Event, state: str, why: str) -> None:
    await connection.execute(SQL["refused"], clean(event.id), statement.kind, state, why[:1000])


_FOR_EVER = frozenset({"22", "23", "42", "P0", "21", "0A", "44"})
"""Classes of SQLSTATE that a second try does not heal: data, constraints, syntax and names, RAISE in a function."""


def _place(cursor: str) -> tuple[str, str]:
    """Transaction and entry of a cursor."""
    transaction, _, identity = (cursor or "0:").partition(":")
    return transaction, identity


def _order(place: tuple[str, str]) -> tuple[int, str]:
    return int(place[0]), place[1]


def _month(year: int, month: int) -> str:
    return f"{year:04}-{month:02}-01 00:00:00+00"
