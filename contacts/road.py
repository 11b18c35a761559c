"""The two tasks that tie a gateway to its contact database: its events go there, what others wrote into the suppression table comes back.

Each goes on for ever and outlives every failure of the database: every failed try is told, and the end of trouble; tries are spaced by a
growing wait with jitter, and the event log keeps what has not gone out. Nothing here waits for anything but its own road, so mail flows.

It does not trim the event log: whoever owns it asks `position` and keeps what is behind it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from contacts.postgres import Published
from contacts.suppression import Change
from contacts.trouble import StoreError

PAGE = 1_000
"""Events of one transaction."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
IDLE = 0.2
"""Seconds before an empty log is looked at again, unless somebody calls `wake`."""
LOOK = 1.0
"""Seconds between two looks into the suppression table: entries of others are here within two."""

Rows = Sequence[tuple[int, bytes]]


class Publishes(Protocol):
    """`contacts.postgres.PostgresContacts`, as far as the way out needs it."""

    async def migrate(self) -> list[int]:
        """Bring the schema up to date."""

    async def publish(self, rows: Rows) -> Published:
        """Put rows into the database. Raises StoreError."""


class Changes(Protocol):
    """`contacts.postgres.PostgresContacts`, as far as the way back needs it."""

    async def changes(self, cursor: str, limit: int) -> tuple[list[Change], str]:
        """What changed since `cursor`, and the cursor behind it. Raises StoreError."""


class Waiting:
    """Growing waits: doubled from FIRST_WAIT to LONGEST_WAIT, less up to a half."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._failed = 0

    def again(self) -> float:
        """Seconds until the next try, after one more failure."""
        longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failed, 10))
        self._failed += 1
        return longest * (1 - self._chance.random() / 2)

    def succeeded(self) -> bool:
        """Start again; True when there was trouble before."""
        failed, self._failed = self._failed, 0
        return failed > 0


class WayOut:
    """Events to the database. `page(after, limit)` reads the event log; `told` hears of trouble (its text) and of its end (None)."""

    def __init__(
        self,
        database: Publishes,
        page: Callable[[int, int], Awaitable[Rows]],
        told: Callable[[str | None], None],
        chance: random.Random,
        position: int = 0,
    ) -> None:
        self.position = position
        """Everything up to here is in the database."""
        self.damaged = 0
        self.refused = 0
        self._database, self._page, self._told = database, page, told
        self._waiting = Waiting(chance)
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There are new events."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        migrated = False
        while True:
            try:
                if not migrated:
                    await self._database.migrate()
                    migrated = True
                rows = await self._page(self.position, PAGE)
                if rows:
                    self._took(await self._database.publish(rows))
            except StoreError as error:
                wait = self._waiting.again()
                self._told(str(error))
                await asyncio.sleep(wait)
                continue
            if self._waiting.succeeded():
                self._told(None)
            if not rows:
                await self._rest()

    def _took(self, done: Published) -> None:
        self.position = max(self.position, done.position)
        self.damaged += done.damaged
        self.refused += done.refused

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(IDLE):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


async def way_back(
    database: Changes,
    cursor: str,
    take: Callable[[list[Change], str], Awaitable[object]],
    told: Callable[[str | None], None],
    chance: random.Random,
) -> None:
    """Changes of others into the view, until cancelled: `take` is `SuppressionStore.replicate` in the thread that writes."""
    waiting = Waiting(chance)
    while True:
        try:
            found, behind = await database.changes(cursor, PAGE)
            if behind != cursor:
                await take(found, behind)
                cursor = behind
        except StoreError as error:
            wait = waiting.again()
            told(str(error))
            await asyncio.sleep(wait)
            continue
        if waiting.succeeded():
            told(None)
        if not found:
            await asyncio.sleep(LOOK)
