"""What watches see of the roads, and what happens when the outbox is as full as it may be."""

import asyncio
import operator
import random
import time
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from config.publishing import Contacts, Webhook
from config.settings import Events, Settings
from contacts.event_log import EventLog
from contacts.letters import DEAD, Letter
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Rules
from gateway.admin.calls import CallError, Nothing
from gateway.admin.publishing import AuditContacts, DeadLetters, EventsAfter, PublishingCalls, Replay
from gateway.core.outbox import Outbox
from gateway.observe.metrics import Metrics
from gateway.publishing.publishing import CONDITION, Publishing
from gateway.publishing.sink import REMIND, Sink
from mail.event import Event, EventKind, seal
from tests.core.test_outbox import Disk

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = SuppressionStore(tmp_path, Rules(Policy(), {}), time.time)
    yield made
    made.close()


def publishing(settings: Settings, store: SuppressionStore, disk: Disk, told: dict[str, str | None]) -> Publishing:
    outbox = Outbox(disk, disk, settings.events, store.folder, lambda trouble: None, lambda events: None, lambda rows: None)  # type: ignore[arg-type]
    return Publishing(settings, outbox, store, Metrics(), told.__setitem__, Clock(), random.Random(1))


def test_with_nothing_configured_there_is_nothing(store: SuppressionStore) -> None:
    made = publishing(Settings(), store, Disk([]), {})
    assert (made.webhooks, made.gauges(), made.status(), made.room()) == (None, [], {}, True)
    assert not (store.folder / "webhooks.db").exists()
    assert not (store.folder / "events.db").exists()


class Log(Disk):
    """Thirty-five events on a disk that is well."""

    broken = None

    def __init__(self) -> None:
        super().__init__([line(number) for number in range(35)])


def line(number: int) -> bytes:
    return seal(Event(id=f"d{number}.1", kind=EventKind.DELIVERED, at=Clock.now + number, recipient="a@b.example"))


def _embedded(folder: Path, **more: Any) -> Settings:
    settings = Settings(contacts=Contacts(embedded=True), **more)
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"data": folder})})


def test_what_the_embedded_log_cannot_write_waits_and_goes_in_when_it_can(store: SuppressionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds the file; at the bound new mail waits too. A stop takes the rest along."""
    monkeypatch.setattr("contacts.event_log.BUSY", 0)
    monkeypatch.setattr("contacts.road.FIRST_WAIT", 0.01)

    async def run() -> None:
        told: dict[str, str | None] = {}
        disk = Log()
        made = publishing(_embedded(store.folder, events=Events(waiting=10_000)), store, disk, told)
        other = apsw.Connection(str(store.folder / "events.db"))
        other.execute("BEGIN IMMEDIATE")
        made.start()
        while not made.gauges()[0].failing:
            await asyncio.sleep(0.01)
        assert (made.gauges()[0].waiting, made.lag, disk.kept_from) == (35, 35, 0)
        disk.position = 10_000
        assert not made.room()
        assert "embedded event log is behind" in str(told[CONDITION])
        disk.position = 35
        other.execute("ROLLBACK")
        other.close()
        while made.lag:
            await asyncio.sleep(0.01)
        assert made.room()
        call = PublishingCalls(made).calls["events.after"][1]
        page = await call(EventsAfter(after=0, limit=20))
        rest = await call(EventsAfter(after=page["next"], limit=20))
        assert (len(page["events"]), page["more"], len(rest["events"]), rest["more"]) == (20, True, 15, False)
        assert [row["sequence"] for row in page["events"] + rest["events"]] == list(range(1, 36))
        assert (disk.kept_from, made.gauges()[0].failing) == (0, False), "the event file, which does not run here, has not passed"
        await made.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_stop_takes_what_is_left_into_the_embedded_log(store: SuppressionStore) -> None:
    async def run() -> None:
        made = publishing(_embedded(store.folder), store, Log(), {})
        made.start()
        await made.close()
        log = EventLog(store.folder)
        assert len(log.after(0)) == 35
        log.close()

    asyncio.run(run())


def test_at_the_bound_new_mail_waits_for_the_database_and_comes_in_again_below_it(store: SuppressionStore) -> None:
    async def run() -> None:
        told: dict[str, str | None] = {}
        disk = Disk([])
        made = publishing(Settings(contacts=Contacts(database=NOWHERE), events=Events(waiting=10_000)), store, disk, told)
        disk.position = 9_999
        assert made.room()
        disk.position = 10_000
        assert not made.room()
        assert "behind" in str(told[CONDITION])
        disk.position = 9_999
        assert made.room()
        assert told[CONDITION] is None
        await made.close()

    asyncio.run(run())


def test_a_webhook_that_is_behind_stops_no_mail(store: SuppressionStore, tmp_path: Path) -> None:
    async def run() -> None:
        hook = Webhook(name="crm", url="https://crm.example/x", secret="whsec_" + "QUJD" * 10)
        store.folder.joinpath("x").touch()
        settings = Settings(webhook=[hook], events=Events(waiting=10_000))
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"data": tmp_path})})
        disk = Disk([])
        made = publishing(settings, store, disk, {})
        disk.position = 1_000_000
        assert made.room()
        (gauge,) = made.gauges()
        assert (gauge.name, gauge.waiting) == ("webhook:crm", 1_000_000)
        await made.close()

    asyncio.run(run())


def test_a_sink_shows_its_backlog_its_age_its_trouble_and_its_progress() -> None:
    newest, clock = [0], Clock()
    sink = Sink("postgres", 0, lambda: newest[0], Metrics(), clock)
    assert sink.gauge().caught_up == 1.0
    newest[0] = 1000
    sink.oldest_at = clock.now - 60
    sink.told("contact database: away")
    gauge = sink.gauge()
    assert (gauge.waiting, gauge.oldest, gauge.failing, gauge.caught_up) == (1000, 60.0, True, 0.0)
    sink.told(None)
    sink.reached(750, 750)
    assert sink.gauge().caught_up == 0.75
    assert sink.status()["caught_up"] == "75%"
    newest[0] = 2000
    assert sink.gauge().caught_up == 0.0, "a backlog that grows is the new measure"
    sink.reached(2000, 1250)
    assert (sink.gauge().caught_up, sink.gauge().oldest, sink.status()["error"]) == (1.0, 0.0, "")


def test_trouble_is_logged_when_it_begins_and_then_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.observe import log

    lines: list[str] = []
    monkeypatch.setattr(log, "publishing_failed", lambda sink, error, waiting: lines.append(error))
    monkeypatch.setattr(log, "publishing_well", lambda sink, seconds, waiting: lines.append(f"well after {seconds:.0f}"))
    clock = Clock()
    sink = Sink("postgres", 0, lambda: 5, Metrics(), clock)
    for _ in range(120):
        sink.told("away")
        clock.now += 10
    sink.told(None)
    sink.told(None)
    assert lines == ["away"] * (1200 // int(REMIND)) + ["well after 1200"]


def test_dead_letters_are_listed_shown_and_sent_again_by_the_consoles_calls(store: SuppressionStore, tmp_path: Path) -> None:
    async def run() -> None:
        hook = Webhook(name="crm", url="https://crm.example/x", secret="whsec_" + "QUJD" * 10)
        settings = Settings(webhook=[hook])
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"data": tmp_path})})
        made = publishing(settings, store, Disk([]), {})
        assert made.webhooks is not None
        letter = Letter("mw_1", "crm", 7, 2, 1.8e9, died=1.8e9 + 60, why="answered 422", state=DEAD, body=b'{"data":[1,2]}')
        gone = msgspec.structs.replace(letter, id="mw_2", endpoint="old")
        for one in (letter, gone):
            await made.webhooks.stored(operator.methodcaller("write", one))
        calls = {name: call for name, (_, call) in PublishingCalls(made).calls.items()}
        listed = (await calls["webhook.list"](Nothing()))["endpoints"]
        assert [(row["endpoint"], row["dead_letters"]) for row in listed] == [("crm", 1), ("old", 1)]
        (row,) = (await calls["webhook.dead"](DeadLetters(endpoint="crm")))["letters"]
        assert (row["letter"], row["events"], row["died"], row["why"]) == ("mw_1", 2, "2027-01-15T08:01:00.000Z", "answered 422")
        shown = await calls["webhook.dead"](DeadLetters(letter="mw_1"))
        assert msgspec.json.decode(msgspec.json.encode(shown))["letter"]["body"] == {"data": [1, 2]}
        assert await calls["webhook.replay"](Replay(endpoint="crm")) == {"touched": 1}
        for wrong in (Replay(endpoint="old"), Replay(endpoint="crm", letter="mw_1"), Replay(endpoint="crm", letter="mw_9")):
            with pytest.raises(CallError):
                await calls["webhook.replay"](wrong)
        for name, arguments in (("events.after", EventsAfter()), ("contacts.audit", AuditContacts())):
            with pytest.raises(CallError, match=r"contacts\.database"):
                await calls[name](arguments)
        await made.close()

    asyncio.run(run())
