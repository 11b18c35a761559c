"""The road to the contact database: events go out in batches, what others wrote into the suppression table comes back into the view.

Two tasks, each with its connection, beside the mail loop: a batch is read, prepared in slices and sent without blocking it. How far the
events have come is a note in the spool, written with the next commit: after a crash some are sent again, and PostgreSQL knows their ids.

Bad days: while the database is away, or has a schema of another version, events stay in the outbox, both tasks try again with growing
waits, and mail flows. A stop waits a few seconds for what is still to go out, unless the database is away.
"""

import asyncio
import contextlib
import functools
import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from config.settings import Settings
from config.statements import statement
from contacts.audit import Audit, Auditor, carry_batch, republish
from contacts.postgres import PostgresContacts
from contacts.road import Published, Rows, WayOut, way_back
from contacts.store import SuppressionStore
from contacts.suppression import Change
from contacts.tables import event_in
from gateway.core.duty import duty
from gateway.core.outbox import Outbox
from gateway.observe import log
from gateway.observe.metrics import Metrics
from gateway.publishing.sink import REMIND, STOP_WITHIN, Sink, time_of
from mail.event import EventKind

NAME = "postgres"
BACK = "suppression"
"""Name of the way back in the metrics."""
PAGE = 500
"""Lines of the event file that are read again at once."""
AUDITED = 30 * 86_400.0
"""Age of the oldest events that an audit counts; nine tenths of it, or of what retention keeps, so that nothing is about to go."""


def connection_of(settings: Settings) -> PostgresContacts:
    """A connection to the configured contact database."""
    made = [statement(kind, text) for kind, texts in settings.contacts.statements.items() for text in texts]
    assert settings.contacts.database is not None
    return PostgresContacts(settings.contacts.database, settings.gateway.node, kinds_of(settings), made)


def kinds_of(settings: Settings) -> dict[str, str]:
    """The kind of each stream."""
    return {stream.name: stream.kind for stream in settings.stream}


class DatabaseRoad:
    """Both directions for one gateway."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        store: SuppressionStore,
        metrics: Metrics,
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._settings = settings
        self._batch = settings.contacts.batch
        self._node = settings.gateway.node
        self._kept = min(settings.retention.events, *settings.retention.event_kinds.values(), AUDITED) * 0.9
        self._outbox, self._store, self._metrics = outbox, store, metrics
        position = outbox.note(NAME)
        outbox.add(NAME, position)
        self.out = Sink(NAME, position, lambda: outbox.newest, metrics, clock)
        self.back = Sink(BACK, 0, lambda: 0, metrics, clock)
        self._databases = (connection_of(settings), connection_of(settings), connection_of(settings))
        self._reading, self._auditing = asyncio.Lock(), asyncio.Lock()
        self._way_out = WayOut(
            _WithImports(self._databases[0], store, self._node), self._page, self._moved, self.out.told, chance, position, self._batch
        )
        self._chance, self._clock = chance, clock
        self._told_refused, self._refused = 0.0, 0
        self._thread = ThreadPoolExecutor(1, "replica")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        for name, run in (("contacts-out", self._way_out.run), ("contacts-back", self._come_back)):
            keep = duty(run, self._outbox.broken, lambda error: log.bug("contacts", error))
            self._tasks.append(loop.create_task(keep, name=name))

    async def close(self) -> None:
        """Send what is left while the database takes it, then end."""
        self._way_out.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=STOP_WITHIN)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for database in self._databases:
            await database.close()
        self._thread.shutdown()

    async def audit(self, mend: bool) -> tuple[Audit, int]:
        """Compare replica, table and event log (`contacts.audit`); with `mend`, events that the database lost are read from the event file
        again, which gives how many came back. One at a time, on a connection of its own. Raises StoreError."""
        async with self._auditing:
            database = connection_of(self._settings)
            try:
                since = self._clock() - self._kept
                found = await Auditor(database, self._store, self._node, self.out.position, since, mend=mend).run()
                back = 0
                if mend and found.events_missing:
                    back = await republish(database, functools.partial(next, _pages(self._outbox.files()), None))
                return found, back
            finally:
                await database.close()

    def reconfigure(self, settings: Settings) -> None:
        """Streams may be new; the rest waits for a restart."""
        self._settings = settings
        for database in self._databases:
            database.kinds = kinds_of(settings)

    async def _come_back(self) -> None:
        await way_back(self._databases[1], self._store.replica_cursor, self._take, self.back.told, self._chance)

    async def events_after(self, position: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Events of all gateways, on a connection of its own. Raises StoreError."""
        async with self._reading:
            return await self._databases[2].after(position, limit)

    def _page(self, after: int) -> Rows:
        rows = self._outbox.page(after, self._batch)
        self.out.oldest_at = time_of(rows[0][1]) if rows else 0.0
        return rows

    def _moved(self, done: Published) -> None:
        self.out.reached(done.position, done.new)
        self._outbox.noted(NAME, done.position)
        if done.damaged:
            self._metrics.events_lost(NAME, "damaged", done.damaged)
        if done.refused:
            self._metrics.statements_refused(done.refused)
            self._refused += done.refused
            if self._clock() - self._told_refused >= REMIND:
                log.statements_refused(self._refused)
                self._told_refused, self._refused = self._clock(), 0

    async def _take(self, changes: list[Change], cursor: str) -> None:
        """In a thread of its own: the file is synced."""
        news = await asyncio.get_running_loop().run_in_executor(self._thread, self._store.replicate, changes, cursor)
        self._metrics.replicated(news)


class _WithImports:
    """Publishes events, and after that of an import its entries, before the position moves on."""

    def __init__(self, database: PostgresContacts, store: SuppressionStore, node: str) -> None:
        self._database, self._store, self._node = database, store, node

    async def publish(self, rows: Rows) -> Published:
        """Raises StoreError: then all of it is done again, and what is there already changes nothing."""
        done = await self._database.publish(rows)
        for position, line in rows:
            if b'"suppression_imported"' in line and position <= done.position:
                event = event_in(line)
                if event is not None and event.kind is EventKind.SUPPRESSION_IMPORTED and event.node in ("", self._node):
                    await carry_batch(self._database, self._store, event.batch)
        return done


def _pages(files: list[Path]) -> Iterator[list[bytes]]:
    """Lines of the event files, a page at a time. One that is rotated away meanwhile is read to its end; the next may come twice."""
    for path in files:
        with contextlib.suppress(OSError), path.open("rb") as file:
            while page := [line.rstrip(b"\n") for line in itertools.islice(file, PAGE)]:
                yield page
