"""Reports to senders, whole: a client asks by RFC 3461, providers of the sandbox refuse or delay, the sender's own MX gets the report.

What that MX got is read by our parser and by Python's, and its signature is checked by dkimpy.
"""

import email
import email.policy
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dkim
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from bounce.parse import parse
from bounce.report import Action, Report
from gateway.compose.dkim import load_key
from gateway.compose.generate import generate, record
from mail.event import EventKind
from mail.outcome import Category
from sandbox.scenario import Mailboxes, Name, Temper
from tests.end_to_end.house import GROUND, House, internet, letter, serving

HOME = "127.7.31.1"

CONFIGURATION = """
[[account]]
name = "default"
[[account]]
name = "quiet"
networks = ["127.7.32.0/24"]
notify = "events"
[[domain]]
name = "shop.test"
dkim = [{ selector = "s1", file = "keys/shop.test.s1.pem" }]
[notices]
gather = "500ms"
delay = "1500ms"
[default_provider]
name = "default"
pause = "200ms"
[[stream]]
name = "default"
[stream.retry]
first = "400ms"
growth = 1.0
longest = "400ms"
rest = "200ms"
"""


class Postbox:
    """The MX of shop.test: keeps what it gets."""

    def __init__(self, port: int) -> None:
        self.mail: list[tuple[str, str, bytes]] = []
        self._lock = threading.Lock()
        self._controller = Controller(self, hostname=HOME, port=port, ready_timeout=20)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        with self._lock:
            self.mail.append((envelope.mail_from or "", envelope.rcpt_tos[0], envelope.content))
        return "250 2.0.0 taken"

    def reports(self, sender: str) -> list[Report]:
        """What was reported to `sender`."""
        with self._lock:
            found = [parse(content) for _, recipient, content in self.mail if recipient == sender]
        return [report for report in found if report is not None]

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


@dataclass(frozen=True)
class Stage:
    """A gateway, and the MX of its sending domain."""

    house: House
    postbox: Postbox
    folder: Path

    def send(self, sender: str, to: list[str], mail: tuple[str, ...] = (), rcpt: tuple[str, ...] = (), source: str = "127.0.0.1") -> None:
        """A message from `sender` with parameters of MAIL and RCPT."""
        with self.house.client(source) as client:
            assert client.has_extn("dsn")
            assert client.sendmail(sender, to, letter(to[0], sender=sender), mail, rcpt) == {}

    def reported(self, sender: str, number: int = 1) -> list[Report]:
        """Reports to `sender`, once there are so many."""
        return self.house.until(
            lambda: [report for reports in [self.postbox.reports(sender)] if len(reports) >= number for report in reports],
            f"{number} reports to {sender}",
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("notices")
    generate("shop.test", "s1", "rsa-sha256", 2048, folder / "keys")
    providers = [
        Mailboxes(name="bad", domains=["bad.test"], temper=[Temper(kind="unknown-user")]),
        Mailboxes(name="good", domains=["good.test"]),
        Mailboxes(name="slow", domains=["slow.test"], temper=[Temper(kind="trouble")]),
    ]
    names = [Name(name="shop.test", records=["MX 10 mx.shop.test."]), Name(name="mx.shop.test", records=[f"A {HOME}"])]
    with internet(providers, names) as (_, addresses):
        postbox = Postbox(addresses.smtp_port)
        postbox.start()
        try:
            with serving(House(folder, addresses, GROUND + CONFIGURATION)) as house:
                yield Stage(house, postbox, folder)
                assert house.complaints() == []
        finally:
            postbox.stop()


def test_recipients_that_fail_together_are_told_in_one_signed_report(stage: Stage) -> None:
    sender = "fail@shop.test"
    stage.send(
        sender, ["a@bad.test", "b@good.test", "c@bad.test"], ("RET=FULL", "ENVID=QQ+2B1"), ("NOTIFY=FAILURE", "ORCPT=rfc822;x@y.test")
    )
    (report,) = stage.reported(sender)
    assert sorted(one.address for one in report.recipients) == ["a@bad.test", "c@bad.test"]
    assert {(one.action, one.status[0], one.category, one.original_address) for one in report.recipients} == {
        (Action.FAILED, "5", Category.BAD_MAILBOX, "x@y.test")
    }
    ((envelope_sender, _, content),) = [mail for mail in stage.postbox.mail if mail[1] == sender]
    assert envelope_sender == "<>"
    assert _signed(stage, content)
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert (mail["To"], mail["Auto-Submitted"], mail.get_content_type()) == ("fail@shop.test", "auto-replied", "multipart/report")
    _, status, returned = mail.iter_parts()
    assert next(iter(status.iter_parts()))["Original-Envelope-Id"] == "QQ+1"
    assert "Hello." in next(iter(returned.iter_parts())).get_content()
    (event,) = [event for event in stage.house.ended(sender) if event.kind is EventKind.DELIVERED]
    assert (event.stream, event.account, event.sender) == ("notices", "default", "")
    told = [line for line in stage.house.logged("sender told") if line["sender"] == sender]
    assert [(line["action"], line["recipients"], line["result"]) for line in told] == [("failed", 2, "sent")]


def _signed(stage: Stage, content: bytes) -> bool:
    """Whether the signature of the sending domain is good."""
    key = load_key((stage.folder / "keys" / "shop.test.s1.pem").read_bytes(), "shop.test", "s1")
    published = {b"s1._domainkey.shop.test.": record(key.private).encode()}
    return bool(dkim.verify(content, dnsfunc=lambda name, timeout=5: published.get(name)))


def test_success_is_told_as_relayed_by_a_next_hop_without_dsn(stage: Stage) -> None:
    sender = "success@shop.test"
    stage.send(sender, ["a@good.test"], (), ("NOTIFY=SUCCESS",))
    (report,) = stage.reported(sender)
    assert [(one.address, one.action, one.status[0]) for one in report.recipients] == [("a@good.test", Action.RELAYED, "2")]


def test_a_long_delay_is_told_once(stage: Stage) -> None:
    sender = "delay@shop.test"
    stage.send(sender, ["a@slow.test"])
    stage.reported(sender)
    deferred = len(stage.house.history("a@slow.test"))
    stage.house.seen("a@slow.test", lambda history: len(history) >= deferred + 4)
    (report,) = stage.reported(sender)
    assert [(one.address, one.action, one.status[0]) for one in report.recipients] == [("a@slow.test", Action.DELAYED, "4")]


def test_who_asked_for_nothing_or_may_not_be_told_hears_nothing(stage: Stage) -> None:
    stage.send("never@shop.test", ["never@bad.test"], (), ("NOTIFY=NEVER",))
    stage.send("silent@shop.test", ["silent@good.test"])
    stage.send("quiet@shop.test", ["quiet@bad.test"], (), (), "127.7.32.1")
    stage.send("late@shop.test", ["late@bad.test"])
    for recipient in ("never@bad.test", "silent@good.test", "quiet@bad.test", "late@bad.test"):
        stage.house.ended(recipient)
    stage.reported("late@shop.test")  # whatever was written before it was told before it
    heard = {recipient for _, recipient, _ in stage.postbox.mail}
    assert not heard & {"never@shop.test", "silent@shop.test", "quiet@shop.test"}
