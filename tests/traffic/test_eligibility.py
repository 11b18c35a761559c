"""Eligibility and pool weights."""

import pytest

from config.sending import Pool, Source
from config.settings import Settings
from gateway.traffic.eligibility import Eligibility, PoolShare, Sources

SETTINGS = Settings(
    source=[Source(name=name) for name in ("a", "b", "c")],
    pool=[Pool(name="default", members={"a": 1, "b": 3}), Pool(name="other", members={"c": 1, "gone": 1})],
)


@pytest.mark.parametrize(
    ("eligibility", "sources"),
    [
        (Eligibility("default"), ("a", "b")),
        (Eligibility("default", without=("a",)), ("b",)),
        (Eligibility("default", without=("a", "b")), ()),
        (Eligibility("default", only="a"), ("a",)),
        (Eligibility("default", only="c"), ("c",)),
        (Eligibility("default", only="gone"), ("a", "b")),
        (Eligibility("default", only="gone", without=("b",)), ("a",)),
        (Eligibility("other"), ("c",)),
        (Eligibility("unknown"), ()),
    ],
)
def test_sources_by_eligibility(eligibility: Eligibility, sources: tuple[str, ...]) -> None:
    assert Sources(SETTINGS).eligible(eligibility) == sources


def test_a_source_may_run_ahead_by_its_burst_and_no_more() -> None:
    share = PoolShare({"a": 1, "b": 3}, burst=5)
    served = 0
    while not share.ahead("a"):
        share.serve("a")
        served += 1
    assert served == 5
    share.serve("b")
    assert not share.ahead("a")
    share.serve("a")
    for _ in range(2):
        share.serve("b")
        assert share.ahead("a")
    share.serve("b")
    share.serve("b")
    assert not share.ahead("a")


def test_served_by_weight_when_each_leaves_to_the_other_what_is_its() -> None:
    share = PoolShare({"a": 1, "b": 3}, burst=4)
    counts = {"a": 0, "b": 0}
    for _ in range(4000):
        for source in ("a", "b"):
            if not share.ahead(source):
                share.serve(source)
                counts[source] += 1
    assert abs(counts["b"] / counts["a"] - 3) < 0.05


def test_who_was_away_does_not_make_up_for_all_of_it() -> None:
    share = PoolShare({"a": 1, "b": 1}, burst=4)
    for _ in range(1000):
        share.serve("b")
    served = 0
    while not share.ahead("a"):
        share.serve("a")
        served += 1
    assert served <= 10


def test_a_source_outside_the_pool_is_never_ahead() -> None:
    share = PoolShare({"a": 1, "b": 1}, burst=1)
    for _ in range(10):
        share.serve("x")
    assert not share.ahead("x")


def test_the_permit_that_waited_longest_for_its_weight_is_released_when_its_source_is_no_longer_ahead() -> None:
    share = PoolShare({"a": 1, "b": 1}, burst=2)
    share.serve("a")
    share.serve("a")
    share.waiting = {7: "a", 8: "a"}
    assert list(share.released()) == []
    share.serve("b")
    assert list(share.released()) == [7]
    assert share.waiting == {8: "a"}
