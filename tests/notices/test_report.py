"""The report: what we write is read back, by our own parser and by Python's, with the right recipient, status and category."""

import email
import email.policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.classify import classify
from bounce.parse import parse
from bounce.report import Action, Kind, Recipient
from gateway.notices.report import Returned, report
from gateway.notices.words import MOST_NAMED
from gateway.spool.notice import Notice
from mail.outcome import Category, Phase
from mail.reply import Reply, reply_from_lines
from tests.notices.material import LETTER, NOW, ORIGIN, made, message, notice

REPLIES = [
    "550 5.1.1 No such user here",
    "550 Requested action not taken: mailbox unavailable",
    "552 5.2.2 Mailbox full",
    "554 5.7.1 Message rejected as spam",
    "550 5.7.26 This mail is unauthenticated",
    "451 4.7.1 Greylisted, please try again later",
    "421 4.7.0 Too many connections from your IP",
    "452 4.2.2 The user is over quota",
    "451 4.3.0 Temporary system problem",
]


def only(raw: bytes) -> Recipient:
    """The one recipient that a report tells of."""
    found = parse(raw)
    assert found is not None
    (recipient,) = found.recipients
    return recipient


def parts(raw: bytes) -> list[Any]:
    """The three parts, as Python's email package finds them."""
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert (mail.get_content_type(), mail["Auto-Submitted"]) == ("multipart/report", "auto-replied")
    assert all(not part.defects for part in mail.walk())
    found = list(mail.iter_parts())
    assert len(found) == 3
    return found


@pytest.mark.parametrize("said", REPLIES)
def test_our_own_parser_reads_recipient_status_and_category(said: str) -> None:
    reply = reply_from_lines(int(said[:3]), [said[4:]])
    found = only(made(notice(said=said)))
    meant = classify(reply, "", Phase.RCPT)
    assert (found.address, found.action, found.remote_mta) == ("bob@example.net", Action.FAILED, "mx1.example.net")
    assert (found.status, found.category) == (reply.enhanced or f"{reply.code // 100}.0.0", meant.category)


def test_python_reads_the_fields_of_each_recipient() -> None:
    raw = made(notice(orcpt="rfc822;Bob+2Bx@example.org"), notice("zoe@example.net", "452 4.2.2 full"), envid="QQ+2B1")
    text, status, returned = parts(raw)
    groups: list[dict[str, str]] = [dict(group.items()) for group in status.iter_parts()]
    assert groups[0]["Reporting-MTA"] == "dns; mx.gateway.example"
    assert groups[0]["Original-Envelope-Id"] == "QQ+1"
    assert (groups[1]["Original-Recipient"], groups[1]["Final-Recipient"]) == ("rfc822; Bob+x@example.org", "rfc822; bob@example.net")
    assert (groups[2]["Action"], groups[2]["Status"], groups[2]["Diagnostic-Code"]) == ("failed", "4.2.2", "smtp; 452 4.2.2 full")
    assert "bob@example.net" in text.get_content()
    assert "5.1.1 No such user here" in text.get_content()
    assert returned.get_content_type() == "text/rfc822-headers"


def test_a_failure_returns_the_whole_message_where_that_was_asked_for_and_is_small_enough() -> None:
    assert parts(made(ret="FULL"))[2].get_content()["Subject"] == "hello"
    assert b"Hello Bob." in made(ret="FULL")
    for raw in (
        made(),
        made(ret="HDRS"),
        made(ret="FULL", requiretls=True),
        made(ret="FULL", most=len(LETTER) - 1),
        made(notice(action=Action.RELAYED, said="250 ok"), ret="FULL"),
        made(notice(action=Action.DELAYED, said="451 later", retry_until=NOW), ret="FULL"),
    ):
        assert parts(raw)[2].get_content_type() == "text/rfc822-headers"
        assert b"Hello Bob." not in raw


@pytest.mark.parametrize(
    "octets",
    [
        LETTER.replace(b"Hello", "H\xe9llo".encode()),
        LETTER + b"x" * 2000 + b"\r\n",
        LETTER.replace(b"hello", "h\xe9llo".encode()),
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe9\r\n--b--\r\n",
        b"Subject: x\r\n\r\n",
        b"no header at all\r\n",
        b"\r\n\xff\xfe",
        b"",
    ],
)
def test_whatever_is_returned_the_report_is_ascii_with_lines_that_may_be_sent(octets: bytes) -> None:
    raw = made(octets=octets, ret="FULL")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert only(raw).address == "bob@example.net"
    assert len(list(email.message_from_bytes(raw).get_payload())) == 3


def test_an_address_that_is_not_ascii_is_written_as_rfc_6533_asks() -> None:
    raw = made(notice("zo\xeb@ex\xe4mple.net", "550 5.1.1 no \xfcser", orcpt="utf-8;\\x{E9}@x.example"))
    assert b"Final-Recipient: utf-8; zo\\x{EB}@ex\\x{E4}mple.net\r\n" in raw
    assert b"Original-Recipient: utf-8; \\x{E9}@x.example\r\n" in raw
    found = only(raw)
    assert (found.address, found.original_address, found.status) == ("zo\xeb@ex\xe4mple.net", "\xe9@x.example", "5.1.1")


def test_a_reply_of_any_length_and_alphabet_fits_into_a_line() -> None:
    raw = made(notice(said="550 5.1.1 " + "\U0001f600" * 1000))
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert only(raw).status == "5.1.1"


def test_what_was_never_tried_has_expired() -> None:
    found = only(made(notice(said="", host="")))
    assert (found.status, found.category, found.hard) == ("4.4.7", Category.EXPIRED, False)


def test_words_of_our_own_are_no_reply_of_the_receiver() -> None:
    reply = Reply(550, "the domain does not exist", "5.1.2", synthetic=True)
    raw = report(ORIGIN, message(), [Notice(7, Action.FAILED, NOW, NOW, "bob@gone.example", reply=reply)], Returned(LETTER, 0))
    assert b"Diagnostic-Code: x-mailwright; 550 5.1.2 the domain does not exist\r\n" in raw
    assert b"Remote-MTA" not in raw
    found = only(raw)
    assert (found.status, found.category, found.hard) == ("5.1.2", Category.BAD_DOMAIN, True)


def test_a_delay_and_a_relay_are_no_bounces() -> None:
    delayed = made(notice(action=Action.DELAYED, said="451 4.3.0 later", retry_until=NOW + 86_400))
    assert (parse(delayed).kind, b"Will-Retry-Until: Sat, 16 Jan 2027" in delayed) == (Kind.DELAY, True)  # type: ignore[union-attr]
    assert b"will be told" not in delayed  # the sender may have asked for DELAY alone
    assert parse(made(notice(action=Action.RELAYED, said="250 2.0.0 ok"))).kind is Kind.DELIVERED  # type: ignore[union-attr]


def test_french_mail_is_answered_in_french_and_english() -> None:
    text = parts(made(octets=b"Content-Language: fr-CA\r\n" + LETTER))[0].get_content()
    assert "n'a pas pu \xeatre remis" in text
    assert "could not be delivered" in text
    assert "remis" not in parts(made())[0].get_content()


def test_many_recipients_are_all_told_to_programs_and_some_to_people() -> None:
    raw = made(*(notice(f"r{number}@example.net") for number in range(1000)))
    found = parse(raw)
    assert found is not None
    assert len(found.recipients) == 1000
    text = parts(raw)[0].get_content()
    assert text.count("@example.net>") == MOST_NAMED
    assert "and 950 more" in text


HOSTILE = st.text(alphabet="a1 \U0001f600.:;<>\r\n\t\x00\u2028\xe9-=_", max_size=60)


@given(HOSTILE, HOSTILE, HOSTILE, st.binary(max_size=200))
def test_nothing_from_outside_breaks_out_of_its_field(text: str, host: str, orcpt: str, octets: bytes) -> None:
    one = Notice(7, Action.FAILED, NOW, NOW, "bob@example.net", "rfc822;" + orcpt, True, Reply(550, text), host or "mx")
    raw = report(ORIGIN, message(octets, ret="FULL", envid=orcpt, message_id=text), [one], Returned(octets, 1000))
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"") or b"\n" in octets
    status = raw.split(b"Content-Type: message/delivery-status")[1].split(b"\r\n--")[0]
    names = [line.partition(b":")[0] for line in status.split(b"\r\n") if b":" in line]
    assert names.count(b"Final-Recipient") == names.count(b"Action") == names.count(b"Diagnostic-Code") == 1
    assert set(names) <= {
        b"Content-Transfer-Encoding",
        b"Reporting-MTA",
        b"Original-Envelope-Id",
        b"Arrival-Date",
        b"Original-Recipient",
        b"Final-Recipient",
        b"Action",
        b"Status",
        b"Remote-MTA",
        b"Diagnostic-Code",
        b"Last-Attempt-Date",
    }
