"""Commands: what comes out of the grammar is safe to write on the wire again, and nothing makes it raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import grammar
from gateway.smtp.dsn import RecipientCommand
from gateway.smtp.grammar import AuthCommand, ChunkCommand, HelloCommand, MailCommand, Malformed
from mail.address import NULL_SENDER, Address

PATHS = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet='ab.@<>"\\ ,:;[]()é\t\r\x00', max_size=40).map(lambda text: b"FROM:<" + text.encode() + b">"),
    st.text(alphabet='ab.@<>"\\ ,:;=é', max_size=40).map(lambda text: b"TO:<" + text.encode() + b"> X=1"),
    st.text(alphabet="ab;+\\x{}0159ADE=é\r\u2028", max_size=30).map(lambda text: f"TO:<a@b> ORCPT=utf-8;{text} NOTIFY=DELAY".encode()),
)


@given(PATHS)
def test_no_octets_make_the_grammar_raise_or_let_a_control_character_through(argument: bytes) -> None:
    for found in (
        grammar.parse_mail(argument),
        grammar.parse_recipient(argument, smtputf8=True),
        grammar.parse_recipient(b"TO:" + argument, smtputf8=False),
        grammar.parse_mail(b"FROM:" + argument),
    ):
        if isinstance(found, RecipientCommand):
            assert (found.notify + found.orcpt).isprintable()
            found = found.address
        address = found.sender if isinstance(found, MailCommand) else found
        if isinstance(address, Address):
            assert not any(character < " " or character == "\x7f" for character in address.text)
            assert not set("\r\n") & set(address.domain)
        else:
            assert isinstance(address, Malformed)
            assert address.reply.permanent


@given(st.binary(max_size=60))
def test_no_octets_make_the_other_commands_raise(argument: bytes) -> None:
    hello = grammar.parse_hello(argument)
    assert isinstance(hello, Malformed) or hello.name.isascii()
    assert isinstance(grammar.parse_auth(argument), AuthCommand | Malformed)
    chunk = grammar.parse_chunk(argument)
    assert isinstance(chunk, Malformed) or 0 <= chunk.size <= grammar.MAX_CHUNK


LONG_LOCAL = b"a" * 65


@pytest.mark.parametrize(
    "argument",
    [
        b"FROM:<" + LONG_LOCAL + b"@example.com>",
        b"FROM:<a@" + b"b." * 130 + b"example>",
        b"FROM:<a@" + b"b" * 64 + b".example>",
        b'FROM:<"a\nb"@example.com>',
        b"FROM:<a@example.com>\x00",
        b"FROM:<a@example.com> \x7f",
        b"FROM:<a@@example.com>",
        b"FROM:<@>",
        b"FROM:<@@>",
        b"FROM:<<a@example.com>>",
        b"FROM:<a@b@example.com>",
        b"FROM:<a,b@example.com>",
        "FROM:<a\u2028b@example.com>".encode(),
        "FROM:<a@exa\u00a0mple.com> SMTPUTF8".encode(),
        b"FROM:<\xed\xa0\x80@example.com> SMTPUTF8",
        b"FROM:",
        b"FROM:<",
        b"FROM:>",
        b"",
    ],
)
def test_paths_that_are_none_are_refused(argument: bytes) -> None:
    found = grammar.parse_mail(argument)
    assert isinstance(found, Malformed)
    assert found.reply.code in (501, 553)


@pytest.mark.parametrize(
    ("argument", "text", "domain"),
    [
        (b"FROM:<a@Example.COM>", "a@Example.COM", "example.com"),
        (b"from:<a.b+c@example.com>", "a.b+c@example.com", "example.com"),
        (b"FROM:<a..b.@example.com>", "a..b.@example.com", "example.com"),
        (b"FROM:<@x,@y:a@example.com>", "a@example.com", "example.com"),
        (b'FROM:<"a>b"@example.com>', '"a>b"@example.com', "example.com"),
        (b'FROM:<"a@b"@example.com>', '"a@b"@example.com', "example.com"),
        (b"FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ("FROM:<jörg@bücher.example> SMTPUTF8".encode(), "jörg@bücher.example", "xn--bcher-kva.example"),
        (b"FROM:<a@example.com> BODY=7bit", "a@example.com", "example.com"),
        (b"FROM:<>", "", ""),
    ],
)
def test_paths_of_every_usual_form_are_taken(argument: bytes, text: str, domain: str) -> None:
    found = grammar.parse_mail(argument)
    assert isinstance(found, MailCommand)
    assert found.sender == Address(text, domain)


def test_the_fast_form_and_the_scanner_agree() -> None:
    for path in (b"<a@example.com>", b"<A.b-c_d@sub.example.com>", b"<x@a-b.example>"):
        fast = grammar.parse_mail(b"FROM:" + path)
        slow = grammar.parse_mail(b"FROM: " + path)
        assert fast == slow
        assert isinstance(fast, MailCommand)


def test_null_sender_is_a_sender_and_no_recipient() -> None:
    assert grammar.parse_mail(b"FROM:<> SIZE=5") == MailCommand(NULL_SENDER, 5)
    assert grammar.parse_recipient(b"TO:<>", smtputf8=False) == grammar.NULL_RECIPIENT


def test_sessions_are_greeted_with_names_that_can_stand_in_a_header() -> None:
    assert grammar.parse_hello(b"[192.0.2.1]") == HelloCommand("[192.0.2.1]")
    assert grammar.parse_hello(b"my_machine.local") == HelloCommand("my_machine.local")
    for bad in (b"", b"a b", b"a(b)", b"a\rb", b"a;b", b"\xc3\xa9", b"x" * 256):
        assert grammar.parse_hello(bad) == grammar.BAD_NAME


def test_chunks_have_a_size_and_perhaps_an_end() -> None:
    assert grammar.parse_chunk(b"0") == ChunkCommand(0, False)
    assert grammar.parse_chunk(b"10 last") == ChunkCommand(10, True)
    for bad in (b"", b"-1", b"+1", b"1 LAST x", b"1  LAST", b"0x10", b"1e3", b"\xd9\xa1", b"9" * 19, b"10 FIRST"):
        assert grammar.parse_chunk(bad) == grammar.BAD_CHUNK
