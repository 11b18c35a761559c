"""Who is told what: only owners, never about reports and automatic answers, and as NOTIFY says."""

import pytest

from bounce.report import Action
from config.settings import Settings
from gateway.notices.policy import NoticePolicy, silence
from mail.message import read_header
from tests.notices.material import message

FAILED, DELAYED, RELAYED = Action.FAILED, Action.DELAYED, Action.RELAYED
POLICY = NoticePolicy(
    Settings.model_validate(
        {
            "domain": [{"name": "shop.example"}, {"name": "*.bank.example"}],
            "account": [
                {"name": "shop", "domains": ["shop.example"]},
                {"name": "silent", "domains": ["shop.example"], "notify": "events"},
                {"name": "all", "notify": "dsn"},
                {"name": "any", "domains": ["any"]},
            ],
            "listener": [],
        }
    )
)


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ("", {FAILED, DELAYED}),
        ("NEVER", set()),
        ("SUCCESS", {RELAYED}),
        ("FAILURE", {FAILED}),
        ("DELAY", {DELAYED}),
        ("SUCCESS,FAILURE,DELAY", {FAILED, DELAYED, RELAYED}),
    ],
)
def test_notify_says_what_is_told(notify: str, told: set[Action]) -> None:
    assert {action for action in (FAILED, DELAYED, RELAYED) if POLICY.wants(message(), notify, action)} == told


@pytest.mark.parametrize(
    ("account", "sender", "told"),
    [
        ("shop", "news@shop.example", True),
        ("shop", "news@sub.shop.example", False),
        ("shop", "victim@other.example", False),
        ("shop", "", False),
        ("silent", "news@shop.example", False),
        ("gone", "news@shop.example", False),
        ("all", "x@a.bank.example", True),
        ("any", "news@shop.example", True),
        ("any", "victim@other.example", False),
    ],
)
def test_only_senders_in_domains_of_the_account_are_told(account: str, sender: str, told: bool) -> None:
    about = message(sender=sender)
    assert POLICY.may_be_told(account, about.sender) is told


@pytest.mark.parametrize(
    ("field", "asked", "reason"),
    [
        ("", False, ""),
        ("Auto-Submitted: no", False, ""),
        ("Auto-Submitted: auto-generated", False, "auto-submitted"),
        ("Auto-Submitted: Auto-Generated (cron)", True, ""),
        ("Auto-Submitted: auto-replied", True, "auto-submitted"),
        ("Auto-Submitted: auto-notified; owner-email=x@y", True, "auto-submitted"),
        ("Auto-Submitted: something-new", True, "auto-submitted"),
        ("Auto-Submitted: (vacation) auto-replied", True, "auto-submitted"),
        ("Auto-Submitted: (by hand)\r\n (indeed) no", False, ""),
        ("Auto-Submitted: ((a) b) no", True, "auto-submitted"),
        ("Auto-Submitted:", False, ""),
        ("Content-Type: (c) multipart/report; boundary=x", True, "report"),
        ("Auto-Submitted: no\r\nauto-submitted: auto-replied", True, "auto-submitted"),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=x", True, "report"),
        ("Content-Type: MULTIPART/REPORT", True, "report"),
        ("Content-Type: text/plain", False, ""),
    ],
)
def test_reports_and_automatic_mail_are_not_answered(field: str, asked: bool, reason: str) -> None:
    assert silence(read_header(f"Subject: x\r\n{field}\r\n\r\nbody".encode()), asked) == reason
