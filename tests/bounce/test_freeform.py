"""Reports for people, one for each family: the failed addresses are found, the bystanders are not, and the words are understood."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from bounce.parse import parse
from bounce.patterns import patterns
from bounce.report import Kind

FORMS = tomllib.loads((Path(__file__).parent / "free_forms.toml").read_text())["form"]


def message(form: dict[str, str], newline: str = "\r\n") -> bytes:
    kind = "html" if form.get("headers") == "X-Test: html" else "plain"
    head = [
        "Return-Path: <>",
        "Date: Mon, 06 Jul 2026 09:05:00 +0200",
        f"From: {form['from']}",
        "To: news@sender.example",
        f"Subject: {form['subject']}",
        *([form["headers"]] if "headers" in form else []),
        f"Content-Type: text/{kind}; charset=utf-8",
    ]
    return ("\n".join(head) + "\n\n" + form["body"].lstrip("\n")).replace("\n", newline).encode()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["name"])
@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"], ids=["crlf", "cr", "lf"])
def test_the_family_is_read(form: dict[str, Any], newline: str) -> None:
    report = parse(message(form, newline))
    assert report is not None
    assert [entry.address for entry in report.recipients] == form["wanted"]
    assert report.kind is (Kind.DELAY if form.get("action") == "delayed" else Kind.BOUNCE)
    if "category" in form:
        assert {entry.category for entry in report.recipients} == {form["category"]}


def test_the_table_of_forms_loads() -> None:
    assert "qmail" in patterns().formats


def test_a_report_quoted_in_a_persons_answer_is_no_report() -> None:
    form = {
        "from": "A Person <person@firm.example>",
        "subject": "Re: failure notice",
        "body": "Why did I get this?\n\n> <me@firm.example>:\n> user unknown\n",
    }
    report = parse(message(form))
    assert report is not None
    assert report.kind is Kind.REPLY


def test_a_postmaster_who_answers_is_a_person() -> None:
    form = {
        "from": "Postmaster Team <postmaster@isp.example>",
        "subject": "Re: delisting of 192.0.2.1",
        "body": "Done. The mailbox x@isp.example does not exist, that was one of your refusals.\n",
        "headers": "In-Reply-To: <1@sender.example>",
    }
    report = parse(message(form).replace(b"Return-Path: <>", b"Return-Path: <postmaster@isp.example>"))
    assert report is not None
    assert report.kind is Kind.REPLY


def test_what_a_daemon_says_that_nobody_understands_is_nobody_s_reply() -> None:
    form = {"from": "MAILER-DAEMON@firm.example", "subject": "Hinweis", "body": "Wir wissen auch nicht weiter.\n"}
    assert parse(message(form)) is None


def test_a_report_that_names_nobody_is_about_the_only_recipient_of_what_it_returns() -> None:
    copy = "----- Original message -----\n\nReceived: by mx\nMessage-ID: <1@sender.example>\nTo: gone@firm.example\n"
    body = "Your message could not be delivered.\n\n" + copy
    report = parse(message({"from": "postmaster@firm.example", "subject": "Undeliverable", "body": body}))
    assert report is not None
    assert [entry.address for entry in report.recipients] == ["gone@firm.example"]
    assert report.original_message_id == "<1@sender.example>"


def test_the_token_of_the_return_path_is_found() -> None:
    raw = message(FORMS[0]).replace(b"To: news@sender.example", b"To: <B+aaaabbbbccccddddeeeeffffgggghhhh2@bounce.sender.example>", 1)
    report = parse(raw)
    assert report is not None
    assert report.token == "b+aaaabbbbccccddddeeeeffffgggghhhh2"


def test_a_field_of_fifty_failed_recipients_may_not_be_all() -> None:
    addresses = [f"u{number}@firm.example" for number in range(60)]
    field = "X-Failed-Recipients: " + ",\n ".join(addresses[:50])
    lines = "".join(f"  {address}\n    Unrouteable address\n" for address in addresses)
    body = f"This message was created automatically by mail delivery software.\n\nThe following address(es) failed:\n\n{lines}"
    report = parse(message({"from": "Mailer-Daemon@firm.example", "subject": "Mail delivery failed", "headers": field, "body": body}))
    assert report is not None
    assert [entry.address for entry in report.recipients] == addresses
