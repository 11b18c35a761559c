"""What is known of a person is told, and forgotten: queue, ledger, event files, logs and list, beside a running gateway and without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mail.event import EventKind
from sandbox.scenario import Mailboxes, Temper
from tests.durability.rig import ROOT
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

PERSON, OTHER = "jean.dupont@boxes.test", "marie@boxes.test"
PROVIDERS = [Mailboxes(name="boxes", domains=["boxes.test"], temper=[Temper(kind="unknown-user", recipients=["jean.dupont@*"])])]


def contacts(house: House, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "gateway.cli", "contacts", *arguments, "--config", str(house.config)]
    return subprocess.run(line, capture_output=True, check=False, cwd=ROOT)


def send(house: House, *recipients: str) -> None:
    with house.client() as client:
        for recipient in recipients:
            client.sendmail("news@shop.test", [recipient], letter(recipient))


def written(house: House) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((house.folder / "data").glob("events.ndjson*")))


def logged(house: House) -> bytes:
    """The embedded log with what lies beside it."""
    return b"".join(file.read_bytes() for file in (house.folder / "data").glob("events.db*"))


@pytest.fixture
def house(tmp_path: Path):
    """A person who bounced and has mail in the queue, another who got his, and a rotated event file."""
    with internet(PROVIDERS) as (_, addresses):
        made = House(
            tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + '[events]\nrotate_size = "1kB"\n[contacts]\nembedded = true\n'
        )
        with serving(made):
            send(made, "Jean.Dupont@boxes.test", OTHER)
            made.until(lambda: written(made).count(b'"suppression_added"') == 1, "the suppression")
            made.until(lambda: b'"delivered"' in written(made), "the other's delivery")
            made.call("suppression.remove", address=PERSON)
            made.call("queue.hold", account="default")
            send(made, PERSON)
            made.call("suppression.add", address=PERSON, note="asked by letter")
            made.until(lambda: b"asked by letter" in written(made), "the event file")
            made.until(lambda: made.call("status")["embedded"]["waiting"] == 0, "the embedded log")
            yield made


def test_all_that_is_known_is_told(house):
    known = json.loads(contacts(house, "export", PERSON).stdout)
    assert [entry["diagnostic"] for entry in known["list"]["entries"]] == ["asked by letter"]
    assert [(one["state"], one["account"]) for one in known["queue"]] == [("queued", "default")]
    assert [one["state"] for one in known["sent"]] == ["failed"]
    kinds = [event["kind"] for event in known["events"]]
    assert kinds == ["accepted", "bounced", "suppression_added", "suppression_removed", "accepted", "suppression_added"]
    assert known["event_log"] == known["events"]
    assert OTHER.encode() not in contacts(house, "export", PERSON).stdout


def test_a_forgotten_person_is_nowhere_and_is_not_written_to(house):
    dry = json.loads(contacts(house, "forget", PERSON, "--dry-run", "--json").stdout)
    assert (dry["queued"], dry["ledger"], dry["suppressions"]) == (1, 1, 1)
    assert written(house).lower().count(PERSON.encode()) > 5
    before = written(house).count(b"\n")
    done = json.loads(contacts(house, "forget", "JEAN.dupont@boxes.test", "--json").stdout)
    assert (done["cancelled"], done["being_delivered"], done["ledger"], done["suppressions"]) == (1, 0, 2, 1)
    assert done["event_lines"] >= 7
    assert done["event_rows"] == done["event_lines"]
    assert PERSON.encode() not in logged(house).lower()
    assert written(house).count(b"\n") >= before
    assert PERSON.encode() not in written(house).lower()
    known = json.loads(contacts(house, "export", PERSON).stdout)
    assert (known["queue"], known["sent"], known["events"], known["event_log"]) == ([], [], [], [])
    assert [(entry.get("email"), entry.get("diagnostic"), entry["live"]) for entry in known["list"]["entries"]] == [(None, None, True)]
    house.call("queue.release", account="default")
    send(house, PERSON)
    house.until(lambda: b'"suppressed"' in written(house), "the next message to be suppressed")
    assert [event.kind for event in house.history(OTHER)] == [EventKind.ACCEPTED, EventKind.DELIVERED]
    log = (house.folder / "log").read_text()
    assert '"contacts.forget"' not in log
    assert not house.complaints()


def test_it_is_done_without_a_gateway_too(house):
    house.stop()
    told = contacts(house, "forget", PERSON)
    assert told.returncode == 0, told.stderr
    assert b"cancelled" in told.stdout
    assert PERSON.encode() not in logged(house).lower()
    assert PERSON.encode() not in b"".join(
        line for line in written(house).lower().splitlines(keepends=True) if b'"cancelled"' not in line
    )  # the cancellation of queued mail is written out by the next start


@pytest.mark.parametrize(("address", "told"), [("nobody", b"is not an address"), ("sha256:" + "0" * 64, b"not its hash")])
def test_bad_input_is_one_line(tmp_path, address, told):
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND)
        done = contacts(house, "forget", address)
    assert done.returncode == 65
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
