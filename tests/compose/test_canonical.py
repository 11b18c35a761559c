"""Relaxed canonicalisation: the examples of RFC 6376, dkimpy as a second opinion, and linear time."""

import random
import time

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.compose import canonical
from gateway.compose.canonical import relaxed_body, relaxed_value

PIECES = (b"a", b" ", b"  ", b"\t", b"\r\n", b"\r\n\r\n", b" \r\n", b"word", b"\xe9", b"=20", b" " * 17, b"\t \t")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # RFC 6376 section 3.4.5
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n\r\n", b""),
        (b" \t\r\n \r\n", b""),
        (b"a", b"a\r\n"),
        (b"a \t", b"a\r\n"),
        (b"\r\na\r\n", b"\r\na\r\n"),
        (b"   a", b" a\r\n"),
        (b"a\n\r\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n"),
        (b"\n\r\n\r\n", b"\n\r\n"),
        (b"a\r\n\n\r\n\r\n", b"a\r\n\n\r\n"),
    ],
)
def test_relaxed_bodies(body: bytes, expected: bytes) -> None:
    assert relaxed_body(body) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b" X\t", b"X"), (b" Y\t\r\n\tZ  ", b"Y Z"), (b"", b""), (b" \r\n ", b""), (b"\r\n <a@b>", b"<a@b>"), (b"a\r\n b\r\n\t c", b"a b c")],
)
def test_relaxed_values(value: bytes, expected: bytes) -> None:
    assert relaxed_value(value) == expected


def random_body(chance: random.Random) -> bytes:
    return b"".join(chance.choice(PIECES) for _ in range(chance.randrange(40))) + b"\r\n"


def differences_from_dkimpy(number: int, seed: int) -> int:
    chance = random.Random(seed)
    bodies = (random_body(chance) for _ in range(number))
    return sum(relaxed_body(body) != Relaxed.canonicalize_body(body) for body in bodies)


def test_bodies_agree_with_dkimpy() -> None:
    assert differences_from_dkimpy(3000, 1) == 0


@pytest.mark.slow
def test_thirty_thousand_bodies_agree_with_dkimpy() -> None:
    assert differences_from_dkimpy(30_000, 2) == 0


@given(st.lists(st.sampled_from([*PIECES, b"\n", b"\r", b"|"]), max_size=30).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_both_ways_agree_and_a_canonical_body_stays(body: bytes) -> None:
    once = relaxed_body(body)
    assert relaxed_body(once) == once
    assert canonical._one_space(body) == canonical._one_space_of_many(body.replace(b"\t", b" "))


@pytest.mark.parametrize("unit", [b" ", b"\t", b" \r\n", b"a  ", b"\r\n", b"\n\r\n", b"\r", b"a " * 7 + b"  "])
def test_hostile_bodies_take_linear_time(unit: bytes) -> None:
    for size in (900_000, 4_000_000):
        body = unit * (size // len(unit)) + b"x"
        started = time.process_time()
        relaxed_body(body)
        assert time.process_time() - started < 1.0
