"""Identities: they grow, they never repeat, and their text survives the road."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.identity import EPOCH, IdentitySource, from_text, given_at, to_text


@given(st.integers(0, 255), st.lists(st.floats(EPOCH, EPOCH + 1e9), min_size=1, max_size=50))
def test_identities_ascend_whatever_the_clock_does(node: int, times: list[float]) -> None:
    source = IdentitySource(node)
    given_out = [source.next(now) for now in times]
    assert given_out == sorted(set(given_out))
    again = IdentitySource(node, given_out[-1])
    assert again.next(times[0]) > given_out[-1], "a restart goes on where it was"


def test_two_nodes_never_give_the_same_identity_and_a_burst_spills_into_the_next_millisecond() -> None:
    one, two = IdentitySource(1), IdentitySource(2)
    now = EPOCH + 1000.0
    burst = [one.next(now) for _ in range(40_000)]
    assert len(set(burst)) == 40_000
    assert not set(burst) & {two.next(now) for _ in range(40_000)}
    assert given_at(burst[0]) == now
    assert given_at(burst[-1]) == pytest.approx(now + 0.002)


@given(st.integers(0, 2**63 - 1))
def test_the_text_is_read_back_in_any_case(identity: int) -> None:
    text = to_text(identity)
    assert len(text) == 13
    assert from_text(text) == from_text(text.upper()) == identity


@given(st.text(max_size=20))
def test_any_other_text_is_none_or_an_identity(text: str) -> None:
    identity = from_text(text)
    assert identity is None or to_text(identity) == text.lower()


@pytest.mark.parametrize("text", ["", "a" * 12, "a" * 14, "a" * 12 + "1", "a" * 12 + "é", "7" * 13])
def test_what_is_no_identity(text: str) -> None:
    assert from_text(text) is None


@pytest.mark.parametrize("node", [-1, 256])
def test_a_node_has_eight_bits(node: int) -> None:
    with pytest.raises(ValueError, match="node"):
        IdentitySource(node)
