"""The retry schedule as a table, with its extremes."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.sending import Retry
from gateway.traffic.retry import Expired, Retried, after_greylisting, after_unsure, next_attempt, when_the_lane_allows

NOW = 1_700_000_000.0
EVEN = Retry(jitter=0.0)


@pytest.mark.parametrize(
    ("steps", "delay"),
    [(0, 300), (1, 600), (2, 1200), (3, 2400), (4, 4800), (5, 9600), (6, 14_400), (7, 14_400), (10_000, 14_400), (10**9, 14_400)],
)
def test_the_default_schedule_doubles_up_to_four_hours(steps: int, delay: float) -> None:
    assert next_attempt(EVEN, steps, NOW, NOW, random.Random(1)) == Retried(NOW + delay, steps + 1)


@pytest.mark.parametrize(
    ("left", "decision"),
    [
        (3 * 86_400.0, Retried(NOW + 300, 1)),
        (361.0, Retried(NOW + 300, 1)),
        (360.0, Retried(NOW + 300, 1)),
        (359.0, Retried(NOW + 299, 1)),  # one last try, a minute before the end
        (210.0, Retried(NOW + 150, 1)),
        (209.0, Expired(NOW + 209)),  # a last try would be too soon to help
        (0.0, Expired(NOW)),
        (-86_400.0, Expired(NOW - 86_400)),
    ],
)
def test_at_the_end_of_its_life_a_delivery_gets_one_last_try_or_expires(left: float, decision: object) -> None:
    assert next_attempt(EVEN, 0, NOW, NOW + left - EVEN.lifetime, random.Random(1)) == decision


def test_greylisted_mail_returns_after_five_minutes_and_then_by_the_schedule() -> None:
    quick = Retry(first=10.0, jitter=0.0)
    chance = random.Random(1)
    assert after_greylisting(quick, 0, NOW, NOW, chance) == Retried(NOW + 300, 1)
    assert after_greylisting(quick, 1, NOW, NOW, chance) == Retried(NOW + 300, 2)
    assert after_greylisting(quick, 7, NOW, NOW, chance) == Retried(NOW + 1280, 8)
    assert after_greylisting(Retry(jitter=0.5), 0, NOW, NOW, chance) == Retried(NOW + 300, 1)


def test_unsure_mail_returns_after_a_quarter_of_an_hour() -> None:
    assert after_unsure(EVEN, 2, NOW, NOW) == Retried(NOW + 900, 3)


def test_a_refusal_about_the_lane_uses_no_step() -> None:
    assert when_the_lane_allows(EVEN, 4, NOW + 45, NOW, NOW) == Retried(NOW + 45, 4)
    assert when_the_lane_allows(EVEN, 4, NOW - 45, NOW, NOW) == Retried(NOW + 1, 4)


@given(
    first=st.floats(0.001, 1e6),
    growth=st.floats(1, 10),
    longest=st.floats(0.001, 1e7),
    jitter=st.floats(0, 0.5),
    lifetime=st.floats(0.001, 1e8),
    steps=st.integers(0, 10**6),
    age=st.floats(0, 1e8),
    seed=st.integers(),
)
def test_every_decision_lies_after_now_and_within_the_lifetime(
    first: float, growth: float, longest: float, jitter: float, lifetime: float, steps: int, age: float, seed: int
) -> None:
    assume(first <= longest)
    retry = Retry(first=first, growth=growth, longest=longest, jitter=jitter, lifetime=lifetime)
    decision = next_attempt(retry, steps, NOW, NOW - age, random.Random(seed))
    match decision:
        case Retried():
            assert NOW < decision.due <= NOW - age + retry.lifetime
            assert decision.steps == steps + 1
            assert decision.due - NOW <= retry.longest * 1.5 + 1e-6
        case Expired():
            assert decision.at == NOW - age + retry.lifetime
