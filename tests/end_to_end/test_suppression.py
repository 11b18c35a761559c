"""A dead address is written to once: the bounce suppresses it in its own transaction, kill -9 or not, until somebody takes it off."""

from pathlib import Path

import pytest

from gateway.admin.calls import CallError
from mail.event import EventKind, unseal
from sandbox.scenario import Mailboxes, Temper
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

GONE = "gone@boxes.test"
PROVIDERS = [Mailboxes(name="boxes", domains=["boxes.test"], temper=[Temper(kind="unknown-user", recipients=["gone@*"])])]


def kinds(house: House, recipient: str) -> list[EventKind]:
    file = house.folder / "data" / "events.ndjson"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [event.kind for event in map(unseal, lines) if event.recipient == recipient]


def send(house: House, recipient: str) -> None:
    with house.client() as client:
        client.sendmail("news@shop.test", [recipient], letter(recipient))


def test_a_dead_address_is_suppressed_over_a_crash_until_it_is_taken_off(tmp_path: Path) -> None:
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT)
        with serving(house):
            send(house, GONE)
            house.until(lambda: EventKind.SUPPRESSION_ADDED in kinds(house, GONE), "the suppression")
            house.kill()
            house.start()
            send(house, GONE)
            house.until(lambda: EventKind.SUPPRESSED in kinds(house, GONE), "the second message to be suppressed")
            (entry,) = house.call("suppression.why", address=GONE)["entries"]
            assert (entry["reason"], entry["scope"], entry["live"]) == ("hard_bounce", "global", True)
            assert house.call("suppression.remove", address=GONE)["removed"] == [entry["id"]]
            send(house, GONE)
            house.until(lambda: kinds(house, GONE).count(EventKind.BOUNCED) == 2, "the third message to be tried")
            assert not house.complaints()


def test_what_is_added_by_hand_holds_for_queued_mail_too(tmp_path: Path) -> None:
    recipient = "jean@boxes.test"
    with internet(PROVIDERS) as (sandbox, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT)
        with serving(house):
            house.call("queue.hold", account="default")
            send(house, recipient)
            house.call("suppression.add", address="Jean@boxes.test", note="asked by phone")
            house.call("queue.release", account="default")
            house.until(lambda: EventKind.CANCELLED in kinds(house, recipient), "the queued message to end")
            assert sandbox.counts()["boxes"].accepted == 0


@pytest.mark.parametrize(
    "arguments", [{"address": "nobody"}, {"address": "a@b.test", "reason": "dislike"}, {"address": "a@b.test", "scope": "moon"}]
)
def test_bad_input_is_refused_with_a_sentence_and_changes_nothing(tmp_path: Path, arguments: dict[str, str]) -> None:
    with internet(PROVIDERS) as (_, addresses), serving(House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT)) as house:
        with pytest.raises(CallError):
            house.call("suppression.add", **arguments)
        assert house.call("suppression.list")["entries"] == []
