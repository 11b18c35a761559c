"""The boundary between the event loop and the spool's one writer: one transaction at a time, in a thread of its own.

Everything that may wait for the disk runs in the writer's thread; passive checkpoints run in another. Which of the two halves of a write
runs where was decided by measurement: docs/decisions/spool-writer-boundary.md. A write that was begun is carried to its end, even when
the task that asked for it is cancelled. Errors come out as those of the port; after SpoolBroken every further write is refused.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.spool.port import Transaction, Written
from gateway.spool.sqlite import SqliteSpool

_T = TypeVar("_T")


class Writer:
    """Writes of `spool`, from the loop's thread."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "spool-writer")
        self._checkpoints = ThreadPoolExecutor(1, "spool-checkpoint")
        self._checkpoint: asyncio.Future[None] | None = None

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log that is not copied yet: of the last look, and what came since."""
        return self._spool.checkpointer.wal_bytes + self._spool.grown

    async def write(self, transaction: Transaction) -> Written:
        """Carry out `transaction` and make it durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        written = await self._run(lambda: self._write(transaction))
        self._copy_log()
        return written

    async def tidy(self, now: float) -> bool:
        """One slice of housekeeping (see SqliteSpool.tidy). True: there is more."""
        return await self._run(lambda: self._spool.tidy(now))

    async def close(self) -> None:
        """Wait for what is under way and end the threads. The spool stays open."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._thread.shutdown)
        await loop.run_in_executor(None, self._checkpoints.shutdown)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _write(self, transaction: Transaction) -> Written:
        if self._spool.checkpointer.over:
            self._spool.checkpointer.restart()
        return self._spool.write(transaction)

    def _copy_log(self) -> None:
        """Start a passive checkpoint when the log has grown and none is under way."""
        if self._spool.grown < self._spool.checkpointer.step or (self._checkpoint and not self._checkpoint.done()):
            return
        self._spool.grown = 0
        self._checkpoint = asyncio.get_running_loop().run_in_executor(self._checkpoints, self._spool.checkpointer.passive)
