"""Machine-readable reports: what RFC 3464 says, and what arrives instead."""

import base64

import pytest

from bounce.dsn import address_of, groups
from bounce.parse import parse
from bounce.report import Action, Kind, Report
from mail.outcome import Category, Fault

HEAD = """\
Return-Path: <>
From: Mail Delivery System <MAILER-DAEMON@mx.firm.example>
To: news@sender.example
Subject: Delivery Status Notification
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

--=_b
Content-Type: text/plain; charset=us-ascii

A report.

--=_b
"""
RETURNED = """
--=_b
Content-Type: text/rfc822-headers

Return-Path: <b+aaaabbbbccccddddeeeeffffgggghhhh2@bounce.sender.example>
Message-ID: <77@sender.example>
To: someone@firm.example

--=_b--
"""


def dsn(status: str, part_header: str = "Content-Type: message/delivery-status", returned: str = RETURNED) -> bytes:
    return (HEAD + part_header + "\n\n" + status + returned).replace("\n", "\r\n").encode()


def one(
    action: str, status: str = "5.1.1", diagnostic: str = "smtp; 550 5.1.1 User unknown", address: str = "rfc822; someone@firm.example"
) -> str:
    fields = f"Reporting-MTA: dns; mx.firm.example\n\nFinal-Recipient: {address}\nAction: {action}\nStatus: {status}\n"
    return fields + (f"Diagnostic-Code: {diagnostic}\n" if diagnostic else "")


def read(raw: bytes) -> Report:
    report = parse(raw)
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", Kind.BOUNCE),
        ("delayed", Kind.DELAY),
        ("delivered", Kind.DELIVERED),
        ("relayed", Kind.DELIVERED),
        ("expanded", Kind.DELIVERED),
    ],
)
def test_every_action_of_the_standard(action: str, kind: Kind) -> None:
    status = {"failed": "5.1.1", "delayed": "4.4.1"}.get(action, "2.1.5")
    report = read(dsn(one(action, status, "" if status.startswith("2") else f"smtp; {status[0]}50 {status} told so")))
    assert report.kind is kind
    assert report.recipients[0].action is Action(action)
    assert report.recipients[0].hard == (action == "failed")


@pytest.mark.parametrize("word", ["Failed", "failure", "error", "failed (permanently)", "FAILED; told so"])
def test_other_words_for_failed(word: str) -> None:
    assert read(dsn(one(word))).recipients[0].action is Action.FAILED


def test_a_missing_action_follows_the_status_class() -> None:
    fields = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; someone@firm.example\nStatus: 4.4.1\n"
    assert read(dsn(fields)).kind is Kind.DELAY


def test_the_message_and_its_token_are_named() -> None:
    report = read(dsn(one("failed")))
    assert report.original_message_id == "<77@sender.example>"
    assert report.token == "b+aaaabbbbccccddddeeeeffffgggghhhh2"


def test_several_recipients_keep_their_own_fate() -> None:
    fields = (
        "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a@firm.example\nAction: failed\nStatus: 5.1.1\n\n"
        "Final-Recipient: rfc822; b@firm.example\nAction: delayed\nStatus: 4.2.2\n\n"
        "Final-Recipient: rfc822; c@firm.example\nAction: delivered\nStatus: 2.1.5\n"
    )
    report = read(dsn(fields))
    assert [(entry.address[0], entry.action, entry.hard) for entry in report.recipients] == [
        ("a", Action.FAILED, True),
        ("b", Action.DELAYED, False),
        ("c", Action.DELIVERED, False),
    ]


@pytest.mark.parametrize("gap", ["", "\n", "\n\n\n"], ids=["none", "one", "three"])
def test_groups_without_an_empty_line_and_with_three(gap: str) -> None:
    fields = f"Reporting-MTA: dns; mx\n{gap}Final-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n{gap}"
    assert len(groups(fields + "Final-Recipient: rfc822; b@x.example\nAction: failed\nStatus: 5.1.1\n").recipients) == 2


def test_the_order_of_fields_in_a_group_is_free() -> None:
    addresses = "Final-Recipient: rfc822; a@x.example\nOriginal-Recipient: rfc822; b@x.example\n"
    fields = f"Reporting-MTA: dns; mx\n\nAction: failed\n{addresses}Status: 5.3.4\n"
    assert [group["status"] for group in groups(fields).recipients] == ["5.3.4"]


def test_status_parts_in_base64_and_quoted_printable() -> None:
    encoded = base64.encodebytes(one("failed").encode()).decode()
    header = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64"
    assert read(dsn(encoded, header)).recipients[0].address == "someone@firm.example"
    quoted = one("failed").replace("someone", "some=\none").replace("5.1.1", "5=2E1.1")
    header = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: quoted-printable"
    assert read(dsn(quoted, header)).recipients[0].status == "5.1.1"


def test_the_international_form_is_read() -> None:
    fields = one("failed", address="utf-8; andr\\x{E9}@firm.example")
    report = read(dsn(fields, "Content-Type: message/global-delivery-status"))
    assert report.recipients[0].address == "andré@firm.example"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; user@x.example", "user@x.example"),
        ("RFC822;<user@x.example>", "user@x.example"),
        ("rfc822;user+2Btag@x.example", "user+tag@x.example"),
        ("user@x.example", "user@x.example"),
        ("local; user@x.example (expanded)", "user@x.example"),
        ('rfc822; "a user"@x.example', '"a user"@x.example'),
        ("unknown; nobody", "nobody"),
        ("system;<>", ""),
    ],
)
def test_addresses_in_every_dress(value: str, address: str) -> None:
    assert address_of(value) == address


def test_an_unusable_final_recipient_gives_way_to_the_original_one() -> None:
    fields = "Final-Recipient: system;<>\nOriginal-Recipient: rfc822; b@x.example\nAction: failed\nStatus: 5.1.1\n"
    assert read(dsn(fields)).recipients[0].address == "b@x.example"


def test_the_words_of_the_host_are_believed_before_the_status() -> None:
    entry = read(dsn(one("failed", "5.0.0", "smtp; 552 5.2.2 over quota"))).recipients[0]
    assert (entry.status, entry.category, entry.hard) == ("5.2.2", Category.MAILBOX_FULL, False)


def test_a_block_of_our_address_is_not_the_recipients_fault() -> None:
    entry = read(dsn(one("failed", "5.1.1", "smtp; 550 5.1.1 Rejected, 192.0.2.1 is listed by zen.spamhaus.org"))).recipients[0]
    assert (entry.fault, entry.hard, entry.suppress) == (Fault.SENDER_IP, False, False)


def test_a_transient_status_is_final_when_the_action_says_so_and_proves_no_dead_address() -> None:
    entry = read(dsn(one("failed", "4.4.7", "smtp; 450 4.1.1 User unknown, expired"))).recipients[0]
    assert (entry.action, entry.hard) == (Action.FAILED, False)


def test_a_thousand_recipients() -> None:
    fields = "Reporting-MTA: dns; mx\n" + "".join(
        f"\nFinal-Recipient: rfc822; u{number}@x.example\nAction: failed\nStatus: 5.1.1\n" for number in range(1000)
    )
    assert len(read(dsn(fields)).recipients) == 1000


def test_what_a_report_returns_is_not_walked_into() -> None:
    inner = dsn(one("failed", address="rfc822; inner@firm.example")).decode().replace("=_b", "=_c").replace("\r\n", "\n")
    raw = dsn(one("failed", address="rfc822; outer@firm.example"), returned=f"\n--=_b\nContent-Type: message/rfc822\n\n{inner}\n--=_b--\n")
    assert [entry.address for entry in read(raw).recipients] == ["outer@firm.example"]


def test_lost_boundaries_and_a_byte_order_mark_do_not_matter() -> None:
    raw = dsn(one("failed"))
    cut = raw[: raw.index(b"Content-Type: text/rfc822-headers")]
    for damaged in (b"\xef\xbb\xbf" + raw, raw.replace(b'; boundary="=_b"', b""), cut, raw.replace(b"\r\n", b"\r")):
        assert read(damaged).recipients[0].address == "someone@firm.example"


def test_a_receipt_is_no_bounce() -> None:
    raw = dsn(
        "Final-Recipient: rfc822; someone@firm.example\nDisposition: manual-action/MDN-sent-manually; displayed\n",
        "Content-Type: message/disposition-notification",
    )
    report = read(raw.replace(b"report-type=delivery-status", b"report-type=disposition-notification"))
    assert (report.kind, report.recipients) == (Kind.READ_RECEIPT, ())


def test_a_complaint_that_wraps_a_report_is_a_complaint() -> None:
    raw = dsn(
        "Feedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\n",
        "Content-Type: message/feedback-report",
        f"\n--=_b\n{one('failed')}\n--=_b--\n",
    )
    assert read(raw).kind is Kind.FEEDBACK
