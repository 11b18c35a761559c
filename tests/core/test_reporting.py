"""What the core says becomes counts and lines: an end is counted as the end it is."""

import json
from pathlib import Path

from prometheus_client import generate_latest

from gateway.calls import AttemptFacts, Lane, Message
from gateway.core.held import Held
from gateway.core.reporting import Reporting
from gateway.observe import lines
from gateway.observe.metrics import Metrics
from mail.address import Address
from mail.outcome import Category, Deferred, Delivered, Fault, Outcome, Phase, Unsure, Verdict
from mail.reply import Reply

SENDER = Address("news@shop.example", "shop.example")
MESSAGE = Message(account="crm", stream="default", sender=SENDER, from_domain="shop.example", received_at=100.0, size=10, id=1)
FACTS = AttemptFacts(started=110.0, ended=112.0, lane=Lane("s1", "google"), host="mx.google.example")
FULL = Verdict(Reply(452, "mailbox full", "4.2.2"), Category.MAILBOX_FULL, Fault.RECIPIENT, "full", Phase.RCPT)


def _told(outcome: Outcome, became: str, file: Path) -> tuple[str, list[str]]:
    """The page and the events of the lines after one attempt."""
    metrics = Metrics()
    with file.open("wb") as stream:
        lines.configure(stream=stream)
        held = Held(7, MESSAGE, Address("ann@gmail.example", "gmail.example"), "b+x@gateway.example", 1, 1e9)
        Reporting(metrics).attempted(held, "google", outcome, FACTS, became, 0.0)
        lines.close()
    return generate_latest(metrics.registry).decode(), [json.loads(line)["event"] for line in file.read_bytes().splitlines()]


def test_a_delivery_that_expires_at_its_last_attempt_is_counted_as_expired_beside_the_attempt(tmp_path: Path) -> None:
    page, events = _told(Deferred(FULL), "expired", tmp_path / "log")
    for outcome in ("deferred", "expired"):
        assert f'mailwright_outcomes_total{{category="mailbox-full",outcome="{outcome}",provider="google",stream="default"}} 1.0' in page
    assert events == ["attempt"]


def test_a_deferral_is_no_end(tmp_path: Path) -> None:
    page, _ = _told(Deferred(FULL), "deferred", tmp_path / "log")
    assert 'outcome="expired"' not in page


def test_a_delivery_is_measured_from_acceptance(tmp_path: Path) -> None:
    page, _ = _told(Delivered(Reply(250, "ok")), "delivered", tmp_path / "log")
    assert 'mailwright_delivery_seconds_sum{stream="default"} 12.0' in page


def test_a_lost_reply_to_the_final_dot_has_a_line_of_its_own(tmp_path: Path) -> None:
    _, events = _told(Unsure(FULL), "deferred", tmp_path / "log")
    assert events == ["attempt", "duplicate possible"]


def test_an_end_without_an_attempt_says_why(tmp_path: Path) -> None:
    metrics = Metrics()
    with (tmp_path / "log").open("wb") as stream:
        lines.configure(stream=stream)
        held = Held(7, MESSAGE, Address("ann@gmail.example", "gmail.example"), "b+x@gateway.example", 1, 1e9)
        Reporting(metrics).ended(held, "google", "cancelled", "wrong price")
        lines.close()
    (line,) = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert (line["event"], line["state"], line["reason"]) == ("ended", "cancelled", "wrong price")
    page = generate_latest(metrics.registry).decode()
    assert 'mailwright_outcomes_total{category="",outcome="cancelled",provider="google",stream="default"} 1.0' in page
