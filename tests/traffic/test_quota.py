"""Quotas: never more than burst and rate allow, whatever is given back, through restarts and damaged notes."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.traffic.quota import Quota, Shortage, refusal

HOUR = 3600.0
NOW = 1_750_000_000.0


def test_an_account_without_rates_has_no_quota() -> None:
    quota = Quota(None, 100, None, 1000)
    assert quota.buckets == {}
    assert quota.shortage(10**9, NOW) is None


def test_an_hours_messages_come_smoothly_after_the_burst() -> None:
    quota = Quota(3600 / HOUR, 5, None, 1000)
    for _ in range(5):
        assert quota.shortage(1, NOW) is None
        quota.take(1, NOW)
    assert quota.shortage(1, NOW) == Shortage("messages", 1.0)
    assert quota.shortage(1, NOW + 1.0) is None
    quota.take(1, NOW + 1.0)
    assert quota.shortage(1, NOW + 1.0) == Shortage("messages", 1.0)


def test_recipients_count_beside_messages_and_say_when_there_is_room_for_all() -> None:
    quota = Quota(1.0, 100, 1.0, 10)
    quota.take(8, NOW)
    assert quota.shortage(2, NOW) is None
    assert quota.shortage(5, NOW) == Shortage("recipients", 3.0)


def test_a_message_larger_than_the_burst_waits_for_a_full_bucket_and_is_paid_off() -> None:
    quota = Quota(None, 1, 1.0, 10)
    quota.take(1, NOW)
    assert quota.shortage(25, NOW) == Shortage("recipients", 16.0)
    assert quota.shortage(25, NOW, whole=True) == Shortage("recipients", 1.0)
    assert quota.shortage(25, NOW + 1, whole=True) is None
    quota.take(25, NOW + 1)
    assert quota.shortage(1, NOW + 1) == Shortage("recipients", 16.0)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4), st.booleans()), max_size=60),
    st.sampled_from([0.5, 1.0, 7.0]),
    st.integers(4, 9),
)
def test_no_window_ever_holds_more_than_burst_and_rate_allow(story: list[tuple[float, int, bool]], rate: float, burst: int) -> None:
    quota, now = Quota(None, 1, rate, burst), NOW
    taken: list[tuple[float, int]] = []
    for pause, recipients, kept in story:
        now += pause
        if quota.shortage(recipients, now) is None:
            quota.take(recipients, now)
            if kept:
                taken.append((now, recipients))
            else:
                quota.give_back(1, recipients)
        renewed = Quota(None, 1, rate, burst)
        renewed.restore(quota.export(), now)  # a restart changes nothing
        quota = renewed
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            window = taken[last][0] - taken[first][0]
            assert sum(count for _, count in taken[first : last + 1]) <= burst + rate * window + 1e-3


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff",
        b"\x81\xa1\xff\xcb" + bytes(8),
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"messages": math.inf}),
        msgspec.msgpack.encode({"messages": math.nan}),
        msgspec.msgpack.encode({"messages": NOW + 1e9}),
    ],
)
def test_a_note_that_cannot_be_believed_is_an_empty_bucket(note: bytes) -> None:
    quota = Quota(1.0, 10, None, 1)
    quota.restore(note, NOW)
    assert quota.shortage(1, NOW) == Shortage("messages", 1.0)
    assert quota.shortage(1, NOW + 1) is None


def test_a_rate_that_changes_keeps_what_was_used() -> None:
    slow = Quota(1.0, 10, None, 1)
    for _ in range(10):
        slow.take(1, NOW)
    fast = Quota(10.0, 10, 1.0, 5)
    fast.restore(slow.export(), NOW)
    short = fast.shortage(1, NOW)
    assert short is not None
    assert short.what == "messages"
    assert short.seconds == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "in 1 second"), (1.2, "in 2 seconds"), (119, "in 119 seconds"), (121, "in 3 minutes")]
)
def test_a_refusal_is_temporary_and_says_when_to_come_back(seconds: float, words: str) -> None:
    reply = refusal(Shortage("recipients", seconds))
    assert (reply.code, reply.enhanced) == (451, "4.7.1")
    assert reply.text == f"this account has used up its recipients for now; try again {words}"
