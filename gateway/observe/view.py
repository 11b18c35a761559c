"""The snapshot of queue, lanes, roads and bounds that the core replaces every few seconds, and how it becomes samples when somebody asks.

What has left the snapshot leaves the page. Pure, but for the one assignment that replaces it; safe from any thread.
"""

from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class QueueView(msgspec.Struct, frozen=True, gc=False):
    """Backlog of one provider. `oldest` is the age of its oldest delivery in seconds."""

    provider: str
    queued: int
    leased: int = 0
    due: int = 0
    oldest: float = 0.0


class LaneGauge(msgspec.Struct, frozen=True, gc=False):
    """One lane."""

    source: str
    provider: str
    connections: int
    limit: int
    suspended: bool = False


class Bound(msgspec.Struct, frozen=True, gc=False):
    """How full something bounded is."""

    name: str
    used: float
    limit: float


class SinkGauge(msgspec.Struct, frozen=True, gc=False):
    """One road of events. `oldest` in seconds; `caught_up` from 0 to 1."""

    name: str
    waiting: int
    oldest: float = 0.0
    caught_up: float = 1.0
    failing: bool = False
    dead: int = 0


class View(msgspec.Struct, frozen=True):
    """What the core sees of itself, replaced as a whole."""

    queue: list[QueueView] = []
    lanes: list[LaneGauge] = []
    bounds: list[Bound] = []
    spool: dict[str, float] = {}
    sinks: list[SinkGauge] = []
    conditions: dict[str, bool] = {}
    """True: broken."""
    quotas: dict[str, float] = {}
    """Accounts, by state of their quota."""


class ViewCollector(Collector):
    """Turns the last snapshot into samples when somebody asks. Replacing it is one assignment, so no lock is needed."""

    def __init__(self, views: Iterable[tuple[str, str, tuple[str, ...]]]) -> None:
        """`views`: name, help and labels of every `view` metric."""
        self.view = View()
        self._views = tuple(views)

    def collect(self) -> Iterator[Metric]:
        rows = _rows(self.view)
        for name, text, names in self._views:
            family = GaugeMetricFamily(name, text, labels=names)
            for labels, value in rows[name]:
                family.add_metric(labels, value)
            yield family


def _rows(view: View) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """The samples of every `view` metric: label values and value."""
    queue, lanes = view.queue, view.lanes
    return {
        "mailwright_queue_deliveries": [
            row for one in queue for row in (((one.provider, "queued"), one.queued), ((one.provider, "leased"), one.leased))
        ],
        "mailwright_queue_due": [((one.provider,), one.due) for one in queue],
        "mailwright_queue_oldest_seconds": [((one.provider,), one.oldest) for one in queue],
        "mailwright_lane_connections": [((one.source, one.provider), one.connections) for one in lanes],
        "mailwright_lane_connections_limit": [((one.source, one.provider), one.limit) for one in lanes],
        "mailwright_lane_suspended": [((one.source, one.provider), float(one.suspended)) for one in lanes],
        "mailwright_bound_used": [((one.name,), one.used) for one in view.bounds],
        "mailwright_bound_limit": [((one.name,), one.limit) for one in view.bounds],
        "mailwright_spool_octets": [((part,), value) for part, value in view.spool.items()],
        "mailwright_events_waiting": [((one.name,), float(one.waiting)) for one in view.sinks],
        "mailwright_events_oldest_seconds": [((one.name,), one.oldest) for one in view.sinks],
        "mailwright_events_caught_up_ratio": [((one.name,), one.caught_up) for one in view.sinks],
        "mailwright_events_failing": [((one.name,), float(one.failing)) for one in view.sinks],
        "mailwright_dead_letters": [((one.name,), float(one.dead)) for one in view.sinks if one.name.startswith("webhook:")],
        "mailwright_account_quotas": [((state,), value) for state, value in view.quotas.items()],
        "mailwright_condition_broken": [((name,), float(broken)) for name, broken in view.conditions.items()],
    }
