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
        self._pause_at = limit
        self._log = 0
        self._looked = 0
        self.trouble = ""
        """Why a checkpoint failed, or ""."""

    @property
    def wal_bytes(self) -> int:
        """Size of the log as of the last commit."""
        return self._log

    @property
    def over(self) -> bool:
        """Whether the writer must pause."""
        return self._log >= self._pause_at

    def wrote(self, frames: int) -> None:
        """A commit is done and the log has so many pages. Starts a passive checkpoint when it has grown and none is under way."""
        self._log = frames * PAGE_SIZE
        if self._log < self._looked:  # it started again
            self._looked = 0
        if (self._log - self._looked) * START_PART < self._limit or (self._running is not None and not self._running.done()):
            return
        self._looked = self._log
        self._running = self._thread.submit(self._passive)

    def restart(self) -> None:
        """Copy everything and let the log start again. The writer must not be in a transaction. Waits a moment for readers; when one
        stays (a backup), the log may grow by one more step before the next pause."""
        if self._running is not None:
            self._running.result()
        if self._run(apsw.SQLITE_CHECKPOINT_RESTART):
            self._log = self._looked = 0
            self._pause_at = self._limit
        else:
            self._pause_at = self._log + self._limit // START_PART

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

    def _run(self, mode: int) -> bool:
        """Whether it was done; not when a reader stays, and then it comes next time."""
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        return True
