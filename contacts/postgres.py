"""The contact database in PostgreSQL: our schema, kept up to date, and the road of events into it.

`publish` takes a batch of the event log and makes it one transaction: events, contact state, suppression, the customer's own statements, a
NOTIFY. It may be called again with the same events, for ever: (time, id) is their key, and what is there already does nothing. Publishers
of all gateways take one advisory lock, so positions become visible in order and a reader of `after` skips none. `changes` gives what
anybody changed in the suppression table, behind the oldest running transaction, so that a slow one is not skipped either.

On a bad day (server away, restarted, connection cut in the middle) everything raises StoreError and nothing was done or all of it was,
which the next call finds out. It never blocks mail: it is called by a task of its own. The address of the database, which holds a
password, is in no message.
"""

import contextlib
import datetime
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import resources
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec

from contacts.address import normalise, subject_of
from contacts.statements import Statement
from contacts.suppression import MAX_WORD, Added, Change, Removed, change_of
from contacts.trouble import StoreError
from mail.event import Event, EventKind, unseal

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 60.0
"""Seconds for a connection, and for one statement."""
MOST = 5_000
"""Events in one transaction, rows in one answer."""

_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_pieces = _NAME.split(resources.files("contacts").joinpath("sql/publish.sql").read_text("utf-8"))[1:]
SQL = dict(zip(_pieces[::2], _pieces[1::2], strict=True))
_ENDED_SOFT = frozenset({EventKind.EXPIRED, EventKind.BOUNCED})
_MIGRATING = 5571299814
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0
"""2000 to 2100: a partition is made for every month that comes, so nonsense must not come."""


class Published(msgspec.Struct, frozen=True):
    """What a batch did: the position that is in the database now, events that were new, lines that are no events (skipped; report them),
    statements of the customer's that were refused for ever (noted in mailwright.refused_statement)."""

    position: int
    new: int
    damaged: int
    refused: int


class PostgresContacts:
    """One connection to the contact database. Use from one task. `kinds`: stream to `transactional` or `marketing`."""

    def __init__(self, dsn: str, node: str, kinds: Mapping[str, str], statements: Sequence[Statement] = ()) -> None:
        self._dsn = dsn
        self._node = node
        self._kinds = dict(kinds)
        self._statements = tuple(statements)
        self._connection: Any = None
        self._months: set[tuple[int, int]] = set()

    async def migrate(self) -> list[int]:
        """Bring the schema up to date; the numbers of the migrations that were needed. Each is whole or nothing. Raises StoreError."""
        done: list[int] = []
        async with self._answering() as connection, connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            await connection.execute("CREATE SCHEMA IF NOT EXISTS mailwright")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS mailwright.migration (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
            )
            known = {row["number"] for row in await connection.fetch("SELECT number FROM mailwright.migration")}
            for number, text in migrations():
                if number not in known:
                    await connection.execute(text)
                    await connection.execute("INSERT INTO mailwright.migration (number) VALUES ($1)", number)
                    done.append(number)
        return done

    async def publish(self, rows: Sequence[tuple[int, bytes]]) -> Published:
        """Put (position, line) rows of this node's log into the database, in their order, in one transaction: the first MOST of them, the
        result says how far. Raises StoreError."""
        rows = rows[:MOST]
        incoming, damaged = self._incoming(rows)
        if not incoming:
            return Published(rows[-1][0] if rows else 0, 0, damaged, 0)
        async with self._answering() as connection, connection.transaction():
            await connection.execute(SQL["lock"])
            await self._partitions(connection, [event for _, event, _ in incoming])
            await connection.execute(SQL["incoming"])
            await connection.execute(SQL["fill"], *zip(*self._records(incoming), strict=True))
            new = await connection.fetch(SQL["events"])
            refused = await self._consequences(connection, incoming, new) if new else 0
            await connection.execute(SQL["node"], self._node, incoming[-1][0])
            if new:
                await connection.execute(SQL["notify"], str(new[-1]["position"]))
        return Published(rows[-1][0], len(new), damaged, refused)

    async def after(self, position: int, limit: int = 1000) -> list[tuple[int, int, bytes]]:
        """Events behind `position`, in order: (position, sequence of its address, line). Raises StoreError."""
        async with self._answering() as connection:
            rows = await connection.fetch(SQL["after"], position, min(limit, MOST))
        return [(row["position"], row["sequence"], row["body"].encode()) for row in rows]

    async def changes(self, cursor: str = "", limit: int = MOST) -> tuple[list[Change], str]:
        """What anybody changed in the suppression table since `cursor` ("": ever), and the cursor behind it. Raises StoreError."""
        transaction, _, identity = (cursor or "0:").partition(":")
        async with self._answering() as connection:
            rows = await connection.fetch(SQL["changes"], transaction, identity, min(limit, MOST))
        found = [change for row in rows if (change := _change(row)) is not None]
        return found, f"{rows[-1]['changed']}:{rows[-1]['id']}" if rows else cursor

    async def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    # -- a batch

    def _incoming(self, rows: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, Event, bytes]], int]:
        incoming: list[tuple[int, Event, bytes]] = []
        damaged = 0
        for position, line in rows:
            try:
                event = unseal(line)
            except msgspec.DecodeError:
                damaged += 1
                continue
            if _EARLIEST <= event.at < _LATEST and 0 < len(event.id) <= MAX_WORD:
                incoming.append((position, event, line))
            else:
                damaged += 1
        return incoming, damaged

    def _records(self, incoming: list[tuple[int, Event, bytes]]) -> list[tuple[Any, ...]]:
        return [
            (
                ordinal,
                _time(event.at),
                _clean(event.id),
                _clean(event.node or self._node),
                position,
                event.kind.value,
                _clean(_recipient(event)),
                _clean(event.account),
                _clean(event.stream),
                self._kinds.get(event.stream, ""),
                _clean(event.campaign),
                _clean(event.message_id),
                event.category,
                event.fault,
                _NUL.sub(rb"\1\\ufffd", line).decode("utf-8"),
                event.kind in _ENDED_SOFT and event.fault == "recipient" and not event.hard,
            )
            for ordinal, (position, event, line) in enumerate(incoming)
        ]

    async def _partitions(self, connection: Any, events: list[Event]) -> None:
        """A partition for every month that is needed, made beside the first event of it."""
        for month in sorted({(time.year, time.month) for time in (_time(event.at) for event in events)} - self._months):
            name = f"event_{month[0]:04}_{month[1]:02}"
            if await connection.fetchval("SELECT to_regclass($1)", f"mailwright.{name}") is None:
                start, end = _month(*month), _month(month[0] + month[1] // 12, month[1] % 12 + 1)
                await connection.execute(
                    f"CREATE TABLE mailwright.{name} PARTITION OF mailwright.event FOR VALUES FROM ('{start}') TO ('{end}')"
                )
            self._months.add(month)

    async def _consequences(self, connection: Any, incoming: list[tuple[int, Event, bytes]], new: list[Any]) -> int:
        """Contact state, suppression and the customer's statements for the new events. How many statements were refused."""
        ordinals = [row["ordinal"] for row in new]
        await connection.execute(SQL["state"], ordinals, [row["sequence"] for row in new])
        await connection.execute(SQL["days"], ordinals)
        refused = 0
        for ordinal in ordinals:
            event = incoming[ordinal][1]
            await self._suppression(connection, event)
            for statement in self._statements:
                if event.kind.value == statement.kind:
                    refused += not await self._run(connection, statement, event)
        return refused

    async def _suppression(self, connection: Any, event: Event) -> None:
        match change_of(event):
            case Added(entry):
                texts = (entry.account, entry.stream, entry.list, entry.origin, entry.evidence)
                await connection.execute(
                    SQL["suppress"],
                    _clean(entry.id),
                    _clean(entry.address),
                    entry.reason.value,
                    entry.scope.value,
                    *map(_clean, texts),
                    _time(entry.created),
                    _time(entry.expires) if entry.expires else None,
                    entry.code,
                    *map(_clean, (entry.enhanced, entry.diagnostic, entry.campaign, entry.message_id, entry.batch)),
                )
            case Removed(address, identity, at):
                await connection.execute(SQL["unsuppress"], _clean(identity), _clean(address), _time(at))
            case None:
                pass

    async def _run(self, connection: Any, statement: Statement, event: Event) -> bool:
        """One of the customer's statements, in this transaction. One that can never succeed is noted and does not stop the road."""
        try:
            async with connection.transaction():
                await connection.execute(statement.sql, *[_argument(event, field) for field in statement.fields])
        except (asyncpg.PostgresError, ValueError) as error:
            state = getattr(error, "sqlstate", None) or "22000"  # a value that does not fit its parameter is found before it is sent
            if state[:2] not in _FOR_EVER:
                raise
            await connection.execute(
                "INSERT INTO mailwright.refused_statement (event, kind, sqlstate, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                _clean(event.id),
                statement.kind,
                state,
                str(error)[:1000],
            )
            return False
        return True

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[Any]:
        """The connection, made anew after trouble. Every way in which it can fail is a StoreError, and gives the connection up."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._dsn, timeout=CONNECT_WITHIN, command_timeout=ANSWER_WITHIN)
            yield self._connection
        except _TROUBLE as error:
            self._months.clear()
            await self.close()
            raise StoreError(f"contact database: {type(error).__name__}: {_without(self._dsn, str(error))}") from error
        except BaseException:
            await self.close()  # cancelled in the middle: nobody knows what the connection was about to say
            raise


_TROUBLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a connection breaks between two of its steps
    OSError,
    TimeoutError,
    ValueError,
)
_FOR_EVER = frozenset({"22", "23", "42", "P0", "21", "0A", "44"})
"""Classes of SQLSTATE that a second try does not heal: data, constraints, syntax and names, RAISE in a function."""


def migrations() -> list[tuple[int, str]]:
    """Number and text of every migration, in order."""
    folder = resources.files("contacts").joinpath("sql")
    names = sorted(file.name for file in folder.iterdir() if re.fullmatch(r"\d{4}_[a-z_]+\.sql", file.name))
    return [(int(name[:4]), folder.joinpath(name).read_text("utf-8")) for name in names]


def _month(year: int, month: int) -> str:
    return f"{year:04}-{month:02}-01 00:00:00+00"


def _time(at: float) -> datetime.datetime:
    """Always the same for the same number: it is part of the key. Raises ValueError or OverflowError."""
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=round(at * 1_000_000))


def _clean(text: str) -> str:
    """PostgreSQL has no place for NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _recipient(event: Event) -> str:
    return normalise(event.recipient) or event.recipient.lower()[:320]


def _argument(event: Event, field: str) -> Any:
    if field == "recipient":
        return _clean(_recipient(event))
    value = getattr(event, field)
    return _time(value) if field in ("at", "expires") else _clean(value) if isinstance(value, str) else value


def _change(row: Any) -> Change | None:
    """A row that anybody may have written; None when its address is none."""
    if row["removed"] is not None:
        address = subject_of(row["address"])
        return Removed(address, row["id"], row["removed"]) if address else None
    return change_of(
        Event(
            id=row["id"],
            entry=row["id"],
            kind=EventKind.SUPPRESSION_ADDED,
            at=row["created"],
            recipient=row["address"],
            reason=row["reason"],
            **{name: row[name] for name in _SAME_NAMES},
        )
    )


_SAME_NAMES = [
    "scope",
    "account",
    "stream",
    "list",
    "origin",
    "evidence",
    "expires",
    "code",
    "enhanced",
    "diagnostic",
    "campaign",
    "message_id",
    "batch",
]


def _without(secret: str, text: str) -> str:
    """`text` without the address of the database, which may hold a password."""
    return text.replace(secret, "…")[:500]
