"""Streams and campaigns as DESIGN section 4 tells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.sending import Stream
from config.settings import Settings
from config.submission import Labels
from gateway.doors.labels import LONGEST_NAME, Labelled, Labeller
from mail.message import read_header

LABELLER = Labeller(
    Settings(
        stream=[Stream(name="default"), Stream(name="receipts", kind="transactional"), Stream(name="news")],
        labels=Labels(stream=["X-Stream", "X-Kind"]),
    )
)
NOON = 1_750_000_000.0


def read(header: str, stream: str = "default") -> Labelled:
    return LABELLER.read(read_header(header.replace("\n", "\r\n").encode() + b"\r\n\r\n"), stream, NOON)


@pytest.mark.parametrize(
    ("header", "stream", "expected"),
    [
        ("X-Campaign: spring", "default", Labelled("default", "spring")),
        ("X-Campaign: =?utf-8?q?fr=C3=BChling?=", "default", Labelled("default", "frühling")),
        ("X-Campaign:\nX-Campaign-Id: spring", "default", Labelled("default", "spring")),
        ("X-Mailwright-Campaign: b\nX-Campaign: a", "default", Labelled("default", "a")),
        ("X-Stream: news\nX-Campaign: a", "default", Labelled("news", "a")),
        ("X-Kind: news\nX-Campaign: a", "default", Labelled("news", "a")),
        ("X-Stream: receipts\nX-Campaign: a", "default", Labelled("receipts", "")),
        ("X-Campaign: a", "receipts", Labelled("receipts", "")),
        ("X-Stream: nonsense\nX-Campaign: a", "news", Labelled("news", "a", "nonsense")),
        ("X-Stream: nonsense\nX-Campaign: a", "gone", Labelled("gone", "a", "nonsense")),
        ("List-Id: Our News <News.Example.COM>\nSubject: x", "default", Labelled("default", "news.example.com")),
        ("List-Id: news.example.com", "default", Labelled("default", "news.example.com")),
        ("List-Id: <>\nSubject: x\nFrom: a@b.example", "default", Labelled("default", "x | a@b.example | 2025-06-15")),
        (
            "Subject: Re: FWD: Order  1234\nFrom: Shop <Shop@B.example>",
            "default",
            Labelled("default", "order # | shop@b.example | 2025-06-15"),
        ),
        ("Subject: =?utf-8?b?w4l0w6k=?=", "default", Labelled("default", "été | 2025-06-15")),
        ("To: x@y.example", "default", Labelled("default", "2025-06-15")),
    ],
)
def test_labels(header: str, stream: str, expected: Labelled) -> None:
    assert read(header, stream) == expected


def test_messages_of_one_campaign_get_one_name_each_day() -> None:
    first, second = read("Subject: Your order 1\nFrom: a@b.example"), read("Subject: your  ORDER 22\nFrom: a@b.example")
    assert first.campaign == second.campaign
    header = read_header(b"Subject: Your order 1\r\nFrom: a@b.example\r\n\r\n")
    assert LABELLER.read(header, "default", NOON + 86_400).campaign != first.campaign


@given(st.binary(max_size=300), st.sampled_from([b"X-Campaign", b"Subject", b"List-Id", b"X-Stream"]))
def test_any_octets_give_a_bounded_name_on_one_line(value: bytes, name: bytes) -> None:
    found = LABELLER.read(read_header(name + b": " + value + b"\r\n\r\n"), "default", NOON)
    for text in (found.campaign, found.stream, found.unknown):
        assert len(text) <= LONGEST_NAME + 20
        assert not any(character < " " for character in text)
