"""What is kept for a time goes when its time is over: once an hour, in a thread, or by a task beside mail where it is the database's.

Event files, expired and removed entries of the list, soft failures that cannot count any more, dead letters, events in the embedded log
and in the contact database. Each is tried by itself: one that fails is told and tried again an hour later, and the others go on. Nothing
waits for it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from config.settings import Settings
from contacts import event_log
from contacts.connected import Connected
from contacts.event_log import EventLog
from contacts.exchange import tidy
from contacts.letters import FILE, Letters
from contacts.retention import retain
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from gateway.core.outbox import Outbox
from gateway.core.soft import SoftBounces

EVERY = 3600.0
FIRST = 60.0
"""Seconds after the start of a gateway for the first look."""


class Upkeep:
    """`told` hears what failed: its name and why."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        store: SuppressionStore,
        soft: SoftBounces,
        clock: Callable[[], float],
        told: Callable[[str, str], None],
    ) -> None:
        self.settings = settings
        self._outbox, self._store, self._soft, self._clock, self._told = outbox, store, soft, clock, told
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="upkeep")

    async def close(self) -> None:
        """End; what a thread has begun ends by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._try("filter of the suppression list", self._store.build_filter)
        await asyncio.sleep(FIRST)
        while True:
            await self.once()
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Look at everything."""
        now, kept = self._clock(), self.settings.retention
        kinds = {kind.value: seconds for kind, seconds in kept.event_kinds.items()}
        duties: tuple[tuple[str, Callable[[], object]], ...] = (
            ("event files", lambda: self._outbox.retain(now, kept.event_files)),
            ("suppression list", lambda: tidy(self._store, now)),
            ("soft bounces", lambda: self._soft.tidy(now)),
            ("dead letters", lambda: _letters(self._store.folder, now - kept.dead_letters)),
            ("the embedded event log", lambda: _event_log(self._store.folder, now, kept.events, kinds)),
        )
        for name, duty in duties:
            await self._try(f"retention of {name}", duty)
        if self.settings.contacts.database is not None:
            await self._database(self.settings.contacts.database, now, kinds)

    async def _try(self, name: str, duty: Callable[[], object]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, duty)
        except (StoreError, OSError) as error:
            self._told(name, str(error))

    async def _database(self, dsn: str, now: float, kinds: dict[str, float]) -> None:
        kept, database = self.settings.retention, Connected(dsn)
        try:
            await retain(database, now, kept.events, kinds)
        except StoreError as error:
            self._told("retention of the contact database", str(error))
        finally:
            await database.close()


def _letters(folder: Path, before: float) -> int:
    if not (folder / FILE).exists():
        return 0
    letters = Letters(folder)
    try:
        return letters.forget_before(before)
    finally:
        letters.close()


def _event_log(folder: Path, now: float, seconds: float, kinds: dict[str, float]) -> int:
    if not (folder / event_log.FILE).exists():
        return 0
    log = EventLog(folder)
    try:
        return log.retain(now, seconds, kinds)
    finally:
        log.close()
