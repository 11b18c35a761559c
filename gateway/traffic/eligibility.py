"""Which sources may carry a flow, and whether a source is ahead of its weight in a pool.

Eligibility is the stream's pool less the sources excluded for the delivery, or one source (greylisted mail returns from where it came).
A pin on a source that is no longer configured falls back to the pool, so that a removed IP strands no mail.

Weights are virtual times, one for each source of a (pool, provider): each message moves its source on by 1 / weight. A source ahead of the
slowest by more than its burst is *ahead*: it is passed over while another source has room, and when none has, it is served and the others
are pulled along, so that a source that comes back from a suspension is not flooded to make up for it. Nothing here knows connections.
"""

from collections.abc import Iterable, Mapping

import msgspec

from config.settings import Settings
from gateway.spool.port import FlowKey


class Eligibility(msgspec.Struct, frozen=True, gc=False):
    """The part of a flow's key that says which sources may carry it."""

    pool: str
    only: str = ""
    without: tuple[str, ...] = ()


def eligibility_of(key: FlowKey) -> Eligibility:
    """The eligibility of a flow."""
    return Eligibility(key.pool, key.only, key.without)


class Sources:
    """The configured sources and pools, answered by eligibility."""

    def __init__(self, settings: Settings) -> None:
        self._known = {source.name for source in settings.source}
        self._pools = {pool.name: {name: weight for name, weight in pool.members.items() if name in self._known} for pool in settings.pool}

    def eligible(self, eligibility: Eligibility) -> tuple[str, ...]:
        """Sources that may carry it, possibly none: then it waits until its exclusions end."""
        if eligibility.only in self._known:
            return (eligibility.only,)
        members = self._pools.get(eligibility.pool, {})
        return tuple(name for name in members if name not in eligibility.without)

    def weights(self, pool: str) -> Mapping[str, int]:
        """Weight of each source of a pool; empty for an unknown pool."""
        return self._pools.get(pool, {})

    def __contains__(self, source: str) -> bool:
        return source in self._known


class PoolShare:
    """Virtual times of the sources of one pool at one provider."""

    __slots__ = ("_burst", "_floor", "_stale", "_times", "_weights", "waiting")

    def __init__(self, weights: Mapping[str, int], burst: int) -> None:
        self._weights = dict(weights)
        self._times = dict.fromkeys(self._weights, 0.0)
        self._burst = burst
        self._floor = 0.0
        self._stale = False
        self.waiting: dict[int, str] = {}
        """Permits that wait because their source is ahead, with the source; in order of arrival."""

    @property
    def several(self) -> bool:
        """Whether there is anything to share."""
        return len(self._times) > 1

    def time(self, source: str) -> float:
        """Virtual time of a source: the smaller, the further behind its weight."""
        return self._times.get(source, 0.0)

    def ahead(self, source: str) -> bool:
        """Whether `source` has carried over its burst more than its weight allows, against the slowest of the pool."""
        time = self._times.get(source)
        return time is not None and (time - self._slowest()) * self._weights[source] >= self._burst

    def serve(self, source: str) -> None:
        """One message left by `source`. Where it was ahead nobody else had room, so the others are pulled along."""
        time = self._times.get(source)
        if time is None:
            return
        if time <= self._floor:
            self._stale = True
        time = self._times[source] = time + 1.0 / self._weights[source]
        if (time - self._floor) * self._weights[source] > self._burst + 1.0:
            self._pull_along(time - self._burst / self._weights[source])

    def give_back(self, source: str) -> None:
        """A message handed to `source` was not tried."""
        if source in self._times:
            self._times[source] -= 1.0 / self._weights[source]
            self._stale = True

    def _slowest(self) -> float:
        if self._stale:
            self._floor = min(self._times.values(), default=0.0)
            self._stale = False
        return self._floor

    def _pull_along(self, to: float) -> None:
        """No source is left further behind than `to`."""
        for source, time in self._times.items():
            if time < to:
                self._times[source] = to
        self._stale = True

    def released(self) -> Iterable[int]:
        """The permit that waited longest among those whose source is not ahead any more, if there is one; it waits no longer."""
        if not self.waiting:
            return ()
        allowed: dict[str, bool] = {}
        for permit, source in self.waiting.items():
            if source not in allowed:
                allowed[source] = not self.ahead(source)
            if allowed[source]:
                del self.waiting[permit]
                return (permit,)
        return ()
