"""When a deferred delivery is tried again: a pure decision over the stream's schedule, and nothing else.

| what happened           | tried again                                               | retry step used |
|-------------------------|-----------------------------------------------------------|-----------------|
| deferred                | first * growth ** steps, at most `longest`, with jitter   | yes             |
| greylisted, first time  | 300 s later, never earlier, from the same source          | yes             |
| greylisted again        | the schedule, at least 300 s later                        | yes             |
| unsure                  | 900 s later, once                                         | yes             |
| the lane does not allow | when the lane allows                                      | no              |

Promises: `due` lies after `now` and before the delivery expires. Where the schedule points past the end, one last try is made just before
it, unless that is so soon that it would be a hammer; then the delivery has expired. Which row applies is the refusal table's matter.
"""

import random

import msgspec

from config.sending import Retry

LAST_TRY = 60.0
"""Seconds before its expiry at which the last try of a delivery is made, at most; short lifetimes use a hundredth of themselves."""


class Retried(msgspec.Struct, frozen=True, gc=False, tag="retried"):
    """Try again at `due` (Unix seconds); `steps` of the schedule are then used up."""

    due: float
    steps: int


class Expired(msgspec.Struct, frozen=True, gc=False, tag="expired"):
    """No further try fits into the lifetime, which ends at `at`."""

    at: float


RetryDecision = Retried | Expired


def next_attempt(retry: Retry, steps: int, now: float, accepted_at: float, random: random.Random) -> RetryDecision:
    """The schedule's next try after `steps` steps were used up."""
    return _within(retry, now + _delay(retry, steps, random), steps + 1, now, accepted_at)


def after_greylisting(retry: Retry, steps: int, now: float, accepted_at: float, random: random.Random) -> RetryDecision:
    """Five minutes the first time, since most greylists open then; later the schedule."""
    delay = retry.greylisted if steps == 0 else max(retry.greylisted, _delay(retry, steps, random))
    return _within(retry, now + delay, steps + 1, now, accepted_at)


def after_unsure(retry: Retry, steps: int, now: float, accepted_at: float) -> RetryDecision:
    """A quarter of an hour: long enough for the receiver to find the first copy, should it look for duplicates."""
    return _within(retry, now + retry.unsure, steps + 1, now, accepted_at)


def when_the_lane_allows(retry: Retry, steps: int, until: float, now: float, accepted_at: float) -> RetryDecision:
    """The refusal was about us, not about the delivery: no step is used up, and `until` is when the lane opens again."""
    return _within(retry, max(until, now + 1.0), steps, now, accepted_at)


def _delay(retry: Retry, steps: int, random: random.Random) -> float:
    """Seconds of step `steps`, with jitter. Growth stops at `longest` before a float can overflow."""
    try:
        delay = min(retry.first * retry.growth**steps, retry.longest)
    except OverflowError:
        delay = retry.longest
    return delay * (1.0 + retry.jitter * (2.0 * random.random() - 1.0))


def _within(retry: Retry, due: float, steps: int, now: float, accepted_at: float) -> RetryDecision:
    """`due` moved before the end of the lifetime, or Expired."""
    expires = accepted_at + retry.lifetime
    last = expires - min(LAST_TRY, retry.lifetime * 0.01)
    if due <= last:
        return Retried(due, steps)
    # A last try closer than half the first delay would meet the same trouble again.
    return Retried(last, steps) if last - now >= retry.first / 2 else Expired(expires)
