"""The one handle that writes the spool's file, under one lease number. It blocks; whoever has it decides in which process and thread.

`write` is in two halves: `carry_out` works in memory and the page cache, `commit` waits for the disk. On a full disk the transaction is
rolled back and SpoolFull raised; a contradiction is rolled back too (SpoolRefused). After any other failure the handle is never used for a
write again, and so never synced again: what was being written is unknown until the next start reads the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from gateway.spool import recover, tidy
from gateway.spool.checkpoint import Checkpointer
from gateway.spool.connection import open_writer, translated
from gateway.spool.port import Recovered, SpoolBroken, SpoolError, SpoolFull, SpoolRefused, SpoolUnusable, Transaction, Written
from gateway.spool.queries import statement
from gateway.spool.transaction import DAY, Work


class Store:
    """`cache` and `wal_limit` in bytes. `lease` 0: nothing is leased yet, `recover` will give a number."""

    def __init__(self, folder: Path, cache: int, wal_limit: int, lease: int = 0, vfs: str | None = None) -> None:
        self.broken = ""
        """Why writes are refused, or ""."""
        with translated("open"):
            self._connection = open_writer(folder, cache, vfs)
            self.checkpointer = Checkpointer(folder, wal_limit, vfs)
            self._connection.set_wal_hook(self._logged)
            self._begin(lease)

    def recover(self, owner: int) -> Recovered:
        """Open a new epoch of `owner`: its leased deliveries are queued again, due as written."""
        with self._guarded("recover"):
            found = recover.start(self._connection, owner)
            self._begin(recover.lease_number(owner, found.epoch))
        return found

    def write(self, transaction: Transaction) -> Written:
        """Carry out and make durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        if self.checkpointer.over:
            with self._guarded("checkpoint"):
                self.checkpointer.restart()
        written = self.carry_out(transaction)
        self.commit()
        return written

    def carry_out(self, transaction: Transaction) -> Written:
        """The first half: every statement. What is returned holds when `commit` has returned."""
        self._refuse_broken()
        try:
            with translated("write"):
                self._connection.execute("BEGIN IMMEDIATE")
                return self._work.carry_out(transaction)
        except (SpoolFull, SpoolRefused):
            self._roll_back()
            raise
        except SpoolBroken as error:
            self.broken = str(error)
            raise
        except (TypeError, ValueError, OverflowError) as error:  # a value that SQLite cannot hold
            self._roll_back()
            raise SpoolRefused(f"write: {type(error).__name__}: {error}") from error

    def commit(self) -> None:
        """The second half: on disk when this returns."""
        try:
            with translated("commit"):
                self._connection.execute("COMMIT")
        except SpoolFull:
            self._roll_back()
            raise
        except SpoolError as error:
            self.broken = str(error)
            raise SpoolBroken(str(error)) from error
        self._work.keep()

    def tidy(self, first_kept: float) -> bool:
        """One slice of housekeeping: ledgers of days before `first_kept` (Unix seconds), free pages. True: there is more."""
        with self._guarded("tidy"):
            more = tidy.slice_of_work(self._connection, int(first_kept // DAY))
            self._work.forget_days(recover.ledger_days(self._connection), recover.keyed_days(self._connection))
        return more

    def shrink(self) -> None:
        """Give the memory of the page cache back: somebody else writes from now on."""
        with self._guarded("shrink"):
            self._connection.execute("PRAGMA shrink_memory")

    def resume(self, lease: int) -> None:
        """Write under this lease number from now on; what is known of the file is read again, for somebody else wrote."""
        with self._guarded("resume"):
            self._begin(lease)

    def stop(self, owner: int, clean: bool) -> None:
        """Write down whether the stop was orderly."""
        with self._guarded("stop"):
            self._connection.execute(statement("node.stop"), (int(clean), owner))

    def close(self) -> None:
        """End. The last handle that closes copies the log; when it cannot, the next start does."""
        self.checkpointer.close()
        with suppress(apsw.Error):
            self._connection.close()

    def _logged(self, connection: apsw.Connection, name: str, frames: int) -> int:
        """SQLite calls this at the end of each commit."""
        self.checkpointer.wrote(frames)
        return apsw.SQLITE_OK

    def _begin(self, lease: int) -> None:
        connection = self._connection
        days = (recover.ledger_days(connection), recover.keyed_days(connection))
        self._work = Work(connection, lease, *days, recover.outbox_span(connection))

    def _refuse_broken(self) -> None:
        if self.broken or self.checkpointer.trouble:
            self.broken = self.broken or self.checkpointer.trouble
            raise SpoolBroken(f"refused: the spool broke before ({self.broken})")

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """For work outside `write`: what fails breaks the spool."""
        self._refuse_broken()
        try:
            with translated(doing):
                yield
        except SpoolFull:
            self._roll_back()
            raise
        except SpoolUnusable as error:
            self.broken = str(error)
            raise
        except SpoolError as error:
            self.broken = str(error)
            raise SpoolBroken(str(error)) from error

    def _roll_back(self) -> None:
        """Nothing of the transaction stays. When even that fails, the spool is broken."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            self.broken = f"rollback: {error}"
