"""Complaints: what RFC 5965 says, and what operators send."""

import base64
import io
import json
from pathlib import Path

import pytest

from fbl.command import parse_files
from fbl.parse import parse
from fbl.report import Feedback, FeedbackType

TOKEN = "b+aaaabbbbccccddddeeeeffffgggghhhh2"
HEAD = """\
From: feedback@operator.example
To: fbl@sender.example
Subject: complaint about message from 192.0.2.1
Content-Type: multipart/report; report-type=feedback-report; boundary="=_b"

--=_b
Content-Type: text/plain

This is an email abuse report.

"""
ORIGINAL = f"""\
Return-Path: <{TOKEN}@bounce.sender.example>
From: news@sender.example
To: someone@operator.example
Subject: Offer
Message-ID: <9@sender.example>
CFBL-Feedback-ID: aQ{"x-9_" * 20}
"""
FIELDS = """\
Feedback-Type: abuse
User-Agent: Operator-FBL/2.0
Version: 1
Original-Mail-From: <news@sender.example>
Original-Rcpt-To: <someone@operator.example>
Arrival-Date: Mon, 06 Jul 2026 09:00:00 +0200
Source-IP: 192.0.2.1
Reported-Domain: sender.example
"""


def arf(fields: str = FIELDS, original: str = ORIGINAL, kind: str = "message/feedback-report", enclosed: str = "message/rfc822") -> bytes:
    parts = (
        f"--=_b\nContent-Type: {kind}\n\n{fields}\n"
        + (f"--=_b\nContent-Type: {enclosed}\n\n{original}\nHello\n" if original else "")
        + "--=_b--\n"
    )
    return (HEAD + parts).replace("\n", "\r\n").encode()


def read(raw: bytes) -> Feedback:
    found = parse(raw)
    assert found is not None
    return found


def test_a_report_by_the_book() -> None:
    found = read(arf())
    assert found.feedback_type is FeedbackType.ABUSE
    assert found.recipients == ("someone@operator.example",)
    assert found.token == TOKEN
    assert found.sealed == ("aQ" + "x-9_" * 20,)
    assert found.original_message_id == "<9@sender.example>"
    assert found.original_mail_from == "news@sender.example"
    assert (found.reported_domain, found.source_ip) == ("sender.example", "192.0.2.1")
    assert (found.arrival_date, found.user_agent) == ("2026-07-06T07:00:00Z", "Operator-FBL/2.0")


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("abuse", FeedbackType.ABUSE),
        ("ABUSE", FeedbackType.ABUSE),
        ("fraud", FeedbackType.FRAUD),
        ("virus", FeedbackType.VIRUS),
        ("not-spam", FeedbackType.NOT_SPAM),
        ("opt-out", FeedbackType.OPT_OUT),
        ("auth-failure", FeedbackType.AUTH_FAILURE),
        ("other", FeedbackType.OTHER),
        ("something-new", FeedbackType.OTHER),
    ],
)
def test_types_are_kept_apart(written: str, kind: FeedbackType) -> None:
    assert read(arf(FIELDS.replace("abuse", written, 1))).feedback_type is kind


def test_every_recipient_that_is_named() -> None:
    fields = FIELDS + "Original-Rcpt-To: <other@operator.example>\n"
    assert read(arf(fields)).recipients == ("someone@operator.example", "other@operator.example")


def test_addresses_blacked_out_are_named_as_such() -> None:
    fields = "Feedback-Type: abuse\nUser-Agent: x\nVersion: 1\nRedacted-Address: redacted\nRedacted-Address: redacted@\n"
    found = read(arf(fields, ORIGINAL.replace("someone@", "redacted@")))
    assert found.redacted == ("redacted@operator.example",)
    assert found.token == TOKEN


@pytest.mark.parametrize("date", ["yesterday", "99 Foo 2026", "", "Thu, 08 Mar 99999 14:00:00 EDT", "Mon, 32 Jul 2026 25:61:00 +9999"])
def test_a_date_that_is_none_costs_only_itself(date: str) -> None:
    found = read(arf(FIELDS.replace("Mon, 06 Jul 2026 09:00:00 +0200", date)))
    assert (found.arrival_date, found.source_ip) == ("", "192.0.2.1")


@pytest.mark.parametrize(("written", "ip"), [("x.x.x.x", ""), ("[192.0.2.1]", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("", "")])
def test_an_ip_address_that_is_none_costs_only_itself(written: str, ip: str) -> None:
    assert read(arf(FIELDS.replace("192.0.2.1", written))).source_ip == ip


@pytest.mark.parametrize("enclosed", ["message/rfc822", "text/rfc822-headers", "text/rfc822-header"])
def test_the_message_in_every_dress(enclosed: str) -> None:
    assert read(arf(enclosed=enclosed)).original_message_id == "<9@sender.example>"


def test_without_the_message_the_report_still_counts() -> None:
    found = read(arf(original=""))
    assert (found.recipients, found.token) == (("someone@operator.example",), "")


def test_microsofts_new_form_has_neither_recipient_nor_body() -> None:
    fields = "Feedback-Type: abuse\nUser-Agent: Microsoft-JMRP/2.0\nVersion: 1\nSource-IP: 192.0.2.1\n"
    found = read(arf(fields, ORIGINAL.replace("To: someone@operator.example\n", ""), enclosed="text/rfc822-headers"))
    assert (found.recipients, found.token) == ((), TOKEN)


def test_microsofts_old_form_is_the_message_itself() -> None:
    raw = f"From: staff@hotmail.example\nTo: fbl@sender.example\nSubject: complaint\nContent-Type: message/rfc822\n\n{ORIGINAL}"
    raw += "X-HmXmrOriginalRecipient: someone@hotmail.example\n\nHello\n"
    found = read(raw.encode())
    assert (found.rule, found.recipients, found.token) == ("jmrp", ("someone@hotmail.example",), TOKEN)


def test_fields_in_a_text_part_and_in_base64() -> None:
    assert read(arf(kind="text/plain")).recipients == ("someone@operator.example",)
    encoded = base64.encodebytes(FIELDS.encode()).decode()
    assert read(arf(f"{encoded}\n", kind="message/feedback-report\nContent-Transfer-Encoding: base64")).source_ip == "192.0.2.1"


def test_a_byte_order_mark_and_bare_carriage_returns() -> None:
    assert read(b"\xef\xbb\xbf" + arf().replace(b"\r\n", b"\r")).source_ip == "192.0.2.1"


def test_a_complaint_that_only_says_so_and_encloses_the_message() -> None:
    raw = "From: staff@hotmail.example\nSubject: complaint about message from 192.0.2.1\nContent-Type: multipart/mixed; boundary=b\n\n"
    raw += f"--b\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--b--\n"
    found = read(raw.encode())
    assert (found.feedback_type, found.recipients, found.token) == (FeedbackType.ABUSE, ("someone@operator.example",), TOKEN)


def test_failed_authentication_in_prose() -> None:
    text = "A message claiming to be from you has failed the published DMARC\npolicy for your domain.\n\n"
    text += "  Sender Domain: sender.example\n"
    text += "  Sender IP Address: 192.0.2.1\n  Received Date: Mon, 06 Jul 2026 09:00:00 +0200\n\n"
    text += "------ This is a copy of the headers that were received ------\n\n" + ORIGINAL
    found = read(f"From: postmaster@mx.example\nSubject: DMARC Forensic Report\n\n{text}".encode())
    assert (found.feedback_type, found.reported_domain, found.source_ip) == (FeedbackType.AUTH_FAILURE, "sender.example", "192.0.2.1")
    assert (found.arrival_date, found.original_message_id) == ("2026-07-06T07:00:00Z", "<9@sender.example>")


def test_an_unsubscription_by_one_click_of_a_mail_program_is_an_opt_out() -> None:
    raw = f"From: someone@operator.example\nTo: {TOKEN}@out.sender.example\nSubject: unsubscribe\nX-Apple-Unsubscribe: true\n\nbye\n"
    found = read(raw.encode())
    assert (found.feedback_type, found.recipients, found.token) == (FeedbackType.OPT_OUT, ("someone@operator.example",), TOKEN)


def test_reports_as_json_of_both_generations() -> None:
    new = {
        "xarf_version": "4.0.0",
        "category": "messaging",
        "type": "spam",
        "source_identifier": "192.0.2.1",
        "smtp_from": "news@sender.example",
    }
    assert read(json.dumps(new).encode()).feedback_type is FeedbackType.ABUSE
    old = {"Version": "3", "Report": {"ReportType": "Spam", "SourceIp": "192.0.2.1", "SmtpMailFromAddress": "news@sender.example"}}
    found = read(json.dumps(old).encode())
    assert (found.source_ip, found.original_mail_from) == ("192.0.2.1", "news@sender.example")
    attached = (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: application/json; name=xarf.json\n\n"
        + json.dumps(old)
        + "\n--b--\n"
    )
    assert read(attached.encode()).rule == "xarf"


@pytest.mark.parametrize("text", [b"{", b'{"xarf_version": 4}', b'{"Report": []}', b'{"xarf_version":' + b"[" * 100_000, b'{"a": 1}'])
def test_json_that_is_no_report_is_none(text: bytes) -> None:
    assert parse(text) is None


def test_complaints_of_a_sending_service_as_json() -> None:
    told = {
        "notificationType": "Complaint",
        "complaint": {"complainedRecipients": [{"emailAddress": "a@x.example"}], "complaintFeedbackType": "abuse"},
    }
    raw = b"From: no-reply@sns.example\nSubject: AWS\nContent-Type: text/plain\n\n" + json.dumps(told).encode()
    assert read(raw).recipients == ("a@x.example",)


@pytest.mark.parametrize(
    "raw", [b"", b"Subject: hello\n\nI complain about abuse: feedback.\n", b"From: a@b.example\nSubject: Re: Offer\n\nstop\n"]
)
def test_nothing_else_is_taken_for_a_complaint(raw: bytes) -> None:
    assert parse(raw) is None


def test_one_json_object_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(arf())
    (tmp_path / "b").write_bytes(b"hello")
    out = io.StringIO()
    assert parse_files([tmp_path / "a", tmp_path / "b", tmp_path / "none"], out) == 1
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert set(first) == {
        *("file", "kind", "feedback_type", "recipients", "token", "original_message_id"),
        *("original_mail_from", "reported_domain", "source_ip", "arrival_date", "user_agent"),
    }
    assert (first["kind"], second["kind"], third["kind"]) == ("feedback", "other", "other")
