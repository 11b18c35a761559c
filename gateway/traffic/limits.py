"""One rate limit, counted on attempts: the generic cell rate algorithm, which is a token bucket kept as a single time.

Promises: over any window of `w` seconds at most `burst + rate * w` tokens are taken, and what leaves is smooth: 3,600 an hour is one a
second, not 3,600 in the first second. A token taken for a message that was then not tried is given back and counts as never taken.

After a crash a limit never counts too little. `Ledger` is what is kept on disk: written every `horizon` seconds, it stands for the worst
that the next `horizon` seconds could do, so the restarted limit owes at most one burst too much. After an orderly stop it is exact.

Not here: classes, queues for a token, daily budgets.
"""

import math

import msgspec

ROUNDING = 1e-6
"""Seconds (and parts of a token) by which floating-point times may be wrong; a caller that comes at the promised time finds its token."""


class Limit:
    """At most `rate` tokens a second, `burst` at once. `theoretical` is the time at which the bucket will be full again."""

    __slots__ = ("burst", "interval", "rate", "theoretical")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.interval = 1.0 / rate
        self.theoretical = -math.inf

    def available(self, now: float) -> int:
        """Whole tokens that may be taken at `now`."""
        missing = (self.theoretical - now) * self.rate
        return self.burst if missing <= 0.0 else max(0, math.floor(self.burst - missing + ROUNDING * (1.0 + self.rate)))

    def take(self, now: float) -> None:
        """Take one token; the caller has seen that it is available."""
        self.theoretical = (now if now > self.theoretical else self.theoretical) + self.interval

    def give_back(self, tokens: int) -> None:
        """Undo `tokens` takes."""
        self.theoretical -= tokens * self.interval

    def when(self, now: float, tokens: int) -> float:
        """The earliest time, not before `now`, at which the `tokens`-th token from now on exists if each is taken as it comes."""
        return max(now, self.theoretical + (tokens - self.burst) * self.interval)

    def retune(self, rate: float, burst: int, now: float) -> None:
        """Change the limit. The tokens already taken stay taken."""
        missing = max(0.0, (self.theoretical - now) * self.rate)
        self.rate, self.burst, self.interval = rate, burst, 1.0 / rate
        self.theoretical = now + min(missing, float(burst)) * self.interval


class Ledger(msgspec.Struct, frozen=True):
    """What is kept of all limits over a restart: for each lane `source/provider` its theoretical time, as of `at`.

    With `horizon` 0 the stop was orderly and the times are exact; else every lane may have emptied its bucket until `at + horizon`.
    """

    at: float
    horizon: float
    theoretical: dict[str, float] = {}

    def restored(self, name: str, limit: Limit, now: float) -> float:
        """The theoretical time with which lane `name` starts again at `now`."""
        empty = limit.burst * limit.interval
        worst = self.at + self.horizon + empty if self.horizon else self.theoretical.get(name, -math.inf)
        return min(worst, now + empty)


_decoder = msgspec.msgpack.Decoder(Ledger)


def encode_ledger(ledger: Ledger) -> bytes:
    """The ledger as bytes for a note of the spool."""
    return msgspec.msgpack.encode(ledger)


def decode_ledger(value: bytes, now: float) -> Ledger:
    """The ledger in `value`. A damaged one, or one from the future, counts as the worst case at `now`: never too little."""
    try:
        ledger = _decoder.decode(value)
    except msgspec.DecodeError:
        return Ledger(now, 1.0)
    return ledger if ledger.at <= now + 1.0 and math.isfinite(ledger.at) else Ledger(now, 1.0)
