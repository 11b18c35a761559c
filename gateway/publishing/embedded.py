"""The road to the embedded event log (`contacts.event_log`): events go into a file in batches, in a thread, for those who pull.

The way out is that of the contact database, with a file at its end: a batch is read, written off the mail loop, and how far it has come
is a note in the spool, written with the next commit. After a crash some events come again, and the file knows their ids.

Bad days: while the file cannot be written events stay in the outbox, the trouble is told once and tried again with growing waits, and mail
flows. A stop waits a few seconds for what is still to be written. A file that is not ours ends the start.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from config.settings import Settings
from contacts.event_log import EventLog
from contacts.road import Published, Rows, WayOut
from gateway.core.duty import duty
from gateway.core.outbox import Outbox
from gateway.observe import log
from gateway.observe.metrics import Metrics
from gateway.publishing.sink import STOP_WITHIN, Sink, time_of

NAME = "embedded"
BATCH = 1000
"""Events in one transaction, at most: beside a busy loop a transaction takes long whatever is in it."""


class EmbeddedRoad:
    """The way out to the file, and reading it. Raises StoreError when `events.db` cannot be used."""

    def __init__(self, settings: Settings, outbox: Outbox, metrics: Metrics, clock: Callable[[], float], chance: random.Random) -> None:
        self._outbox, self._metrics = outbox, metrics
        position = outbox.note(NAME)
        folder = settings.gateway.data
        self._writer, self._reader = EventLog(folder, position), EventLog(folder, position)
        outbox.add(NAME, position)
        self.out = Sink(NAME, position, lambda: outbox.newest, metrics, clock)
        self._way_out = WayOut(self, self._page, self._moved, self.out.told, chance, position, BATCH)
        self._thread, self._reads = ThreadPoolExecutor(1, "event-log"), ThreadPoolExecutor(1, "event-log-reader")
        self._task: asyncio.Task[None] | None = None

    @property
    def lag(self) -> int:
        """Events on disk that are not in the file and will be; 0 while nothing is written at all."""
        return self.out.waiting if self._task is not None and not self._task.done() else 0

    def start(self) -> None:
        """Begin."""
        keep = duty(self._way_out.run, self._outbox.broken, lambda error: log.bug("event log", error))
        self._task = asyncio.get_running_loop().create_task(keep, name="event-log")

    async def close(self) -> None:
        """Write what is left while the file takes it, then end."""
        self._way_out.stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_WITHIN)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for thread, file in ((self._thread, self._writer), (self._reads, self._reader)):
            thread.shutdown()
            file.close()

    async def publish(self, rows: Rows) -> Published:
        """In its thread: the file is synced. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.publish, rows)

    async def events_after(self, position: int, limit: int) -> list[tuple[int, int, bytes]]:
        """A page behind a position. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._reads, self._reader.after, position, limit)

    def _page(self, after: int) -> Rows:
        rows = self._outbox.page(after, BATCH)
        self.out.oldest_at = time_of(rows[0][1]) if rows else 0.0
        return rows

    def _moved(self, done: Published) -> None:
        self.out.reached(done.position, done.new)
        self._outbox.noted(NAME, done.position)
        if done.damaged:
            self._metrics.events_lost(NAME, "damaged", done.damaged)
