"""An HTTP exchange without a network: what is sent, and what is made of answers in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.http import Exchange, NotHttp

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: z\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def asked(most: int = 100) -> Exchange:
    return Exchange("POST", "hook.test:8443", "/in?a=b", {"content-type": "text/plain"}, b"hello", most)


def heard(octets: bytes) -> Exchange:
    """All that came until the connection ended."""
    exchange = asked()
    exchange.receive(octets)
    if not exchange.whole:
        exchange.receive(b"")
    return exchange


def test_a_request_says_what_it_must() -> None:
    lines = asked().request.split(b"\r\n")
    assert lines[0] == b"POST /in?a=b HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:-2]) == [
        b"connection: close",
        b"content-length: 5",
        b"content-type: text/plain",
        b"host: hook.test:8443",
        b"user-agent: mailwright",
    ]
    assert lines[-2:] == [b"", b"hello"]


@pytest.mark.parametrize(("target", "value"), [("/a b", "x"), ("/a\r\nX: y", "x"), ("/", "x\r\nY: z")])
def test_nothing_can_be_slipped_into_a_request(target: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Exchange("GET", "hook.test", target, {"x": value}, b"", 1)


@given(st.lists(st.integers(1, len(EARLY + CHUNKED) - 1)))
def test_an_answer_may_come_in_any_pieces(cuts: list[int]) -> None:
    exchange, octets = asked(), EARLY + CHUNKED
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(octets)], strict=True):
        if start < end:
            exchange.receive(octets[start:end])
    assert (exchange.whole, exchange.status, exchange.fields["x"], exchange.body) == (True, 200, "y", b"abcde")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "ended too early"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "ended too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "too long"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", "too long a header"),
        (EARLY * 4, "too many interim answers"),
    ],
)
def test_what_cannot_be_used_is_told(answer: bytes, why: str) -> None:
    with pytest.raises(NotHttp, match=why):
        heard(answer)


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer_or_is_none(octets: bytes) -> None:
    try:
        exchange = heard(b"HTTP/1.1 200 OK\r\n" + octets)
    except NotHttp:
        return
    assert exchange.whole
