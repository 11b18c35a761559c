"""Which lanes rest, told to the log when it begins and when it ends. Looked at every few seconds: a rest shorter than that is no news."""

from collections.abc import Iterable

from gateway.calls import Lane
from gateway.observe import log
from gateway.traffic.view import LaneView


class RestingLanes:
    """Remembers the suspended lanes of the last look; no more of them than there are lanes."""

    def __init__(self) -> None:
        self._until: dict[Lane, float] = {}

    def look(self, lanes: Iterable[LaneView], now: float) -> None:
        """Tell what changed since the last look. A rest that was made longer is told again."""
        resting: dict[Lane, float] = {}
        for view in lanes:
            if view.suspended_until > now:
                resting[view.lane] = view.suspended_until
                if self._until.get(view.lane, 0.0) < view.suspended_until:
                    log.lane_suspended(
                        source=view.lane.source, provider=view.lane.provider, seconds=view.suspended_until - now, why=view.why
                    )
        for lane, until in self._until.items():
            if lane not in resting:
                why = "its time is over" if until <= now else "resumed by an operator"
                log.lane_resumed(source=lane.source, provider=lane.provider, why=why)
        self._until = resting
