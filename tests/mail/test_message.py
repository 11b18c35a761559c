"""Header and body, fields, values, facts: table tests of behaviour, and hypothesis for "any bytes, never an exception"."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail.message import MAX_FIELDS, MAX_HEADER, facts, fields, from_domains, has_long_line, read_header, split, text, unfold

PIECES = st.sampled_from(
    [b"\r\n", b"\r\n ", b"\r\n\r\n", b"From: ", b"Date:", b"Message-ID: <a@b>", b"Received: x", b":", b" ", b"\t", b"\n", b"\r", b"x" * 999]
)
MAIL = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=40).map(b"".join)


@pytest.mark.parametrize(
    ("content", "header", "body"),
    [
        (b"", b"", b""),
        (b"\r\n", b"", b""),
        (b"\r\nbody", b"", b"body"),
        (b"A: b", b"A: b\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"A: b\r\n\r\n", b"A: b\r\n", b""),
        (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n", b"body\r\n"),
        (b"A: b\r\n\tc\r\n \r\n\r\nbody", b"A: b\r\n\tc\r\n \r\n", b"body"),
        (b"A : b\r\n\r\nbody", b"A : b\r\n", b"body"),
        (b"no field\r\nA: b\r\n\r\nbody", b"", b"no field\r\nA: b\r\n\r\nbody"),
        (b"A: b\r\nno field\r\nFrom: x@y\r\n\r\nbody", b"A: b\r\n", b"no field\r\nFrom: x@y\r\n\r\nbody"),
        (b" folded\r\nA: b\r\n\r\nbody", b"", b" folded\r\nA: b\r\n\r\nbody"),
        (b": nameless\r\n\r\nbody", b"", b": nameless\r\n\r\nbody"),
        (b"A: b\r\nCaf\xc3\xa9: c\r\n\r\nbody", b"A: b\r\n", b"Caf\xc3\xa9: c\r\n\r\nbody"),
    ],
)
def test_the_header_ends_at_the_first_line_that_is_no_field(content: bytes, header: bytes, body: bytes) -> None:
    assert split(content) == (header, body)


def test_fields_keep_their_bytes_and_their_order() -> None:
    found = fields(b"Subject: one\r\n two\r\nFROM: a@b\r\nsubject:three\r\n")
    assert [(field.name, field.raw) for field in found] == [
        (b"subject", b"Subject: one\r\n two"),
        (b"from", b"FROM: a@b"),
        (b"subject", b"subject:three"),
    ]
    assert found[0].value == b"one two"
    assert found[2].value == b"three"


def test_the_first_of_several_fields_is_found_by_name() -> None:
    header = read_header(b"Subject: one\r\nSubject: two\r\n\r\n")
    assert header.value(b"subject") == b"one"
    assert header.value(b"date") is None
    assert header.text(b"date") == ""


def test_a_header_without_end_or_with_too_many_fields_is_oversized() -> None:
    assert read_header(b"A: " + b"b" * MAX_HEADER).oversized
    assert read_header(b"A: " + b"b" * MAX_HEADER + b"\r\n\r\nbody").oversized
    assert read_header(b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n").oversized
    assert not read_header(b"A: b\r\n" * MAX_FIELDS + b"\r\n").oversized


def test_facts_of_a_usual_newsletter() -> None:
    known = facts(
        b"Received: by a\r\nReceived: by b\r\nFrom: News <news@Example.ORG>\r\nDate: Fri, 01 Nov 2024 10:00:00 +0000\r\n"
        b"Message-ID:\r\n <1@example.org>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n\r\nbody\r\n"
    )
    assert known.from_domains == ("example.org",)
    assert known.message_id == "<1@example.org>"
    assert known.has_date
    assert known.received == 2
    assert known.header.text(b"subject") == "Café"
    assert (known.eight_bit, known.eight_bit_header, known.long_lines, known.long_header_lines) == (False, False, False, False)


def test_facts_of_a_bare_message() -> None:
    known = facts(b"Date:\r\nMessage-ID:  \r\n\r\n\xc3\xa9" + b"x" * 997 + b"\r\n")
    assert known.from_domains == ()
    assert known.message_id == ""
    assert not known.has_date
    assert known.eight_bit
    assert not known.eight_bit_header
    assert known.long_lines


@pytest.mark.parametrize(
    ("body", "long"),
    [
        (b"", False),
        (b"x" * 998, False),
        (b"x" * 999, True),
        (b"x" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        ((b"x" * 998 + b"\r\n") * 3, False),
        ((b"x" * 998 + b"\r\n") * 3 + b"x" * 999, True),
        (b"a\r\n" * 2000 + b"x" * 999 + b"\r\nb\r\n", True),
        (b"a\r\n" * 2000 + b"x" * 998 + b"\r\nb\r\n", False),
        (b"x" * 998 + b"\n" + b"x" * 998, True),
    ],
)
def test_lines_over_998_octets_are_found(body: bytes, long: bool) -> None:
    assert has_long_line(body) is long


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=200)
def test_long_lines_agree_with_counting_each_line(lengths: list[int], limit: int, ended: bool) -> None:
    body = b"\r\n".join(b"x" * length for length in lengths) + (b"\r\n" if ended else b"")
    assert has_long_line(body, 0, None, limit) is any(len(line) > limit for line in body.split(b"\r\n"))


@given(MAIL)
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_facts_and_nothing_is_lost(content: bytes) -> None:
    known = facts(content)
    header, body = split(content)
    assert content.endswith(body)
    assert content.startswith(header) or content + b"\r\n" == header
    assert b"\r\n".join(field.raw for field in known.header.fields) == content[: known.header.end]
    assert all(field.name and field.value == unfold(field.value) for field in known.header.fields)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_any_value_has_a_text_on_one_line(value: bytes) -> None:
    assert not any(character in text(value) for character in "\r\n\t\x00\x7f\x85\u2028")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?Caf=C3=A9_cr=C3=A8me?=", "Café crème"),
        (b"=?UTF-8?B?Q2Fmw6k=?= =?utf-8?B?Q2Fmw6k?=", "CaféCafé"),
        (b"=?iso-8859-1*fr?Q?=E9t=E9?= fini", "été fini"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a  Bcc: x"),
        (b"=?zlib?b?eJwDAAAAAAE=?=", "=?zlib?b?eJwDAAAAAAE=?="),
        (b"=?idna?q?xn--?=", "=?idna?q?xn--?="),
        (b"=?unknown?q?x?=", "=?unknown?q?x?="),
        (b"=?utf-8?b?!?=", ""),
        (b"=?utf-8?q?unended", "=?utf-8?q?unended"),
    ],
)
def test_encoded_words_are_decoded(value: bytes, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    "hostile",
    [
        b"From: " + b"(" * 200_000,
        b"From: " + b'"' * 200_000,
        b"From: " + b"a " * 100_000,
        b"From: " + b"<a@" * 60_000,
        b"Subject: " + b"=?utf-8?q?" * 20_000,
        b"A: b\r\n" * 999,
        b"x:" + b" \r\n" * 60_000,
        b"=" * 250_000 + b": x",
    ],
)
def test_hostile_headers_take_linear_time(hostile: bytes) -> None:
    started = time.process_time()
    known = facts(hostile + b"\r\n\r\n")
    known.header.text(b"subject")
    assert time.process_time() - started < 0.5


def test_several_from_fields_all_count() -> None:
    assert from_domains(read_header(b"From: a@one.example\r\nX: y\r\nFROM: b@two.example, c@ONE.example\r\n\r\n")) == (
        "one.example",
        "two.example",
    )
