"""What an operator does with the queue of a running gateway, through its control socket; and what of it survives a restart."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.load import load
from gateway.admin.calls import CallError
from gateway.commands import offline
from gateway.core.sweeps import OPERATIONS, Operation
from gateway.spool.port import Note, Selection, Transaction
from gateway.spool.sqlite import SqliteSpool
from mail.event import EventKind
from sandbox.scenario import Mailboxes, Name
from sandbox.world import Sandbox, SandboxAddresses
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

SLOW = """
[[account]]
name = "shop"
networks = ["127.7.21.0/24"]
domains = ["any"]
[default_provider]
name = "default"
rate = "none"
[[stream]]
name = "default"
[stream.retry]
first = "1h"
longest = "1h"
lifetime = "2d"
"""

PROVIDERS = [
    Mailboxes(name="open", domains=["open.test", "other.test", "moving.test"]),
    *(
        Mailboxes(name=name, domains=[f"{name}.test"], listening=False)
        for name in ("closed-list", "closed-retry", "closed-cancel", "closed-expire", "closed-moving")
    ),
]
"""Closed ones, each met by one test only: three failures in a row would pause the route for half a minute."""

NAMES = [Name(name="moving.test", records=["MX 10 mx.closed-moving.test."])]


@dataclass(frozen=True)
class Stage:
    """A gateway, where it sends, and how to speak to it."""

    house: House
    sandbox: Sandbox
    addresses: SandboxAddresses

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.house.call(name, **arguments)

    def total(self, **selection: Any) -> int:
        """How many deliveries of the queue match."""
        return int(self.call("queue.list", limit=1, **selection)["total"])

    def send(self, *recipients: str, campaign: str = "", source: str = "127.0.0.1") -> None:
        client = self.house.client(source)
        for recipient in recipients:
            client.sendmail("news@shop.test", [recipient], letter(recipient, campaign=campaign))
        client.quit()

    def deferred(self, recipient: str, attempts: int = 1) -> str:
        """The identity of a delivery that was tried so often and waits."""
        events = self.house.seen(recipient, lambda events: events and events[-1].attempt >= attempts)
        assert events[-1].kind is EventKind.DEFERRED
        return events[-1].delivery

    def took(self, recipient: str) -> int:
        """How often the open provider took mail to this recipient."""
        return sum(recipient in message.recipients for message in self.sandbox.messages("open"))


@pytest.fixture(scope="module")
def fake_internet() -> Iterator[tuple[Sandbox, SandboxAddresses]]:
    with internet(PROVIDERS, NAMES) as running:
        yield running


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, fake_internet: tuple[Sandbox, SandboxAddresses]) -> Iterator[Stage]:
    house = House(tmp_path_factory.mktemp("queue"), fake_internet[1], GROUND + OPEN_ACCOUNT + SLOW)
    with serving(house):
        yield Stage(house, *fake_internet)
        assert house.complaints() == []
        assert house.logged("changes stale") == []


@pytest.fixture
def own_stage(tmp_path: Path, fake_internet: tuple[Sandbox, SandboxAddresses]) -> Iterator[Stage]:
    """One that the test may stop and start."""
    house = House(tmp_path, fake_internet[1], GROUND + OPEN_ACCOUNT + SLOW)
    with serving(house):
        yield Stage(house, *fake_internet)
        assert house.complaints() == []


def test_what_waits_is_listed_and_shown_and_what_ended_is_shown(stage: Stage) -> None:
    stage.send("ann@closed-list.test", campaign="spring")
    delivery = stage.deferred("ann@closed-list.test")
    (row,) = stage.call("queue.list", campaign="spring")["deliveries"]
    assert (row["delivery"], row["state"], row["attempts"], row["campaign"]) == (delivery, "queued", 1, "spring")
    assert "Connect" in row["reason"] or "refused" in row["reason"]
    shown = stage.call("queue.show", id=delivery)
    assert (shown["place"], shown["recipient"]) == ("on disk", "ann@closed-list.test")
    assert shown["return_path"].endswith("@gateway.test")
    stage.send("ann@open.test")
    (ended,) = {event.delivery for event in stage.house.ended("ann@open.test")}
    assert stage.call("queue.show", id=ended)["state"] == "delivered"
    for wrong in ("nonsense", "0000000000000", "aaaaaaaaaaaaa"):
        with pytest.raises(CallError):
            stage.call("queue.show", id=wrong)


def test_a_dry_run_changes_nothing_and_a_retry_tries_at_once(stage: Stage) -> None:
    stage.send("bob@closed-retry.test", campaign="retry")
    delivery = stage.deferred("bob@closed-retry.test")
    answer = stage.call("queue.retry", campaign="retry")
    assert (answer["dry_run"], answer["matched"], answer["touched"]) == (True, 1, 0)
    assert stage.call("queue.show", id=delivery)["attempts"] == 1
    assert stage.call("queue.retry", campaign="retry", dry_run=False)["touched"] == 1
    stage.deferred("bob@closed-retry.test", attempts=2)


@pytest.mark.parametrize(("action", "kind"), [("cancel", EventKind.CANCELLED), ("expire", EventKind.EXPIRED)])
def test_deliveries_are_ended_by_id_and_the_event_says_so(stage: Stage, action: str, kind: EventKind) -> None:
    recipient = f"{action}@closed-{action}.test"
    stage.send(recipient, f"not-{recipient}", campaign=action)
    delivery = stage.deferred(recipient)
    stage.deferred(f"not-{recipient}")
    assert stage.call(f"queue.{action}", ids=[delivery], dry_run=False, reason="wrong price")["touched"] == 1
    event = stage.house.ended(recipient)[-1]
    assert (event.kind, event.suppression_proposed) == (kind, False)
    assert stage.call("queue.show", id=delivery)["state"] == kind.value
    assert stage.total(campaign=action) == 1
    if action == "cancel":
        assert "wrong price" in event.diagnostic


def test_a_reroute_asks_again_and_takes_the_new_way(stage: Stage) -> None:
    stage.send("eve@moving.test")
    stage.deferred("eve@moving.test")
    route = f'\n[[route]]\ndomain = "moving.test"\nhost = "{stage.addresses.providers["open"]}"\nport = {{smtp}}\ntls = "none"\n'
    stage.house.configure(GROUND + OPEN_ACCOUNT + SLOW + route)
    stage.house.signal(signal.SIGHUP)
    stage.house.until(lambda: stage.house.logged("configuration reloaded"), "the reload")
    assert stage.call("queue.reroute", domain="moving.test", dry_run=False)["touched"] == 1
    delivered = stage.house.ended("eve@moving.test")[-1]
    assert (delivered.kind, delivered.provider) == (EventKind.DELIVERED, "smarthost")
    stage.house.configure(GROUND + OPEN_ACCOUNT + SLOW)


@pytest.mark.parametrize(
    ("field", "value", "held_recipient", "campaign", "source"),
    [
        ("campaign", "winter", "held@open.test", "winter", "127.0.0.1"),
        ("account", "shop", "shop@open.test", "", "127.7.21.1"),
        ("domain", "other.test", "held@other.test", "", "127.0.0.1"),
        ("stream", "default", "stream@open.test", "", "127.0.0.1"),
    ],
)
def test_what_is_held_waits_and_leaves_when_released(
    stage: Stage, field: str, value: str, held_recipient: str, campaign: str, source: str
) -> None:
    stage.call("queue.hold", **{field: value, "dry_run": True})
    assert stage.call("queue.holds")["holds"] == []
    hold = stage.call("queue.hold", **{field: value, "reason": "wrong price"})["hold"]
    (row,) = stage.call("queue.holds")["holds"]
    assert (row["id"], row[field], row["reason"]) == (hold, value, "wrong price")
    stage.send(held_recipient, campaign=campaign, source=source)
    if field != "stream":
        free = f"free-{field}@open.test"
        stage.send(free)
        assert stage.house.ended(free)[-1].kind is EventKind.DELIVERED
    assert stage.took(held_recipient) == 0
    if field != "domain":  # a domain's deliveries are kept back one by one, and are due again later
        (waiting,) = stage.call("queue.list", domain="open.test")["deliveries"]
        assert waiting["recipient"] == held_recipient
        assert waiting["waits"] == "held"
    assert stage.call("queue.release", **{field: value})["released"] == [hold]
    assert stage.call("queue.holds")["holds"] == []
    assert stage.house.ended(held_recipient)[-1].kind is EventKind.DELIVERED
    assert stage.took(held_recipient) == 1
    with pytest.raises(CallError, match="no such hold"):
        stage.call("queue.release", **{field: value})


def test_a_hold_with_an_end_ends_by_itself(stage: Stage) -> None:
    stage.call("queue.hold", campaign="short", seconds=1.0)
    stage.send("short@open.test", campaign="short")
    delivered = stage.house.ended("short@open.test")[-1]
    assert delivered.at - stage.house.history("short@open.test")[0].at > 0.5
    stage.house.until(lambda: stage.call("queue.holds")["holds"] == [], "the hold to be forgotten")


def test_a_cancel_takes_what_is_ready_to_leave_and_nothing_leaves_after_it(stage: Stage) -> None:
    """More than a window of one flow, behind a source on hold: part of it is in RAM."""
    stage.send("first@open.test")
    stage.house.ended("first@open.test")
    stage.call("queue.hold", source="default")
    recipients = [f"r{number}@open.test" for number in range(300)]
    stage.send(*recipients, campaign="wrong")
    stage.house.until(lambda: stage.total(campaign="wrong") == 300, "the campaign to be queued")
    assert stage.call("queue.cancel", campaign="wrong", dry_run=False)["touched"] == 300
    assert stage.total(campaign="wrong") == 0
    stage.call("queue.release", source="default")
    stage.send("last@open.test")
    assert stage.house.ended("last@open.test")[-1].kind is EventKind.DELIVERED
    for recipient in recipients[::50]:
        assert stage.house.ended(recipient)[-1].kind is EventKind.CANCELLED
        assert stage.took(recipient) == 0


def test_what_cannot_be_meant_is_refused_in_a_sentence(stage: Stage) -> None:
    for name, arguments, said in (
        ("queue.cancel", {"dry_run": False}, "or everything"),
        ("queue.cancel", {"campain": "x"}, "campain"),
        ("queue.cancel", {"dry_run": "no"}, "dry_run"),
        ("queue.explode", {}, "no such call"),
        ("queue.list", {"after": "x"}, "not a delivery"),
        ("queue.hold", {}, "what to hold"),
    ):
        with pytest.raises(CallError, match=said):
            stage.call(name, **arguments)


def test_a_hold_survives_a_restart_and_keeps_holding(own_stage: Stage) -> None:
    house = own_stage.house
    own_stage.call("queue.hold", campaign="winter")
    own_stage.call("queue.hold", domain="other.test")
    own_stage.send("a@open.test", campaign="winter")
    own_stage.send("b@other.test")
    for end in (house.stop, house.kill):
        end()
        house.start()
        assert {row["campaign"] + row["domain"] for row in own_stage.call("queue.holds")["holds"]} == {"winter", "other.test"}
        own_stage.send("free@open.test")
        house.until(lambda: own_stage.total() == 2, "the free one to leave")
        assert own_stage.took("a@open.test") == own_stage.took("b@other.test") == 0
    own_stage.call("queue.release", campaign="winter")
    own_stage.call("queue.release", domain="other.test")
    assert [house.ended(recipient)[-1].kind for recipient in ("a@open.test", "b@other.test")] == [EventKind.DELIVERED] * 2


def test_an_interrupted_cancel_goes_on_at_the_next_start(own_stage: Stage) -> None:
    house = own_stage.house
    own_stage.call("queue.hold", campaign="wrong")
    own_stage.send(*(f"w{number}@open.test" for number in range(20)), campaign="wrong")
    house.stop()
    settings = load(house.config)
    # What a gateway leaves behind that is killed between noting a cancel and its first slice.
    with_note(house, Operation(1, "cancel", Selection(campaign="wrong"), 1.0, "wrong price"))
    assert offline.call(settings, "queue.list", {})["total"] == 20
    assert offline.call(settings, "queue.retry", {"campaign": "nothing", "dry_run": False})["touched"] == 0
    house.start()
    house.until(lambda: own_stage.total() == 0, "the cancel to be finished")
    assert {house.ended(f"w{number}@open.test")[-1].kind for number in range(20)} == {EventKind.CANCELLED}


def with_note(house: House, operation: Operation) -> None:
    """Put an unfinished operation into the spool of a gateway that does not run."""
    settings = load(house.config)
    spool = SqliteSpool(settings.gateway.data, settings.spool, settings.gateway.return_window)
    spool.recover(0, 1.0)
    spool.write(Transaction(notes=[Note(OPERATIONS, msgspec.json.encode([operation]))]))
    spool.close(clean=True)
