"""How much one account may hand in: messages, and recipients, each a token bucket as every limit here (`gateway.traffic.limits`).

Promises: over any `w` seconds at most `burst + rate * w` are taken, smoothly; taken is what we took responsibility for, the rest is
given back; what `export` gave counts after a restart as if there had been none. A message with more recipients than the burst, where it
cannot be divided, waits for a full bucket, takes all it needs, and what comes next waits until that is paid. A note that cannot be read
counts as an empty bucket: too little is never counted.

Pure: given `now` in Unix seconds. Who is asked, and when, is `gateway.core.quotas`.
"""

import math

import msgspec

from gateway.traffic.limits import Limit
from mail.reply import Reply


class Shortage(msgspec.Struct, frozen=True, gc=False):
    """What is used up (`messages` or `recipients`), and in how many seconds there is enough again."""

    what: str
    seconds: float


class Usage(msgspec.Struct, frozen=True, gc=False):
    """One bucket of an account, for people. `rate` is per second; in `next_in` seconds there is one more (0: there is one now)."""

    account: str
    limit: str
    rate: float
    burst: int
    available: int
    next_in: float


class Quota:
    """The buckets of one account. A rate of None is no limit."""

    def __init__(self, message_rate: float | None, message_burst: int, recipient_rate: float | None, recipient_burst: int) -> None:
        self.buckets: dict[str, Limit] = {}
        if message_rate is not None:
            self.buckets["messages"] = Limit(message_rate, message_burst)
        if recipient_rate is not None:
            self.buckets["recipients"] = Limit(recipient_rate, recipient_burst)

    def shortage(self, recipients: int, now: float, *, whole: bool = False) -> Shortage | None:
        """Why a message to so many recipients cannot be taken now, or None. `whole`: it cannot be sent to some now and to others later."""
        for what, limit in self.buckets.items():
            needed = min(_tokens(what, recipients), limit.burst) if whole else _tokens(what, recipients)
            if limit.available(now) < needed:
                return Shortage(what, limit.when(now, needed) - now)
        return None

    def take(self, recipients: int, now: float) -> None:
        """Count a message; the caller has seen that there is no shortage."""
        for what, limit in self.buckets.items():
            limit.theoretical = max(now, limit.theoretical) + _tokens(what, recipients) * limit.interval

    def give_back(self, messages: int, recipients: int) -> None:
        """What was counted and not taken responsibility for."""
        for what, limit in self.buckets.items():
            limit.give_back(messages if what == "messages" else recipients)

    def usage(self, account: str, now: float) -> list[Usage]:
        """Every bucket, for people."""
        return [
            Usage(account, what, limit.rate, limit.burst, limit.available(now), limit.when(now, 1) - now)
            for what, limit in self.buckets.items()
        ]

    def export(self) -> bytes:
        """For a note of the spool, written with what was taken."""
        return msgspec.msgpack.encode({what: limit.theoretical for what, limit in self.buckets.items()})

    def restore(self, value: bytes, now: float) -> None:
        """As `export` gave it, by this process or one before; the rates may have changed since."""
        try:
            times = _decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            times = dict.fromkeys(self.buckets, math.inf)
        for what, limit in self.buckets.items():
            given, empty = times.get(what, -math.inf), now + limit.burst * limit.interval
            limit.theoretical = given if given < empty else empty  # a time from the future, or none at all, is an empty bucket


_decoder = msgspec.msgpack.Decoder(dict[str, float])


def _tokens(what: str, recipients: int) -> int:
    return 1 if what == "messages" else recipients


def refusal(shortage: Shortage) -> Reply:
    """What the client hears: 4yz, as every limit at our door, and when to come back."""
    seconds = max(1, math.ceil(shortage.seconds))
    when = f"{seconds} second{'s' if seconds > 1 else ''}" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"
    return Reply(451, f"this account has used up its {shortage.what} for now; try again in {when}", "4.7.1")
