"""Events: one line of JSON, the same each time, with nothing that is not known."""

import json

import msgspec
import pytest

from mail.event import FINAL, Event, EventKind, seal, timestamp, unseal


def test_an_event_is_one_line_without_what_is_absent() -> None:
    event = Event(
        "aaaaaaaaaaaaa.1",
        EventKind.DELIVERED,
        1_700_000_000.25,
        "ann@example.com",
        diagnostic="250 ok\nqueued",
        tags=("t",),
        metadata={"k": "v"},
    )
    line = seal(event)
    assert b"\n" not in line
    assert seal(event) == line
    assert json.loads(line) == {
        "id": "aaaaaaaaaaaaa.1",
        "kind": "delivered",
        "at": 1_700_000_000.25,
        "recipient": "ann@example.com",
        "time": "2023-11-14T22:13:20.250Z",
        "diagnostic": "250 ok\nqueued",
        "tags": ["t"],
        "metadata": {"k": "v"},
    }
    assert seal(unseal(line)) == line


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1_700_000_000) == "2023-11-14T22:13:20.000Z"


def test_what_is_no_event_is_refused() -> None:
    for line in (b"", b"{}", b"[]", b'{"id":"x","kind":"nonsense","at":0,"recipient":"a"}', b"\xff", b'{"id":"\xff"}'):
        with pytest.raises(msgspec.DecodeError):
            unseal(line)


def test_four_kinds_end_a_delivery() -> None:
    assert {kind.value for kind in FINAL} == {"delivered", "bounced", "expired", "cancelled"}
