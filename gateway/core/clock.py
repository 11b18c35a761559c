"""The time that the gateway acts by: the system's, except that it never goes back.

Pauses, tokens, retries and leases are moments. When the system's clock is set back by an hour (a machine that started with a wrong one),
every one of them would lie an hour ahead, and nothing would leave for so long. So this clock goes on, a tenth slower than real seconds,
until the system's has caught up, and says so once; a step forward is followed at once. What others verify (the time in a signature) is
not its matter: that is read from the system.
"""

from collections.abc import Callable

SLOWNESS = 0.1
TOLD = 1.0
"""Seconds that the system's clock must be behind before anybody is told."""


class SteadyClock:
    """Call it for Unix seconds. `wall` is the system's clock, `monotonic` never goes back, `on_step` is told how far `wall` went back."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float], on_step: Callable[[float], None]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._on_step = on_step
        self._now = wall()
        self._tick = monotonic()
        self._told = False

    def __call__(self) -> float:
        tick, wall = self._monotonic(), self._wall()
        slow = self._now + (tick - self._tick) * (1.0 - SLOWNESS)
        behind = slow - wall
        self._tick = tick
        self._now = wall if behind <= 0.0 else slow
        if behind <= 0.0:
            self._told = False
        elif behind > TOLD and not self._told:
            self._told = True
            self._on_step(behind)
        return self._now
