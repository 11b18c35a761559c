"""Domains of From: what is clear is read, what is doubtful is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail.author import domains_of

CLEAR = [
    (b"a@example.org", ("example.org",)),
    (b"<a@example.org>", ("example.org",)),
    (b"News <a@Example.Org>", ("example.org",)),
    (b'"News, the" <a@example.org>', ("example.org",)),
    (b'"me@bank.example" <a@example.org>', ("example.org",)),
    (b'"quoted \\" quote" <a@example.org>', ("example.org",)),
    (b"=?utf-8?q?me=40bank.example?= <a@example.org>", ("example.org",)),
    (b"Caf\xc3\xa9 <a@example.org>", ("example.org",)),
    (b"a@example.org, b@example.net", ("example.org", "example.net")),
    (b"a@example.org,, b@example.org,", ("example.org",)),
    (b"Group: a@one.example, B <b@two.example>;", ("one.example", "two.example")),
    (b"Group: a@one.example;, c@three.example", ("one.example", "three.example")),
    (b"(comment (nested)) a@example.org (b@evil.example)", ("example.org",)),
    (b"a(left)@(right)example.org", ("example.org",)),
    (b"a @ example . org", ("example.org",)),
    (b'"a b"@example.org', ("example.org",)),
    (b'"a@b"@example.org', ("example.org",)),
    (b"a@[192.0.2.1]", ("[192.0.2.1]",)),
    ("é@bücher.example".encode(), ("xn--bcher-kva.example",)),
    (b"Mr. J. Doe <a@example.org>", ("example.org",)),
]
DOUBTFUL = [
    b"",
    b"nobody",
    b"<a@example.org>.",
    b"<>",
    b"undisclosed:;",
    b"a@b@example.org",
    b"<a@b@example.org>",
    b"<a@evil.example> <b@example.org>",
    b"me@bank.example <b@example.org>",
    b"<b@example.org> me@bank.example",
    b"a b@example.org",
    b"a@example.org b",
    b"a@example.org evil.example",
    b"a@evil.example\x00@example.org",
    b"a@evil.example\n<b@example.org>",
    b"<@evil.example:b@example.org>",
    b"<a@evil.example,b@example.org>",
    b"<a@evil.example;b@example.org>",
    b"<<b@example.org>>",
    b">b@example.org<",
    b"(unclosed a@example.org",
    b"closed) a@example.org",
    b'"unclosed <a@example.org>',
    b"(" * 17 + b")" * 17 + b"a@example.org",
    b"Group: a@one.example",
    b"Group: Inner: a@one.example;;",
    b"a@one.example;",
    b"a@",
    b"@example.org",
    b"a@-example.org",
    b"a@example..org",
    b"a.@example.org",
    b'a@"example.org"',
    b"[a]@example.org",
    b"\xff@example.org",
    b"=?utf-8?q?a=40evil.example=2C?=@example.org",
    b"<=?utf-8?q?a=40evil.example=2C?=@example.org>",
    "a＠evil.example@example.org".encode(),
    b"=?utf-8?b?YUBleGFtcGxlLm9yZw==?=",
    b"a@example.org," * 2000,
]


@pytest.mark.parametrize(("value", "domains"), CLEAR)
def test_clear_addresses_give_all_their_domains(value: bytes, domains: tuple[str, ...]) -> None:
    assert domains_of([value]) == domains


@pytest.mark.parametrize("value", DOUBTFUL)
def test_a_doubtful_value_is_unreadable(value: bytes) -> None:
    assert domains_of([value]) is None
    assert domains_of([b"a@example.org", value]) is None


def test_no_values_have_no_domains() -> None:
    assert domains_of([]) == ()


@given(
    st.lists(
        st.sampled_from([b"a", b"@", b".", b"<", b">", b"(", b")", b'"', b"\\", b",", b";", b":", b" ", b"[", b"]", b"\xc3\xa9", b"=?"])
    )
)
@settings(deadline=None, max_examples=500)
def test_any_arrangement_of_specials_is_read_or_unreadable(parts: list[bytes]) -> None:
    domains = domains_of([b"".join(parts)])
    assert domains is None or all(domains)


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_read_or_unreadable(value: bytes) -> None:
    domains = domains_of([value])
    assert domains is None or all(domains)
