"""A dead address is written to once: the bounce suppresses it in its own transaction, kill -9 or not, until somebody takes it off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.admin.calls import CallError
from mail.event import EventKind, unseal
from sandbox.scenario import Mailboxes, Temper
from sandbox.world import SandboxAddresses
from tests.durability.rig import ROOT
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
            assert entry["evidence"] == entry["caused_by"]["delivery"] + ".1"
            assert (entry["caused_by"]["state"], entry["caused_by"]["message_id"]) == ("failed", entry["message_id"])
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


def command(house: House, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "gateway.cli", "suppression", *arguments, "--config", str(house.config)]
    return subprocess.run(line, capture_output=True, check=False, input=given, cwd=ROOT)


LIST = b"email,reason,diagnostic\njean@boxes.test,complaint,told us\nMarie@Boxes.test,manual,\njean@boxes.test,complaint,\n"


def test_a_file_is_imported_beside_a_running_gateway_and_its_one_event_is_in_the_log(tmp_path: Path) -> None:
    recipient = "jean@boxes.test"
    with internet(PROVIDERS) as (_, addresses), serving(House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT)) as house:
        dry = command(house, "import", "csv", "-", "--dry-run", given=LIST)
        assert b"nothing was changed (dry run): 3 read, 2 new, 1 there already, 0 bad" in dry.stdout
        assert house.call("suppression.list")["entries"] == []
        bad = command(house, "import", "csv", "-", given=LIST + b"nobody,manual,\n")
        assert (bad.returncode, bad.stderr.splitlines()[0]) == (65, b"line 5: no address")
        assert house.call("suppression.list")["entries"] == []
        done = command(house, "import", "csv", "-", "--json", given=LIST)
        batch = json.loads(done.stdout)["batch"]
        send(house, recipient)
        house.until(lambda: EventKind.SUPPRESSED in kinds(house, recipient), "the message to be suppressed")
        events = [event for event in map(unseal, (house.folder / "data/events.ndjson").read_bytes().splitlines()) if event.batch]
        assert [(event.kind, event.batch, event.counts) for event in events] == [
            (EventKind.SUPPRESSION_IMPORTED, batch, {"read": 3, "added": 2, "merged": 1, "refused": 0})
        ]
        (entry,) = house.call("suppression.why", address=recipient)["entries"]
        assert (entry["batch"], entry["diagnostic"]) == (batch, "told us")
        exported = command(house, "export", "ses").stdout
        assert exported == b"jean@boxes.test,COMPLAINT\n"
        assert not house.complaints()


def test_an_import_before_the_first_start_is_told_by_the_first_start(tmp_path: Path) -> None:
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT)
        (house.folder / "data").mkdir()
        assert command(house, "import", "csv", "-", given=LIST).returncode == 0
        with serving(house):
            house.until(lambda: EventKind.SUPPRESSION_IMPORTED in kinds(house, ""), "the event of the import")
            send(house, "marie@boxes.test")
            house.until(lambda: EventKind.SUPPRESSED in kinds(house, "marie@boxes.test"), "the message to be suppressed")


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A list of two, without a gateway."""
    house = House(tmp_path_factory.mktemp("offline"), SandboxAddresses("127.0.0.1:53", 25, {}), GROUND)
    assert command(house, "import", "csv", "-", given=LIST).returncode == 0
    return house


def everything(house: House) -> list[bytes]:
    return [file.read_bytes() for file in sorted((house.folder / "data").iterdir())]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("import", "xml", "-"), b"unknown format 'xml'"),
        (("import", "csv", "/nowhere/list.csv"), b"/nowhere/list.csv: No such file"),
        (("import", "csv", "-", "--scope", "moon"), b"unknown scope 'moon'"),
        (("import", "csv", "-", "--reason", "dislike"), b"unknown reason 'dislike'"),
        (("export", "mailgun"), b"format mailgun has several files"),
        (("export", "sha256-salted"), b"sha256-salted needs a salt"),
        (("export", "csv", "--since", "yesterday"), b"--since 'yesterday' is no time"),
        (("export", "csv", "/nowhere/list.csv"), b"/nowhere/"),
    ],
)
def test_bad_commands_are_told_in_one_line_and_change_nothing(offline: House, arguments: tuple[str, ...], told: bytes) -> None:
    before = everything(offline)
    done = command(offline, *arguments, given=LIST)
    assert done.returncode in (64, 73)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert everything(offline) == before


STREAMS = """
[[stream]]
name = "default"
[[stream]]
name = "receipts"
kind = "transactional"
"""


def test_an_account_may_have_550_at_rcpt_for_what_holds_in_every_stream(tmp_path: Path) -> None:
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + "refuse_suppressed = true\n" + STREAMS)
        with serving(house):
            for address, reason in (("dead@boxes.test", "hard_bounce"), ("left@boxes.test", "unsubscribe")):
                house.call("suppression.add", address=address, reason=reason)
            house.call("suppression.add", address="other@boxes.test", reason="complaint", scope="account:other")
            with house.client() as client:
                client.mail("news@shop.test")
                assert client.rcpt("dead@boxes.test") == (550, b"5.7.1 this recipient is suppressed: hard_bounce")
                assert [client.rcpt(name)[0] for name in ("left@boxes.test", "other@boxes.test", "new@boxes.test")] == [250] * 3


def test_transactional_mail_passes_an_unsubscription_and_never_a_dead_address(tmp_path: Path) -> None:
    with internet(PROVIDERS) as (_, addresses), serving(House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + STREAMS)) as house:
        house.call("suppression.add", address="left@boxes.test", reason="unsubscribe")
        house.call("suppression.add", address="dead@boxes.test", reason="hard_bounce")
        with house.client() as client:
            for stream in ("receipts", "default"):
                for recipient in ("left@boxes.test", "dead@boxes.test"):
                    client.sendmail("news@shop.test", [recipient], letter(recipient, stream=stream))
        house.until(lambda: EventKind.DELIVERED in kinds(house, "left@boxes.test"), "the receipt to arrive")
        assert kinds(house, "left@boxes.test").count(EventKind.SUPPRESSED) == 1
        assert kinds(house, "dead@boxes.test").count(EventKind.SUPPRESSED) == 2
