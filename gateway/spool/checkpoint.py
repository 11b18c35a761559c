"""Copies the write-ahead log into the file by a connection and a thread of its own, beside the writer.

A passive checkpoint never waits and never stops the writer; it may leave a rest, and the log starts again from its beginning only when
nothing is left and no reader looks. So the log has a bound: over `limit` bytes the writer pauses for a RESTART checkpoint. The size is a
gauge. An error in the thread is kept in `trouble` and breaks the spool at its next write: a sync that failed is not tried again.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import apsw

from gateway.spool.connection import PAGE_SIZE, open_checkpointer, translated
from gateway.spool.port import SpoolError

START_PART = 4
"""A passive checkpoint starts when the log has grown by this part of its limit. Fewer and larger ones write less: free pages are reused."""


class Checkpointer:
    """The log's size and its copying."""

    def __init__(self, folder: Path, limit: int, vfs: str | None = None) -> None:
        self._connection = open_checkpointer(folder, vfs)
        self._thread = ThreadPoolExecutor(1, "spool-checkpoint")
        self._running: Future[None] | None = None
        self._limit = limit
        self._copied_to = 0
        self._grown = 0
        self.trouble = ""
        """Why a checkpoint failed, or ""."""

    @property
    def wal_bytes(self) -> int:
        """Size of the log: at the last look, and what came since, roughly."""
        return self._copied_to + self._grown

    @property
    def over(self) -> bool:
        """Whether the writer must pause."""
        return self.wal_bytes >= self._limit

    def grew(self, size: int) -> None:
        """The writer wrote about `size` bytes. Starts a passive checkpoint when that is worth it and none is under way."""
        self._grown += size
        if self._grown * START_PART < self._limit or (self._running is not None and not self._running.done()):
            return
        self._grown = 0
        self._running = self._thread.submit(self._passive)

    def restart(self) -> None:
        """Copy everything and let the log start again. The writer must not be in a transaction; waits for readers."""
        if self._running is not None:
            self._running.result()
        self._run(apsw.SQLITE_CHECKPOINT_RESTART)
        self._copied_to = self._grown = 0

    def close(self) -> None:
        """Wait for what is under way, and end."""
        self._thread.shutdown()
        self._connection.close()

    def _passive(self) -> None:
        try:
            with translated("checkpoint"):
                self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)
        except SpoolError as error:
            self.trouble = str(error)

    def _run(self, mode: int) -> None:
        try:
            frames, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:  # a reader stays: next time
            return
        self._copied_to = 0 if frames == copied else max(frames, 0) * PAGE_SIZE
