"""The spool in SQLite: one file, one writer, as many readers as there are threads that read.

Keeps the promises of `gateway.spool.port` with WAL and synchronous=FULL: a commit returns after an fsync of the log. `write` is in two
halves, so that the boundary (`gateway.spool.writer`) chooses where each runs: `carry_out` works in memory and the page cache, `commit`
waits for the disk. On a full disk the transaction is rolled back and SpoolFull raised; after any other failure the handle is never used
for a write again, and never synced again. The folder is locked against a second process for as long as the spool is open.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from config.settings import Spool as SpoolSettings
from gateway.spool import recover, tidy
from gateway.spool.checkpoint import Checkpointer
from gateway.spool.connection import open_writer, translated
from gateway.spool.lock import FolderLock
from gateway.spool.port import (
    FlowCount,
    LedgerEntry,
    Queued,
    Recovered,
    Selection,
    Spool,
    SpoolBroken,
    SpoolError,
    SpoolFull,
    SpoolRefused,
    Transaction,
    Written,
)
from gateway.spool.queries import statement
from gateway.spool.reader import SqliteReader
from gateway.spool.transaction import DAY, Work


class SqliteSpool(Spool):
    """The spool in `folder`. `return_window` in seconds: how long the sent ledger is kept. `vfs` names SQLite's file layer, for tests."""

    def __init__(self, folder: Path, settings: SpoolSettings, return_window: float, vfs: str | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._vfs = vfs
        self._return_window = return_window
        self._broken: str = ""
        self._owner = -1
        self._lock = FolderLock(folder)
        try:
            with translated("open"):
                self._connection = open_writer(folder, settings.cache, vfs)
            self._reader = SqliteReader(folder, vfs)
            self.checkpointer = Checkpointer(folder, settings.wal_limit, vfs)
        except BaseException:
            self._lock.release()
            raise
        self._work = Work(self._connection, 0, (), (1, 0))
        self.grown = 0
        """Bytes that transactions brought since the last checkpoint began, roughly."""

    @property
    def broken(self) -> str:
        """Why writes are refused, or ""."""
        return self._broken

    @property
    def damaged(self) -> list[int]:
        """Deliveries met by reads whose facts do not decode; the caller reports and empties it."""
        return self._reader.damaged

    def reader(self) -> SqliteReader:
        """One more reader, for another thread. The caller closes it."""
        return SqliteReader(self.folder, self._vfs)

    def recover(self, owner: int, now: float) -> Recovered:
        """Open a new epoch of `owner`: its leased deliveries are queued again, due as written."""
        self._refuse_broken()
        with self._breaking("recover"):
            found = recover.start(self._connection, owner)
            days, span = recover.ledger_days(self._connection), recover.outbox_span(self._connection)
        self._owner = owner
        self._work = Work(self._connection, recover.lease_number(owner, found.epoch), days, span)
        return found

    def write(self, transaction: Transaction) -> Written:
        """Carry out and make durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        written = self.carry_out(transaction)
        self.commit()
        return written

    def carry_out(self, transaction: Transaction) -> Written:
        """The first half: every statement of `transaction`. What is returned holds when `commit` has returned."""
        self._refuse_broken()
        try:
            with translated("write"):
                self._connection.execute("BEGIN IMMEDIATE")
                written = self._work.carry_out(transaction)
        except (SpoolFull, SpoolRefused):
            self._roll_back()
            raise
        except SpoolBroken as error:
            self._break(str(error))
            raise
        except (TypeError, ValueError, OverflowError) as error:  # a value that SQLite cannot hold
            self._roll_back()
            raise SpoolRefused(f"write: {type(error).__name__}: {error}") from error
        self.grown += sum(len(accepted.content) + 2000 for accepted in transaction.acceptances) + 1000 * len(transaction.changes)
        return written

    def commit(self) -> None:
        """The second half: on disk when this returns."""
        try:
            with translated("commit"):
                self._connection.execute("COMMIT")
        except SpoolFull:
            self._roll_back()
            raise
        except SpoolError as error:
            self._break(str(error))
            raise SpoolBroken(str(error)) from error
        self._work.keep()

    def content(self, message: int) -> bytes | None:
        """The bytes the application sent, or None when the message is gone."""
        return self._reader.content(message)

    def unrouted(self, after: int, limit: int) -> list[Queued]:
        """Queued deliveries without a route with identities over `after`, ascending."""
        return self._reader.unrouted(after, limit)

    def flows_due(self, since: float, now: float, limit: int) -> list[int]:
        """Numbers of flows that have a queued delivery with `since` < due <= `now`."""
        return self._reader.flows_due(since, now, limit)

    def next_due(self, now: float) -> float:
        """The earliest due time after `now` of any queued, routed delivery; 0 when there is none."""
        return self._reader.next_due(now)

    def expiring(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `expires` has come."""
        return self._reader.expiring(now, limit)

    def lapsed(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `eligible_until` has come."""
        return self._reader.lapsed(now, limit)

    def find(self, selection: Selection, after: int, limit: int) -> list[Queued]:
        """Deliveries in the queue that match, with identities over `after`, ascending."""
        return self._reader.find(selection, after, limit)

    def count(self, selection: Selection) -> int:
        """How many deliveries in the queue match."""
        return self._reader.count(selection)

    def backlog(self) -> list[FlowCount]:
        """Backlog of every flow that has any."""
        return self._reader.backlog()

    def events(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Outbox rows after a position."""
        return self._reader.events(after, limit)

    def note(self, key: str) -> bytes | None:
        """The value of a note."""
        return self._reader.note(key)

    def sent(self, delivery: int) -> LedgerEntry | None:
        """The ledger row of a delivery that ended within the return window."""
        return self._reader.sent(delivery)

    def tidy(self, now: float) -> bool:
        """One slice of housekeeping, for when there is nothing else to do: ledgers past the window, free pages. True: there is more."""
        self._refuse_broken()
        with self._breaking("tidy"):
            return tidy.slice_of_work(self._connection, int((now - self._return_window) // DAY))

    def backup(self, target: Path) -> None:
        """A copy of the spool as it stands, by SQLite's backup interface. Blocks; run it on a reader's thread. Raises SpoolError."""
        source = self.reader()
        try:
            with translated("backup"):
                tidy.copy_to(source.connection, target)
        finally:
            source.close()

    def close(self, clean: bool) -> None:
        """End. `clean` says that everything is settled. Again does nothing."""
        if self._owner >= 0 and not self._broken:
            with self._breaking("close"), contextlib.suppress(apsw.ConnectionClosedError):
                self._connection.execute(statement("node.stop"), (int(clean), self._owner))
        self._owner = -1
        self._reader.close()
        self.checkpointer.close()
        with contextlib.suppress(apsw.Error):  # the last close copies the log; when it cannot, the next start does
            self._connection.close()
        self._lock.release()

    def _refuse_broken(self) -> None:
        if self._broken:
            raise SpoolBroken(f"refused: the spool broke before ({self._broken})")

    def _break(self, why: str) -> None:
        self._broken = why

    @contextlib.contextmanager
    def _breaking(self, doing: str) -> Iterator[None]:
        """Translate; and what breaks here breaks the spool."""
        try:
            with translated(doing):
                yield
        except SpoolBroken as error:
            self._break(str(error))
            raise

    def _roll_back(self) -> None:
        """Nothing of the transaction stays. When even that fails, the spool is broken."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._break(f"rollback: {error}")


def free_space(folder: Path) -> int:
    """Bytes that an unprivileged process may still write on the folder's file system."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize
