"""All roads that events leave by besides the file: what is configured is built, started, watched and stopped here.

With nothing configured there is nothing: no task, no connection, no file. The disk that waiting events take is bounded by `events.waiting`:
when the contact database or the embedded log is so far behind, `room` says no and new mail is answered 452, because what it has not got
cannot be had again; a webhook endpoint that is so far behind loses its oldest events, which are counted, because one slow receiver must not
stop mail.
"""

import asyncio
import random
from collections.abc import Callable

from config.settings import Settings
from contacts.audit import Audit
from contacts.store import SuppressionStore
from gateway.core.outbox import Outbox
from gateway.observe.metrics import Metrics
from gateway.observe.view import Bound, SinkGauge
from gateway.publishing.database import DatabaseRoad
from gateway.publishing.embedded import EmbeddedRoad
from gateway.publishing.sink import Sink
from gateway.publishing.webhooks import Webhooks, letters_exist

CONDITION = "events-backlog"


class Publishing:
    """`condition` takes a condition of /readyz and why it is broken, or None."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        store: SuppressionStore,
        metrics: Metrics,
        condition: Callable[[str, str | None], None],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._bound = settings.events.waiting
        self._condition = condition
        self._closed = False
        self._database: DatabaseRoad | None = None
        if settings.contacts.database is not None:
            self._database = DatabaseRoad(settings, outbox, store, metrics, clock, chance)
        self._embedded: EmbeddedRoad | None = None
        if settings.contacts.embedded:
            self._embedded = EmbeddedRoad(settings, outbox, metrics, clock, chance)
        self.webhooks: Webhooks | None = None
        if settings.webhook or letters_exist(settings.gateway.data):
            self.webhooks = Webhooks(settings, settings.gateway.data, outbox, metrics, clock, chance)

    def start(self) -> None:
        """Begin."""
        for road in self._roads():
            road.start()

    async def close(self) -> None:
        """End, with as much sent as goes quickly."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(road.close() for road in self._roads()))

    def reconfigure(self, settings: Settings) -> None:
        """Use what a reload may change."""
        if self._database is not None:
            self._database.reconfigure(settings)

    def room(self) -> bool:
        """Whether the outbox may grow."""
        log = self._database or self._embedded
        if log is None:
            return True
        full = log.out.waiting >= self._bound
        name = "contact database" if self._database is not None else "embedded event log"
        self._condition(CONDITION, f"the {name} is behind by events.waiting events" if full else None)
        return not full

    async def events_after(self, position: int, limit: int) -> list[tuple[int, int, bytes]] | None:
        """(position, sequence, line): events of all gateways from the contact database, or this one's from the embedded log. None where
        there is neither."""
        log = self._database or self._embedded
        return None if log is None else await log.events_after(position, limit)

    @property
    def lag(self) -> int:
        """Events that the embedded log has not taken yet."""
        return 0 if self._embedded is None else self._embedded.lag

    async def audit(self, mend: bool) -> tuple[Audit, int] | None:
        """See `DatabaseRoad.audit`; None where there is no database."""
        return None if self._database is None else await self._database.audit(mend)

    def gauges(self) -> list[SinkGauge]:
        """For the metrics."""
        return [sink.gauge() for sink in self._sinks()]

    def bounds(self) -> list[Bound]:
        """How full the outbox is, by the road that is furthest behind."""
        return [Bound("events", max(sink.waiting for sink in self._sinks()), self._bound)] if self._sinks() else []

    def status(self) -> dict[str, object]:
        """For `mailwright status`."""
        return {sink.name: sink.status() for sink in self._sinks()}

    def _sinks(self) -> list[Sink]:
        sinks = [] if self._database is None else [self._database.out, self._database.back]
        sinks += [] if self._embedded is None else [self._embedded.out]
        return sinks + ([] if self.webhooks is None else list(self.webhooks.sinks.values()))

    def _roads(self) -> list[DatabaseRoad | EmbeddedRoad | Webhooks]:
        return [road for road in (self._database, self._embedded, self.webhooks) if road is not None]
