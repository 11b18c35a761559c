"""Limits: smooth, counted on attempts, and never too little after a restart."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.traffic.limits import Ledger, Limit, decode_ledger, encode_ledger

NOW = 1_700_000_000.0


def test_3600_an_hour_is_one_a_second_not_3600_in_the_first() -> None:
    limit = Limit(3600 / 3600, 1)
    taken = []
    now = NOW
    while now < NOW + 60:
        if limit.available(now):
            limit.take(now)
            taken.append(now)
        now += 0.01
    assert len(taken) == 60
    assert all(later - earlier > 0.99 for earlier, later in pairwise(taken))


@given(
    st.floats(0.001, 10_000),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50), st.integers(0, 50)), max_size=60),
)
def test_no_window_has_more_than_the_burst_and_the_rate(rate: float, burst: int, steps: list[tuple[float, int, int]]) -> None:
    limit = Limit(rate, burst)
    now = NOW
    kept: list[float] = []
    for wait, wanted, unused in steps:
        now += wait
        got = min(wanted, limit.available(now))
        for _ in range(got):
            limit.take(now)
        back = min(unused, got)
        limit.give_back(back)
        kept.extend([now] * (got - back))
    for first in range(len(kept)):
        for last in range(first, len(kept)):
            allowed = burst + rate * (kept[last] - kept[first])
            assert last - first + 1 <= allowed * (1 + 1e-6) + 0.02


@given(st.floats(0.001, 10_000), st.integers(1, 100), st.integers(0, 300), st.floats(0, 5))
def test_at_the_promised_time_the_token_is_there(rate: float, burst: int, taken: int, later: float) -> None:
    limit = Limit(rate, burst)
    for _ in range(min(taken, burst)):
        limit.take(NOW)
    when = limit.when(NOW + later, 1)
    assert when >= NOW + later
    assert limit.available(when) >= 1


def test_tokens_given_back_are_as_if_never_taken() -> None:
    limit = Limit(1.0, 10)
    for _ in range(10):
        limit.take(NOW)
    assert limit.available(NOW) == 0
    limit.give_back(4)
    assert limit.available(NOW) == 4


def test_a_changed_limit_keeps_what_was_taken() -> None:
    limit = Limit(1.0, 10)
    for _ in range(10):
        limit.take(NOW)
    limit.retune(10.0, 10, NOW)
    assert limit.available(NOW) == 0
    assert limit.available(NOW + 0.5) == 5
    limit.retune(10.0, 2, NOW + 0.5)
    assert limit.available(NOW + 0.5) == 0


def test_after_an_orderly_stop_the_ledger_is_exact() -> None:
    limit = Limit(1.0, 10)
    for _ in range(7):
        limit.take(NOW)
    ledger = decode_ledger(encode_ledger(Ledger(NOW, 0.0, {"a/b": limit.theoretical})), NOW + 1)
    again = Limit(1.0, 10)
    again.theoretical = ledger.restored("a/b", again, NOW + 1)
    assert again.available(NOW + 1) == limit.available(NOW + 1) == 4
    other = Limit(1.0, 10)
    other.theoretical = ledger.restored("a/c", other, NOW + 1)
    assert other.available(NOW + 1) == 10


@given(st.floats(0, 120), st.floats(0, 60), st.integers(0, 200))
def test_after_a_crash_the_ledger_never_counts_too_little_and_at_most_a_burst_too_much(crash: float, down: float, wanted: int) -> None:
    horizon = 120.0
    ledger = Ledger(NOW, horizon)
    before = Limit(2.0, 10)
    at = NOW + crash
    for _ in range(min(wanted, before.available(at))):
        before.take(at)
    after = Limit(2.0, 10)
    after.theoretical = ledger.restored("any", after, at + down)
    assert after.available(at + down) <= before.available(at + down)
    assert after.available(at + down + 5.0 + horizon) == 10


def test_a_damaged_or_impossible_ledger_counts_as_the_worst_case() -> None:
    for value in (b"", b"\xff\x00rubbish", encode_ledger(Ledger(NOW + 1e6, 0.0)), encode_ledger(Ledger(math.nan, 0.0))):
        limit = Limit(1.0, 10)
        limit.theoretical = decode_ledger(value, NOW).restored("a/b", limit, NOW)
        assert limit.available(NOW) == 0
        assert limit.available(NOW + 11) == 10
