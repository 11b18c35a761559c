"""Streams and campaigns as DESIGN section 4 tells them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.labels import Feeds, LabelField, Labels
from config.sending import Stream
from config.settings import Settings
from gateway.calls import MessageLabels
from gateway.doors.labels import LONGEST_NAME, Labelled, Labeller
from mail.message import read_header

LABELLER = Labeller(
    Settings(
        stream=[Stream(name="default"), Stream(name="receipts", kind="transactional"), Stream(name="news")],
        labels=Labels(field=[LabelField(header="X-Kind", feeds=Feeds.STREAM)]),
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


def labelled(header: str) -> MessageLabels:
    found = read(header).labels
    assert found is not None
    return found


FAMILIES = [
    (
        'X-Tags: a, b ,,c\nX-Metadata: {"user": 7, "vip": true, "none": null, "list": [1]}',
        "",
        ("a", "b", "c"),
        {"user": "7", "vip": "true", "list": "[1]"},
    ),
    (
        "X-PM-Message-Stream: news\nX-PM-Tag: welcome\nX-PM-Metadata-Color: blue\nX-PM-Metadata-client-id: 12",
        "welcome",
        ("welcome",),
        {"Color": "blue", "client-id": "12"},
    ),
    (
        'X-Mailgun-Tag: spring\nX-Mailgun-Tag: vip\nX-Mailgun-Variables: {"my_id": "17",\n "deep": {"a": 1}}',
        "spring",
        ("spring", "vip"),
        {"my_id": "17", "deep": '{"a": 1}'},
    ),
    (
        "X-SES-CONFIGURATION-SET: news\nX-SES-MESSAGE-TAGS: campaign=book, genre=fiction",
        "book",
        (),
        {"campaign": "book", "genre": "fiction"},
    ),
    ('X-SMTPAPI: {"category": ["spring", "vip"], "unique_args": {"user": "1"}, "filters": {}}', "spring", ("spring", "vip"), {"user": "1"}),
    ('X-SMTPAPI: {"category": "spring"}', "spring", ("spring",), {}),
    ('X-MC-Tags: spring,vip\nX-MC-Metadata: { "user_id": "45829" }\nX-MC-Track: opens', "spring", ("spring", "vip"), {"user_id": "45829"}),
    (
        'X-MSYS-API: {"campaign_id": "spring", "metadata": {"pet": "Spot"}, "tags": ["cat"], "options": {"ip_pool": "news"}}',
        "spring",
        ("cat",),
        {"pet": "Spot"},
    ),
    ("X-Mailjet-Campaign: spring\nX-MJ-CustomID: c7", "spring", (), {"X-MJ-CustomID": "c7"}),
    ("X-Mailin-Tag: spring\nX-Mailin-Custom: a:1|b:2", "spring", ("spring",), {"X-Mailin-Custom": "a:1|b:2"}),
    ('X-MT-Category: spring\nX-MT-Custom-Variables: {"user": "1"}', "spring", ("spring",), {"user": "1"}),
]


@pytest.mark.parametrize(("header", "campaign", "tags", "metadata"), FAMILIES)
def test_each_family_of_labels_is_read(header: str, campaign: str, tags: tuple[str, ...], metadata: dict[str, str]) -> None:
    found = read(header + "\nSubject: x\nFrom: a@b.example")
    assert found.ignored == ()
    assert found.labels is not None
    assert (found.labels.tags, found.labels.metadata) == (tags, metadata)
    assert found.campaign == (campaign or "x | a@b.example | 2025-06-15")
    assert found.stream == ("news" if "news" in header else "default")


def test_a_message_without_labels_has_none() -> None:
    assert read("X-Campaign: a").labels is None
    assert read("X-Send-At: 2020-01-01").labels is None, "the past is now"
    assert read("X-Tags: ,").labels is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1750003600", NOON + 3600),
        ("2h", NOON + 7200),
        ("+15m", NOON + 900),
        ("2025-06-15T16:00:00Z", 1_750_003_200.0),
        ("2025-06-15 16:00:00", 1_750_003_200.0),
        ("2025-06-15T18:00:00+02:00", 1_750_003_200.0),
        ("Sun, 15 Jun 2025 16:00:00 -0000", 1_750_003_200.0),
        ("Sun, 15 Jun 2025 18:00:00 +0200", 1_750_003_200.0),
    ],
)
def test_a_moment_may_be_written_in_every_usual_way(written: str, expected: float) -> None:
    assert labelled(f"X-Send-At: {written}").send_at == expected
    assert read(f"X-Deadline: {written}").deadline == expected
    assert labelled(f"X-Mailgun-Deliver-By: {written}").send_at == expected
    assert labelled(f"X-MC-SendAt: {written}").send_at == expected
    assert labelled(f'X-SMTPAPI: {{"send_at": "{written}"}}').send_at == expected


def test_send_at_is_bounded_and_a_deadline_in_the_past_is_one() -> None:
    far = read("X-Send-At: 2030-01-01")
    assert far.labels is not None
    assert far.labels.send_at == NOON + 30 * 86_400
    assert [ignored.why for ignored in far.ignored] == ["far"]
    assert read("X-Deadline: 2020-01-01").deadline == 1_577_836_800.0
    assert read("X-Deadline: 1950-01-01").deadline == 1.0
    assert read("X-Deadline: never").deadline == 0.0
    assert labelled('X-SMTPAPI: {"send_at": 1750003600}').send_at == NOON + 3600


@pytest.mark.parametrize(
    ("written", "expected"),
    [("14d", "14d"), ("014 days", "14d"), ("1 Day", "1d"), ("83", "83"), ("83.50", "83.5"), ("7 %", "7"), ("100", "100")],
)
def test_engagement_is_days_or_a_score(written: str, expected: str) -> None:
    assert labelled(f"X-Engagement: {written}").engagement == expected


@pytest.mark.parametrize(
    ("header", "ignored"),
    [
        ("X-Engagement: high", ("X-Engagement", "engagement", "malformed")),
        ("X-Engagement: 101", ("X-Engagement", "engagement", "malformed")),
        ("X-Send-At: tomorrow", ("X-Send-At", "send_at", "malformed")),
        ("X-Deadline: " + "1" * 300, ("X-Deadline", "deadline", "malformed")),
        ("X-Metadata: {", ("X-Metadata", "metadata", "malformed")),
        ("X-Metadata: " + "[" * 16_000, ("X-Metadata", "metadata", "malformed")),
        ("X-Metadata: " + '{"a":' * 3000, ("X-Metadata", "metadata", "malformed")),
        ("X-Metadata: " + '{"a":"' + "b" * 17_000 + '"}', ("X-Metadata", "metadata", "long")),
        ("X-Tags: " + ",".join(map(str, range(20_000))), ("X-Tags", "tags", "many")),
        ("X-Metadata: {" + ",".join(f'"{n}":1' for n in range(31)) + "}", ("X-Metadata", "metadata", "many")),
        ("X-SES-MESSAGE-TAGS: a", ("X-SES-MESSAGE-TAGS", "metadata", "malformed")),
        ("X-Idempotency-Key: " + "k" * 1025, ("X-Idempotency-Key", "idempotency_key", "long")),
        ('X-Metadata: {"a": "\\ud800"}', ("X-Metadata", "metadata", "malformed")),
        ("\n".join(f"X-PM-Metadata-{n}: 1" for n in range(65)), ("X-PM-Metadata-*", "metadata", "many")),
    ],
)
def test_what_cannot_be_read_is_ignored_and_told(header: str, ignored: tuple[str, str, str]) -> None:
    found = read("X-Campaign: spring\n" + header)
    assert found.campaign == "spring"
    assert ignored in [(one.header, one.label, one.why) for one in found.ignored]


def test_a_label_of_one_value_is_read_behind_any_number_of_other_label_fields() -> None:
    many = "".join(f"X-PM-Metadata-{number}: 1\nX-PM-Tag: t{number}\n" for number in range(400))
    found = read(f"{many}X-Idempotency-Key: k\nX-Send-At: 1h\nX-Deadline: 2h")
    assert found.labels is not None
    assert (found.key, found.labels.send_at, found.deadline) == (b"k", NOON + 3600, NOON + 7200)
    assert (len(found.labels.metadata), len(found.labels.tags), len(found.ignored)) == (30, 20, 64)


def test_label_fields_of_any_size_are_read_to_a_bound_and_what_has_one_value_behind_them() -> None:
    heavy = "\n".join("X-SMTPAPI: " + "=?utf-8?q?a?= " * 1100 for _ in range(15))
    found = read(f"{heavy}\nX-Tags: late\nX-Contact-Id: me")
    assert found.labels == MessageLabels(contact="me")
    assert ("X-Tags", "tags", "many") in [(one.header, one.label, one.why) for one in found.ignored]


def test_the_first_row_counts_wherever_its_field_stands() -> None:
    assert read("X-PM-Tag: tag\nX-Campaign-Id: second\nX-Campaign: first\nX-Campaign: again").campaign == "first"
    assert read("Idempotency-Key: two\nX-Idempotency-Key: one").key == b"one"
    own = Labeller(
        Settings(
            labels=Labels(field=[LabelField(header="X-Mailing", feeds=Feeds.CAMPAIGN), LabelField(header="X-PM-Tag", feeds=Feeds.CONTACT)])
        )
    )
    found = own.read(read_header(b"X-Campaign: shipped\r\nX-Mailing: own\r\nX-PM-Tag: me\r\n\r\n"), "default", NOON)
    assert (found.campaign, found.labels) == ("own", MessageLabels(contact="me"))
    bare = Labeller(Settings(labels=Labels(shipped=False)))
    assert bare.read(read_header(b"X-Campaign: shipped\r\nSubject: x\r\n\r\n"), "default", NOON).campaign == "x | 2025-06-15"


PLAIN = st.lists(
    st.tuples(st.sampled_from(["X-Stream", "X-Kind", "X-Campaign", "X-Campaign-Id", "X-Job"]), st.sampled_from(["", "news", "a", "b"])),
    max_size=5,
)


@given(PLAIN, st.sampled_from(["default", "receipts", "gone"]))
def test_the_short_way_reads_the_same_as_the_long_one(fields: list[tuple[str, str]], stream: str) -> None:
    header = "Subject: x\n" + "".join(f"{name}: {value}\n" for name, value in fields)
    short, long = read(header.strip(), stream), read(header + "X-Contact-Id: c", stream)
    assert (short.stream, short.campaign, short.unknown) == (long.stream, long.campaign, long.unknown)


NAMES = sorted({row.header.rstrip("*") for row in Labels().rows})


@given(st.binary(max_size=300), st.sampled_from(NAMES))
def test_any_octets_in_a_label_do_no_harm(value: bytes, name: str) -> None:
    found = LABELLER.read(
        read_header(name.encode() + b"x: " + value + b"\r\n" + name.encode() + b": " + value + b"\r\n\r\n"), "default", NOON
    )
    if found.labels is None:
        return
    texts = [found.labels.contact, found.labels.engagement, *found.labels.tags, *found.labels.metadata, *found.labels.metadata.values()]
    assert all(len(text) <= 500 and not any(character < " " for character in text) for text in texts)
    msgspec.json.encode(found.labels)


@given(st.binary(max_size=300), st.sampled_from([b"X-Campaign", b"Subject", b"List-Id", b"X-Stream"]))
def test_any_octets_give_a_bounded_name_on_one_line(value: bytes, name: bytes) -> None:
    found = LABELLER.read(read_header(name + b": " + value + b"\r\n\r\n"), "default", NOON)
    for text in (found.campaign, found.stream, found.unknown):
        assert len(text) <= LONGEST_NAME + 20
        assert not any(character < " " for character in text)
