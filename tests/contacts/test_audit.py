"""Drift between replica, suppression table and event log is found, whatever its direction, and mended once."""

import asyncio

import pytest

from contacts.audit import Auditor, carry_batch, republish
from contacts.exchange import import_lines
from contacts.formats.record import Record
from contacts.store import SuppressionStore
from contacts.suppression import Reason
from mail.event import seal
from tests.contacts.material import NOW, Clock, addition, address, removal, rules
from tests.contacts.test_postgres import contacts, database, event, plain, postgres, rows  # noqa: F401


@pytest.fixture
def store(tmp_path):
    made = SuppressionStore(tmp_path, rules(), Clock())
    yield made
    made.close()


async def audit(road, store, sent=0, *, mend=False):
    found = await Auditor(road, store, "n1", sent, mend=mend).run()
    return {one.what.split(",")[0]: one.count for one in found.findings if one.count}, found


def test_sides_that_agree_have_no_findings(database, store):  # noqa: F811
    async def run():
        async with contacts(database) as road:
            batch = rows(addition("a"), addition("b", "joe@example.org"), removal("r", "a"), event(4))
            await road.publish(batch)
            store.catch_up(batch)
            differs, found = await audit(road, store, 4)
            assert differs == {}
            assert (found.rows, found.entries, found.events, found.events_missing) == (2, 1, 4, 0)

    asyncio.run(run())


def test_each_way_of_differing_is_found_and_mended(database, store):  # noqa: F811
    async def run():
        async with contacts(database) as road, plain(database) as person:
            both = rows(*(addition(name, f"{name}@example.org") for name in ("a", "b", "c", "d", "e")))
            await road.publish(both)
            store.catch_up(both)
            # In the table only; removed there; in the replica only; removed here; in the event log only.
            await person.execute("INSERT INTO mailwright.suppression (id, address) VALUES ('new', 'new@example.org')")
            await person.execute("UPDATE mailwright.suppression SET removed = now() WHERE id = 'a'")
            store.catch_up([(6, seal(addition("mine", "mine@example.org"))), (7, seal(removal("r", "b", "b@example.org")))])
            await person.execute("DELETE FROM mailwright.suppression WHERE id IN ('c', 'd')")
            store.catch_up([(8, seal(removal("r2", "d", "d@example.org")))])
            differs, _ = await audit(road, store)
            assert differs == {
                "in the suppression table": 1,
                "removed in the table": 1,
                "in the replica": 2,
                "removed in the replica": 1,
                "in the event log": 2,
            }
            _, found = await audit(road, store, mend=True)
            assert found.mended >= 6
            differs, _ = await audit(road, store)
            assert differs == {}
            live = {row["id"] for row in await person.fetch("SELECT id FROM mailwright.suppressed")}
            assert live == {"new", "c", "e", "mine"}, "additions are a union, removals stay"
            assert store.reason("shop", "news", address("new@example.org")) == "manual"
            assert store.reason("shop", "news", address("a@example.org")) is None
            assert store.reason("shop", "news", address("d@example.org")) is None

    asyncio.run(run())


def test_events_that_a_restored_database_lost_come_back_from_the_file(database, store):  # noqa: F811
    async def run():
        async with contacts(database) as road, plain(database) as person:
            log = rows(*(event(number) for number in range(1, 31)))
            await road.publish(log)
            await person.execute("DELETE FROM mailwright.event WHERE node_position > 20")
            _, found = await audit(road, store, 30)
            assert found.events_missing == 10
            pages = iter([[line for _, line in log[:15]], [line for _, line in log[15:]]])
            assert await republish(road, lambda: next(pages, None)) == 10
            _, found = await audit(road, store, 30)
            assert found.events_missing == 0
            await person.execute("DELETE FROM mailwright.event WHERE node_position BETWEEN 1 AND 10")
            _, found = await audit(road, store, 30)
            assert found.events_missing == 0, "the beginning goes by retention"
            await person.execute("DELETE FROM mailwright.event")
            _, found = await audit(road, store, 30)
            assert found.events_missing == 30

    asyncio.run(run())


def test_entries_of_an_import_follow_its_event(database, store):  # noqa: F811
    async def run():
        async with contacts(database) as road, plain(database) as person:
            lines = [Record(line=number, address=f"p{number}@example.org", reason=Reason.MANUAL, created=NOW) for number in range(1, 6)]
            import_lines(store, iter(lines), "batch-1", NOW)
            for _ in range(2):
                await carry_batch(road, store, "batch-1")
            found = await person.fetch("SELECT address, batch FROM mailwright.suppression ORDER BY address")
            assert [tuple(row) for row in found] == [(f"p{number}@example.org", "batch-1") for number in range(1, 6)]
            assert (await audit(road, store))[0] == {}

    asyncio.run(run())
