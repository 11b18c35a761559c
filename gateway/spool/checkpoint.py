"""Copies the write-ahead log into the file by a connection of its own, beside the writer.

A passive checkpoint never waits and never stops the writer; it may leave a rest, and the log starts again from its beginning only when
nothing is left and no reader looks. So the log has a bound: over `limit` bytes the writer pauses for a RESTART checkpoint. The size is a
gauge. An error here is an error of the disk: the caller treats it as broken.
"""

from pathlib import Path

import apsw

from gateway.spool.connection import PAGE_SIZE, open_checkpointer, translated

START_PART = 4
"""A passive checkpoint starts when the log has grown by this part of its limit. Fewer and larger ones write less: free pages are reused."""


class Checkpointer:
    """The log's size and its copying. `passive` and `restart` run on one thread at a time."""

    def __init__(self, folder: Path, limit: int, vfs: str | None = None) -> None:
        with translated("open for checkpoints"):
            self._connection = open_checkpointer(folder, vfs)
        self._limit = limit
        self.wal_bytes = 0
        """Size of the log that a new reader would see, as of the last look."""

    @property
    def step(self) -> int:
        """Bytes of growth after which a passive checkpoint is worth it."""
        return self._limit // START_PART

    @property
    def over(self) -> bool:
        """Whether the writer must pause."""
        return self.wal_bytes >= self._limit

    def passive(self) -> None:
        """Copy what can be copied without waiting."""
        self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def restart(self) -> None:
        """Copy everything and let the log start again. The writer must not be in a transaction; waits for readers."""
        self._run(apsw.SQLITE_CHECKPOINT_RESTART)
        self.wal_bytes = 0

    def close(self) -> None:
        """End."""
        self._connection.close()

    def _run(self, mode: int) -> None:
        with translated("checkpoint"):
            try:
                frames, copied = self._connection.wal_checkpoint(mode=mode)
            except apsw.BusyError:  # somebody else copies, or a reader stays: next time
                return
        self.wal_bytes = 0 if frames == copied else max(frames, 0) * PAGE_SIZE
