"""Applications that other services taught their header fields, unchanged, with the standard library as their SMTP client: stream, campaign,
tags and metadata are on the events, and the fields do not leave."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import pytest

from mail.event import Event, EventKind
from sandbox.scenario import Mailboxes
from sandbox.world import Sandbox
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, serving

STREAMS = """
[[stream]]
name = "default"
[[stream]]
name = "broadcasts"
[[stream]]
name = "outbound"
kind = "transactional"
[[labels.field]]
header = "X-CRM-Person"
feeds = "contact"
"""

LONG = {f"key_{number}": f"value of entry {number}" for number in range(12)}


@dataclass(frozen=True)
class Family:
    """What an application writes, and what its events are to say."""

    fields: list[tuple[str, str]]
    stream: str = "default"
    campaign: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


FAMILIES = {
    "mailwright": Family(
        [("X-Stream", "broadcasts"), ("X-Campaign", "Frühling"), ("X-Tags", "vip, fr"), ("X-Metadata", '{"order": 17}')],
        "broadcasts",
        "Frühling",
        ("vip", "fr"),
        {"order": "17"},
    ),
    "postmark": Family(
        [
            ("X-PM-Message-Stream", "broadcasts"),
            ("X-PM-Tag", "welcome-email"),
            ("X-PM-Metadata-client-id", "12345"),
            ("X-PM-TrackOpens", "true"),
        ],
        "broadcasts",
        "welcome-email",
        ("welcome-email",),
        {"client-id": "12345"},
    ),
    "postmark transactional": Family([("X-PM-Message-Stream", "outbound"), ("X-PM-Tag", "reset")], "outbound", "", ("reset",)),
    "mailgun": Family(
        [
            ("X-Mailgun-Tag", "newsletter"),
            ("X-Mailgun-Tag", "november"),
            ("X-Mailgun-Variables", json.dumps(LONG)),
            ("X-Mailgun-Track", "yes"),
        ],
        "default",
        "newsletter",
        ("newsletter", "november"),
        LONG,
    ),
    "ses": Family(
        [("X-SES-CONFIGURATION-SET", "broadcasts"), ("X-SES-MESSAGE-TAGS", "campaign=book, genre=fiction")],
        "broadcasts",
        "book",
        (),
        {"campaign": "book", "genre": "fiction"},
    ),
    "sendgrid": Family(
        [
            (
                "X-SMTPAPI",
                json.dumps({"category": ["spring", "élèves"], "unique_args": LONG, "filters": {"clicktrack": {"settings": {"enable": 1}}}}),
            )
        ],
        "default",
        "spring",
        ("spring", "élèves"),
        LONG,
    ),
    "sendgrid without a space": Family(
        [("X-SMTPAPI", json.dumps({"category": "spring", "unique_args": LONG}, separators=(",", ":")).replace(" ", "_"))],
        "default",
        "spring",
        ("spring",),
        {name: value.replace(" ", "_") for name, value in LONG.items()},
    ),
    "mandrill": Family(
        [("X-MC-Tags", "spring,vip"), ("X-MC-Metadata", '{ "user_id": "45829", "location_id": "111" }'), ("X-MC-Track", "opens")],
        "default",
        "spring",
        ("spring", "vip"),
        {"user_id": "45829", "location_id": "111"},
    ),
    "sparkpost": Family(
        [
            (
                "X-MSYS-API",
                json.dumps(
                    {
                        "campaign_id": "my_campaign",
                        "metadata": {"has_pets": True, "pet_name": "Spot"},
                        "tags": ["cat", "dog"],
                        "options": {"open_tracking": False, "ip_pool": "broadcasts"},
                    }
                ),
            )
        ],
        "broadcasts",
        "my_campaign",
        ("cat", "dog"),
        {"has_pets": "true", "pet_name": "Spot"},
    ),
    "mailjet": Family([("X-Mailjet-Campaign", "spring"), ("X-MJ-CustomID", "c7")], "default", "spring", (), {"X-MJ-CustomID": "c7"}),
    "brevo": Family(
        [("X-Mailin-Tag", "spring"), ("X-Mailin-custom", "a:1|b:2")], "default", "spring", ("spring",), {"X-Mailin-Custom": "a:1|b:2"}
    ),
    "mailtrap": Family(
        [("X-MT-Category", "spring"), ("X-MT-Custom-Variables", '{"user_id": "45982"}')],
        "default",
        "spring",
        ("spring",),
        {"user_id": "45982"},
    ),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Sandbox]]:
    with internet([Mailboxes(name="reader", domains=["reader.test"])]) as (sandbox, addresses):
        folder: Path = tmp_path_factory.mktemp("labels")
        with serving(House(folder, addresses, GROUND + OPEN_ACCOUNT + STREAMS)) as house:
            yield house, sandbox
            assert house.complaints() == []


def send(house: House, recipient: str, fields: list[tuple[str, str]], text: str = "Hello.") -> str:
    """As an application does it; the text of the answer."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "News <news@shop.test>", recipient, "Hello"
    for name, value in fields:
        message[name] = value
    message.set_content(text)
    with house.client() as client:
        client.mail("news@shop.test")
        client.rcpt(recipient)
        code, answer = client.data(message.as_bytes(policy=message.policy.clone(linesep="\r\n")))
    assert code == 250, answer
    return answer.decode()


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_of_an_unchanged_application_are_on_its_events(stage: tuple[House, Sandbox], name: str) -> None:
    house, sandbox = stage
    family = FAMILIES[name]
    recipient = f"{name.replace(' ', '-')}@reader.test"
    send(house, recipient, family.fields)
    for event in house.ended(recipient):
        assert (event.stream, event.campaign, event.tags, event.metadata) == (family.stream, family.campaign, family.tags, family.metadata)
    received = next(one for one in sandbox.messages() if recipient in one.recipients)
    header = received.content.partition(b"\r\n\r\n")[0].lower()
    assert [name for name, _ in family.fields if name.lower().encode() in header] == []


def kinds(events: list[Event]) -> list[EventKind]:
    return [event.kind for event in events]


def test_a_message_waits_for_its_send_at(stage: tuple[House, Sandbox]) -> None:
    house, _ = stage
    begun = time.time()
    send(house, "later@reader.test", [("X-MC-SendAt", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(begun + 2)))])
    accepted, delivered = house.ended("later@reader.test")
    assert kinds([accepted, delivered]) == [EventKind.ACCEPTED, EventKind.DELIVERED]
    assert delivered.at >= accepted.next_attempt_at > begun


def test_the_queue_says_what_waits_for_its_send_at_and_its_labels(stage: tuple[House, Sandbox]) -> None:
    house, _ = stage
    send(house, "tomorrow@reader.test", [("X-Send-At", "1d"), ("X-Tags", "vip"), ("X-Contact-Id", "c-17")])
    (waiting,) = house.call("queue.list", domain="reader.test", limit=10)["deliveries"]
    assert (waiting["recipient"], waiting["waits"], waiting["attempts"]) == ("tomorrow@reader.test", "its send-at", 0)
    house.call("queue.retry", domain="reader.test", dry_run=False)
    shown = house.call("queue.show", id=waiting["delivery"])
    assert (shown["labels"]["tags"], shown["labels"]["contact"], shown["attempts"]) == (["vip"], "c-17", 0)
    house.call("queue.cancel", domain="reader.test", dry_run=False)
    assert kinds(house.ended("tomorrow@reader.test")) == [EventKind.ACCEPTED, EventKind.CANCELLED]


def test_a_repeated_key_is_answered_with_the_first_message(stage: tuple[House, Sandbox]) -> None:
    house, sandbox = stage
    key = ("X-Idempotency-Key", "order 17")
    first = send(house, "once@reader.test", [key]).split()[-1]
    assert send(house, "once@reader.test", [key]).endswith(f"queued as {first} before, not sent again")
    assert send(house, "once@reader.test", [key, ("X-Campaign", "other")]).endswith(f"queued as {first} before, not sent again")
    assert len(house.ended("once@reader.test")) == 2
    assert len([one for one in sandbox.messages() if "once@reader.test" in one.recipients]) == 1
    send(house, "once@reader.test", [key], text="Another text.")
    lines = house.until(lambda: house.logged("repeated")[2:] and house.logged("repeated"), "the log")
    assert [(line["another_body"], line["first"]) for line in lines] == [(False, first), (False, first), (True, first)]
    with urllib.request.urlopen(f"http://127.0.0.1:{house.http}/metrics", timeout=30) as page:
        counted = [line for line in page.read().decode().splitlines() if line.startswith("mailwright_recipients_repeated_total{")]
    assert sorted(line.partition("{")[2] for line in counted) == [
        'body="another",stream="default"} 1.0',
        'body="same",stream="default"} 2.0',
    ]


def test_what_cannot_be_read_is_said_once_and_the_mail_goes_out(stage: tuple[House, Sandbox]) -> None:
    house, _ = stage
    for recipient in ("odd1@reader.test", "odd2@reader.test"):
        send(house, recipient, [("X-SMTPAPI", '{"category": '), ("X-CRM-Person", "c-17"), ("X-Engagement", "12 days")])
        events = house.ended(recipient)
        assert kinds(events) == [EventKind.ACCEPTED, EventKind.DELIVERED]
        assert [(event.contact, event.engagement) for event in events] == [("c-17", "12d")] * 2
    lines = [line for line in house.logged("label ignored") if line["label"] == "tags"]
    assert [(line["header"], line["why"]) for line in lines] == [("X-SMTPAPI", "malformed")]
