"""Every few seconds, a picture of queue, lanes and bounds for the metrics. Counting a large queue happens in a thread with a reader of
its own, and a count that takes long is made more rarely: watching must not slow the mail.
"""

import asyncio
from collections.abc import Callable

from gateway.core.core import Core
from gateway.core.resting import RestingLanes
from gateway.observe.metrics import Metrics
from gateway.observe.view import Bound, LaneGauge, QueueView, SinkGauge, View
from gateway.spool.port import FlowCount, SpoolError

EVERY = 5.0
FORGET = 600.0
"""Seconds between looks for flows to forget."""
PATIENCE = 20.0
"""A count may take this part of the time between counts, as a divisor."""


class Snapshot:
    """Takes pictures until closed. `spool_octets` and `extra_bounds` come from the composition root, which knows the concrete classes."""

    def __init__(
        self,
        core: Core,
        metrics: Metrics,
        conditions: Callable[[], dict[str, bool]],
        spool_octets: Callable[[], dict[str, float]],
        extra_bounds: Callable[[], list[Bound]],
        sinks: Callable[[], list[SinkGauge]],
        beat: Callable[[], None],
    ) -> None:
        self._core = core
        self._metrics = metrics
        self._conditions = conditions
        self._spool_octets = spool_octets
        self._extra_bounds = extra_bounds
        self._sinks = sinks
        self._beat = beat
        self._forgot = core.ports.monotonic()
        self._resting = RestingLanes()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="snapshot")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._beat()
            begun = self._core.ports.monotonic()
            try:
                backlog = await asyncio.get_running_loop().run_in_executor(None, self._backlog)
                if begun - self._forgot > FORGET:
                    self._forgot = begun
                    self._core.forget_flows(backlog)
            except SpoolError:
                backlog = []
            self._metrics.show(self.picture(backlog))
            took = self._core.ports.monotonic() - begun
            for _ in range(int(max(EVERY, took * PATIENCE) / EVERY)):
                now = self._core.clock()
                self._resting.look(self._core.ports.controller.lanes(now), now)
                await asyncio.sleep(EVERY)
                self._beat()

    def _backlog(self) -> list[FlowCount]:
        reader = self._core.ports.open_reader()
        try:
            return reader.backlog()
        finally:
            reader.close()

    def picture(self, backlog: list[FlowCount]) -> View:
        """The view of one moment."""
        core = self._core
        lanes = core.ports.controller.lanes(core.clock())
        return View(
            queue=self._queue(backlog, core.clock()),
            lanes=[
                LaneGauge(
                    lane.lane.source, lane.lane.provider, lane.connections, lane.allowed, lane.held or lane.suspended_until > core.clock()
                )
                for lane in lanes
            ],
            bounds=self._bounds() + self._extra_bounds(),
            spool=self._spool_octets(),
            sinks=[SinkGauge("ndjson", core.outbox.backlog), *self._sinks()],
            conditions=self._conditions(),
            quotas=core.quotas.counts(),
        )

    def _queue(self, backlog: list[FlowCount], now: float) -> list[QueueView]:
        by_provider: dict[str, QueueView] = {}
        for count in backlog:
            provider = core_provider(self._core, count.number)
            before = by_provider.get(provider, QueueView(provider, 0))
            by_provider[provider] = QueueView(
                provider,
                before.queued + count.queued,
                before.leased + count.leased,
                before.due + (count.queued if count.next_due and count.next_due <= now else 0),
                max(before.oldest, now - count.oldest if count.oldest else 0.0),
            )
        return list(by_provider.values())

    def _bounds(self) -> list[Bound]:
        core, settings = self._core, self._core.settings
        traffic = core.ports.controller.gauges()
        return [
            Bound("commit-waiting", core.committer.waiting, settings.spool.waiting),
            Bound("unsettled", core.committer.unsettled, settings.sending.unsettled),
            Bound("windows", traffic.waiting, traffic.waiting_limit),
            Bound("body-memory", core.held.body_bytes, settings.sending.body_memory),
            Bound("connections", traffic.connections, traffic.connections_limit),
            Bound("unrouted", len(core.unrouted), core.unrouted.limit),
            Bound("flows", len(core.flows), float("inf")),
        ]


def core_provider(core: Core, flow: int) -> str:
    """The provider of a flow, or "unrouted"."""
    return core.flows.key(flow).provider if flow else "unrouted"
