"""The header that leaves: what is added, what is taken away, and that the rest keeps its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.labels import Feeds, LabelField, Labels
from gateway.compose.headers import Removal, date, feedback_id, label, leaving_fields, received, sender_id
from mail.address import Address
from mail.message import Field, read_header
from tests.compose.material import HEADER, assignment

REMOVAL = Removal(Labels(field=[LabelField(header="X-Kind", feeds=Feeds.STREAM)]))
FEEDBACK = b"Feedback-ID: november:crm:marketing:gateway.example"


def leaving(header: bytes, **facts: object) -> list[bytes]:
    fields = leaving_fields(read_header(header + b"\r\n"), assignment(**facts).message, REMOVAL, "gateway.example")
    return [field.raw for field in fields]


def test_fields_of_the_application_keep_their_bytes_and_order() -> None:
    odd = b"X-Odd :  a\t b \r\n\t c\r\nDKIM-Signature: theirs\r\nReceived: before us\r\n"
    assert leaving(odd + HEADER) == [field.raw for field in read_header(odd + HEADER).fields] + [FEEDBACK]


@pytest.mark.parametrize(
    "field",
    [
        b"Bcc: x@y",
        b"bcc:",
        b"Resent-Bcc: x@y",
        b"Return-Path: <x@y>",
        b"X-Stream: a",
        b"x-kind: a",
        b"X-CAMPAIGN: a\r\n b",
        b"X-Mailwright-Any: a",
        b"X-SMTPAPI: {}",
        b"X-PM-Metadata-Color: blue",
        b"x-mailgun-anything: a",
    ],
)
def test_what_is_for_us_alone_does_not_leave(field: bytes) -> None:
    assert leaving(field + b"\r\n" + HEADER + field + b"\r\n") == leaving(HEADER)


def test_message_id_and_date_are_added_only_where_missing() -> None:
    added = leaving(b"From: a@b\r\nDate:\r\nMessage-ID:  \r\n", added_date=True, added_message_id=True, message_id="<new@b>")
    assert added == [b"From: a@b", b"Date: Fri, 01 Nov 2024 10:00:00 +0000", b"Message-ID: <new@b>", FEEDBACK]
    assert leaving(HEADER)[:-1] == [field.raw for field in read_header(HEADER).fields]


def test_a_feedback_id_of_the_application_is_kept() -> None:
    assert leaving(b"Feedback-ID: a:b:c:theirs\r\n") == [b"Feedback-ID: a:b:c:theirs"]


@pytest.mark.parametrize(
    ("helo", "client", "expected"),
    [
        ("app.example.org", "192.0.2.3", b"from app.example.org ([192.0.2.3])\r\n\tby "),
        ("app.example.org", "2001:db8::1", b"from app.example.org ([IPv6:2001:db8::1])\r\n\tby "),
        ("[192.0.2.3]", "192.0.2.3", b"from [192.0.2.3] ([192.0.2.3])\r\n\tby "),
        ("a b", "192.0.2.3", b"from unknown ([192.0.2.3])\r\n\tby "),
        ("a\r\nBcc: x", "192.0.2.3", b"from unknown ([192.0.2.3])\r\n\tby "),
        ("a)(", "192.0.2.3", b"from unknown ([192.0.2.3])\r\n\tby "),
        ("", "192.0.2.3", b"from unknown ([192.0.2.3])\r\n\tby "),
        ("app.example.org", "", b"by "),
    ],
)
def test_received_names_the_client_harmlessly(helo: str, client: str, expected: bytes) -> None:
    line = received(assignment(helo=helo, client=client), "mx.gateway.example")
    assert line.startswith(b"Received: " + expected + b"mx.gateway.example with ESMTPSA id aaaaaaaaaaacn\r\n\tfor <someone@example.net>; ")
    assert line.endswith(b"; Fri, 01 Nov 2024 10:00:00 +0000\r\n")


def test_received_is_the_same_in_every_attempt_and_ascii() -> None:
    first = received(assignment(recipient=Address("é@example.net", "example.net")), "mx.gateway.example")
    assert first.isascii()
    assert b"for <" not in first
    assert first == received(assignment(recipient=Address("é@example.net", "example.net")), "mx.gateway.example")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0.0, b"Thu, 01 Jan 1970 00:00:00 +0000"),
        (1_730_455_200.9, b"Fri, 01 Nov 2024 10:00:00 +0000"),
        (951_782_400.0, b"Tue, 29 Feb 2000 00:00:00 +0000"),
    ],
)
def test_dates(at: float, expected: bytes) -> None:
    assert date(at) == expected


def test_a_transactional_message_has_an_empty_campaign() -> None:
    message = assignment(campaign="", stream="transactional").message
    assert feedback_id(message, "gateway.example") == b":crm:transactional:gateway.example"


@given(st.text(max_size=120))
def test_any_label_becomes_harmless(written: str) -> None:
    made = label(written)
    assert len(made) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in made)


def test_labels_that_differ_stay_different() -> None:
    assert label("november-2024") == "november-2024"
    assert len({label(written) for written in ("été", "êtê", "---", "a b", "a:b", "a" * 64, "a" * 65, "a" * 66)}) == 8


@pytest.mark.parametrize("domain", ["gateway.example", "a.b", "a-very-long-gateway.example.org"])
def test_the_sender_id_has_5_to_15_characters(domain: str) -> None:
    assert 5 <= len(sender_id(domain)) <= 15
    assert sender_id(domain) == sender_id(domain)


def test_added_fields_are_known_by_their_names() -> None:
    fields = leaving_fields(read_header(HEADER), assignment().message, REMOVAL, "gateway.example")
    assert fields[-1] == Field(b"feedback-id", FEEDBACK)
