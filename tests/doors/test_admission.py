"""Each policy alone, and their order."""

import pytest

from gateway.doors import admission
from gateway.doors.accounts import Domains, KnownAccount
from gateway.doors.admission import Addressing, Handing, Refusal, Sending, judge_message, judge_recipient, judge_sender
from gateway.smtp.grammar import MailCommand
from mail.address import NULL_SENDER, Address, address_of
from mail.message import facts


def account(domains: list[str], message_size: int = 1000, recipients: int = 2) -> KnownAccount:
    return KnownAccount("app", Domains(domains, ["example.com"]), "default", 10, recipients, message_size)


def address(text: str) -> Address:
    found = address_of(text)
    assert found is not None
    return found


OWNER = account(["*"])


@pytest.mark.parametrize(
    ("moment", "refusal"),
    [
        (Sending(None, MailCommand(address("a@example.com"))), admission.NOBODY),
        (Sending(None, MailCommand(NULL_SENDER)), admission.NOBODY),
        (Sending(OWNER, MailCommand(address("a@example.com"))), None),
        (Sending(OWNER, MailCommand(address("a@Example.Com"))), None),
        (Sending(OWNER, MailCommand(address("a@sub.example.com"))), admission.SENDER_NOT_OWNED),
        (Sending(OWNER, MailCommand(address("a@example.com.evil.example"))), admission.SENDER_NOT_OWNED),
        (Sending(OWNER, MailCommand(address('"a@example.com"@evil.example'))), admission.SENDER_NOT_OWNED),
        (Sending(OWNER, MailCommand(NULL_SENDER)), None),
        (Sending(OWNER, MailCommand(address("a@example.com"), size=1000)), None),
        (Sending(OWNER, MailCommand(address("a@example.com"), size=1001)), admission.TOO_LARGE),
        (Sending(account(["any"]), MailCommand(address("a@whatever.example"))), None),
        (Sending(account([]), MailCommand(address("a@example.com"))), admission.SENDER_NOT_OWNED),
    ],
)
def test_senders(moment: Sending, refusal: Refusal | None) -> None:
    assert judge_sender(moment) == refusal


@pytest.mark.parametrize(
    ("moment", "refusal"),
    [
        (Addressing(OWNER, address("b@example.net"), 0), None),
        (Addressing(OWNER, address("b@example.net"), 1), None),
        (Addressing(OWNER, address("b@example.net"), 2), admission.TOO_MANY),
        (Addressing(OWNER, address("b@[192.0.2.1]"), 0), admission.LITERAL),
    ],
)
def test_recipients(moment: Addressing, refusal: Refusal | None) -> None:
    assert judge_recipient(moment) == refusal


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        (b"From: a@example.com\r\n\r\n", None),
        (b"From: A <a@example.com>, b@EXAMPLE.com\r\n\r\n", None),
        (b"From: a@evil.example\r\n\r\n", admission.FROM_NOT_OWNED),
        (b"From: a@example.com\r\nFrom: a@evil.example\r\n\r\n", admission.FROM_NOT_OWNED),
        (b"From: a@example.com\r\nfrom : a@evil.example\r\n\r\n", admission.FROM_NOT_OWNED),
        (b"From: nobody in particular\r\n\r\n", admission.FROM_UNREADABLE),
        (b"Subject: x\r\n\r\nFrom: a@example.com\r\n", admission.NO_FROM),
        (b"", admission.NO_FROM),
        (b"Received: x\r\n" * 50 + b"From: a@example.com\r\n\r\n", None),
        (b"Received: x\r\n" * 51 + b"From: a@example.com\r\n\r\n", admission.LOOP),
        (b"X: y\r\n" * 1001 + b"From: a@example.com\r\n\r\n", admission.HEADER_TOO_LARGE),
        (b"From: a@example.com\r\nX: " + b"y" * 1000 + b"\r\n\r\n", admission.LONG_LINE),
        (b"From: a@example.com\r\n\r\n" + b"y" * 999 + b"\r\n", None),
    ],
)
def test_messages(message: bytes, refusal: Refusal | None) -> None:
    assert judge_message(Handing(OWNER, facts(message), 1000, refuse_long_lines=False)) == refusal


def test_long_body_lines_are_refused_only_where_the_listener_says_so() -> None:
    found = facts(b"From: a@example.com\r\n\r\n" + b"y" * 999 + b"\r\n")
    assert judge_message(Handing(OWNER, found, 1000, refuse_long_lines=True)) == admission.LONG_LINE


def test_mail_that_must_be_signed_and_cannot_be_is_refused_at_the_door() -> None:
    found = facts(b"From: a@example.com\r\n\r\n")
    assert judge_message(Handing(OWNER, found, 1000, refuse_long_lines=False, unsignable=True)) == admission.NO_KEY
    foreign = facts(b"From: a@evil.example\r\n\r\n")
    assert judge_message(Handing(OWNER, foreign, 1000, refuse_long_lines=False, unsignable=True)) == admission.FROM_NOT_OWNED


def test_size_comes_before_what_the_header_says() -> None:
    assert judge_message(Handing(OWNER, facts(b""), 1001, refuse_long_lines=True)) == admission.TOO_LARGE


def test_limits_are_transient_and_the_rest_is_permanent() -> None:
    for refusal in vars(admission).values():
        if isinstance(refusal, Refusal):
            assert refusal.reply.transient == (refusal.reason == "recipients")
            assert refusal.reply.enhanced.startswith("4" if refusal.reply.transient else "5")
