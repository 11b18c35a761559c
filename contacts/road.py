"""The two tasks that tie a gateway to its contact database: its events go there, what others wrote into the suppression table comes back.

Each goes on for ever and outlives every failure of the database: every failed try is told, and the end of trouble; tries are spaced by a
growing wait with jitter, and the event log keeps what has not gone out. Nothing here waits for anything but its own road, so mail flows.
A schema that is not of our version is such a failure: nothing is published into it until somebody migrates.

It does not trim the event log: whoever owns it is told what arrived (`moved`) and keeps what is behind.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from contacts.suppression import Change
from contacts.trouble import StoreError

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
IDLE = 0.2
"""Seconds before a log that gave less than a full batch is looked at again."""
LOOK = 1.0
"""Seconds between two looks into the suppression table where nothing is told: entries of others are here within two."""
PAGE = 1_000
"""Changes that are taken in together."""

Rows = Sequence[tuple[int, bytes]]


class Published(msgspec.Struct, frozen=True):
    """What a batch did: the position that is in the database now, events that were new, lines that are no events (skipped; report them),
    statements of the customer's that were refused for ever (noted in mailwright.refused_statement)."""

    position: int
    new: int
    damaged: int
    refused: int


class Publishes(Protocol):
    """`contacts.postgres.PostgresContacts`, or another event log, as far as the way out needs it."""

    async def publish(self, rows: Rows) -> Published:
        """Put rows into the database. Raises StoreError."""


class Changes(Protocol):
    """`contacts.postgres.PostgresContacts`, as far as the way back needs it."""

    async def changes(self, cursor: str, limit: int) -> tuple[list[Change], str]:
        """What changed since `cursor`, and the cursor behind it. Raises StoreError."""

    def listen(self) -> None:
        """Be told of changes."""

    async def changed(self, within: float) -> None:
        """Wait for a change, or so many seconds."""


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
    """Events to the database. `page(after)` reads the event log, `full` rows at most; `moved` hears what a batch did; `told` of trouble
    (its text) and of its end (None). Ends in order when `stopping` is set: what is in the log goes out first, unless the database is away.
    """

    def __init__(
        self,
        database: Publishes,
        page: Callable[[int], Rows],
        moved: Callable[[Published], None],
        told: Callable[[str | None], None],
        chance: random.Random,
        position: int = 0,
        full: int = 1,
    ) -> None:
        self.position = position
        """Everything up to here is in the database."""
        self.stopping = asyncio.Event()
        self._database, self._page, self._moved, self._told = database, page, moved, told
        self._waiting = Waiting(chance)
        self._full = full

    async def run(self) -> None:
        """Until `stopping`, or cancelled."""
        while True:
            last = self.stopping.is_set()
            rows = self._page(self.position)
            if not rows:
                if last:
                    return
                await self._rest(IDLE)
                continue
            try:
                done = await self._database.publish(rows)
            except StoreError as error:
                self._told(str(error))
                if last:
                    return
                await self._rest(self._waiting.again())
                continue
            self.position = max(self.position, done.position)
            self._moved(done)
            if self._waiting.succeeded():
                self._told(None)
            if len(rows) < self._full and not last:
                await self._rest(IDLE)  # a few large transactions rather than many small ones

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass


async def way_back(
    database: Changes,
    cursor: str,
    take: Callable[[list[Change], str], Awaitable[object]],
    told: Callable[[str | None], None],
    chance: random.Random,
) -> None:
    """Changes of others into the view, until cancelled: `take` is `SuppressionStore.replicate` in the thread that writes."""
    waiting = Waiting(chance)
    database.listen()
    while True:
        try:
            found, behind = await database.changes(cursor, PAGE)
            if found or behind != cursor:
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
            await database.changed(LOOK)
