"""Notices when a campaign is badly wrong at a provider: authentication, sender domain, content or policy refusals in numbers.

A broken DKIM key or a listed link fails every delivery, and each failure harms the domain. The breaker counts such refusals for each
(account, campaign, provider) and says so as a value, `Trip`; what follows (a hold, an alarm) is decided by its reader.

Promises: memory is bounded (`KEYS`, the least recently touched goes first), every trip ends by itself, and what is older than `WINDOW`
weighs nothing. A few refusals among many deliveries never trip it. Not here: refusals that are the recipient's, the network's or the IP's.
"""

from collections import OrderedDict

import msgspec

from mail.outcome import Category, Fault

Key = tuple[str, str, str]
"""Account, campaign, provider."""

KEYS = 10_000
WINDOW = 600.0
LEAST = 20
"""Refusals in the window below which nothing is said."""
PART = 0.5
"""Part of all outcomes in the window that must be such refusals."""
FIRST_TRIP = 1800.0
LONGEST_TRIP = 14_400.0

COUNTED = frozenset({Category.AUTH_FAILED, Category.DOMAIN_REPUTATION, Category.SENDER_REJECTED, Category.CONTENT, Category.POLICY})
NOT_COUNTED = frozenset({Fault.RECIPIENT, Fault.SENDER_IP, Fault.NETWORK, Fault.RECEIVER})


class Trip(msgspec.Struct, frozen=True, gc=False):
    """Something is badly wrong until `until` (Unix seconds), because of `why`, which is for people."""

    until: float
    why: str


class _Count(msgspec.Struct, gc=False):
    """Two half windows: the current one, and the one before it."""

    since: float
    bad: int = 0
    all: int = 0
    bad_before: int = 0
    all_before: int = 0
    trips: int = 0
    tripped_until: float = 0.0


class Breaker:
    """Counts outcomes by key."""

    def __init__(self) -> None:
        self._counts: OrderedDict[Key, _Count] = OrderedDict()

    def delivered(self, key: Key, now: float) -> None:
        """A delivery that ended well. Only keys that had a refusal are kept."""
        count = self._counts.get(key)
        if count is not None:
            _roll(count, now)
            count.all += 1

    def record(self, key: Key, category: Category, fault: Fault, now: float) -> Trip | None:
        """A permanent refusal. A Trip is returned once for each trip, not for every refusal while it lasts."""
        if category not in COUNTED or fault in NOT_COUNTED:
            self.delivered(key, now)
            return None
        count = self._counted(key, now)
        count.bad += 1
        count.all += 1
        bad, total = count.bad + count.bad_before, count.all + count.all_before
        if now < count.tripped_until or bad < LEAST or bad < PART * total:
            return None
        count.tripped_until = now + min(FIRST_TRIP * 2.0 ** min(count.trips, 8), LONGEST_TRIP)
        count.trips += 1
        count.bad = count.all = count.bad_before = count.all_before = 0
        return Trip(count.tripped_until, f"{bad} of {total} outcomes at {key[2]} were {category.value} (fault {fault.value}) or alike")

    def __len__(self) -> int:
        return len(self._counts)

    def _counted(self, key: Key, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(now)
            if len(self._counts) > KEYS:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end(key)
            _roll(count, now)
        return count


def _roll(count: _Count, now: float) -> None:
    """Move to the half window in which `now` lies; a day without a trip forgives the earlier ones."""
    half = WINDOW / 2
    age = now - count.since
    if age < half:
        return
    count.bad_before, count.all_before = (count.bad, count.all) if age < WINDOW else (0, 0)
    count.bad = count.all = 0
    count.since = now
    if count.trips and now > count.tripped_until + 86_400.0:
        count.trips = 0
