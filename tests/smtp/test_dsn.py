"""RET, ENVID, NOTIFY, ORCPT: one form comes out, and only what the grammar allows (RFC 3461 section 4, RFC 6533 section 3)."""

import pytest

from gateway.smtp import dsn, grammar
from gateway.smtp.dsn import RecipientCommand
from gateway.smtp.grammar import MailCommand
from mail.address import Address


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("never", "NEVER"),
        ("DELAY,failure", "FAILURE,DELAY"),
        ("SUCCESS,SUCCESS", "SUCCESS"),
        ("delay,success,failure", "SUCCESS,FAILURE,DELAY"),
        ("NEVER,NEVER", None),
        ("NEVER,DELAY", None),
        ("", None),
        (None, None),
        ("SUCCESS,", None),
        ("ALWAYS", None),
    ],
)
def test_notify_has_one_order_and_never_stands_alone(said: str | None, kept: str | None) -> None:
    assert dsn.notify(said) == kept


@pytest.mark.parametrize(
    ("said", "utf8", "kept"),
    [
        ("rfc822;Bob@example.org", False, "rfc822;Bob@example.org"),
        ("x400;+2FC+3Dfr", False, "x400;+2FC+3Dfr"),
        ("rfc822;a=b@example.org", False, None),
        ("rfc822;a+3db@example.org", False, None),
        ("rfc822;a+0A@example.org", False, None),
        ("rfc822;\xe9@example.org", True, None),
        ("utf-8;\xe9@example.org", True, "utf-8;\\x{E9}@example.org"),
        ("UTF-8;\\x{E9}\\x{1F600}@example.org", False, "utf-8;\\x{E9}\\x{1F600}@example.org"),
        ("utf-8;a\\x{2B}b@example.org", False, "utf-8;a\\x{2B}b@example.org"),
        ("utf-8;\xe9@example.org", False, None),
        ("utf-8;\\x{0E9}@example.org", False, None),
        ("utf-8;\\x{D800}@example.org", False, None),
        ("utf-8;\\x{110000}@example.org", False, None),
        ("utf-8;\\x{0A}@example.org", False, None),
        ("utf-8;\\x{2028}@example.org", False, None),
        ("rfc822;" + "a" * 493, False, "rfc822;" + "a" * 493),
        ("rfc822;" + "a" * 494, False, None),
        ("utf 8;a@example.org", False, None),
        (None, False, None),
    ],
)
def test_an_original_recipient_is_kept_in_ascii_or_refused(said: str | None, utf8: bool, kept: str | None) -> None:
    assert dsn.orcpt(said, smtputf8=utf8) == kept


def test_an_envelope_id_has_a_hundred_characters_at_most() -> None:
    assert dsn.envid("a" * 100) == "a" * 100
    assert dsn.envid("a" * 101) is None
    assert dsn.envid("+20a") == "+20a"
    assert dsn.envid("+7F") is None


def test_commands_carry_what_was_said_and_usual_ones_stay_plain() -> None:
    assert grammar.parse_mail(b"FROM:<a@b.example> RET=full ENVID=x") == MailCommand(
        Address("a@b.example", "b.example"), ret="FULL", envid="x"
    )
    address = Address("c@d.example", "d.example")
    assert grammar.parse_recipient(b"TO:<c@d.example>", smtputf8=False) == address
    assert grammar.parse_recipient(b"TO:<c@d.example> ", smtputf8=False) == address
    found = grammar.parse_recipient(b"TO:<c@d.example> NOTIFY=SUCCESS ORCPT=rfc822;x@y", smtputf8=False)
    assert found == RecipientCommand(address, "SUCCESS", "rfc822;x@y")
