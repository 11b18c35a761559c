"""The spool in SQLite: one file, one writer, as many readers as there are threads that read.

Keeps the promises of `gateway.spool.port` with WAL and synchronous=FULL: a commit returns after an fsync of the log. This object has the
folder's lock, the reader of the thread that made it, and a store that writes. A running gateway hands the writing over to a `Writer`
(gateway.spool.writer); as long as that has it, `write` here is refused.
"""

import contextlib
import os
from pathlib import Path

from config.settings import Spool as SpoolSettings
from gateway.spool import recover, tidy
from gateway.spool.connection import translated
from gateway.spool.lock import FolderLock
from gateway.spool.notice import Pending
from gateway.spool.port import FlowCount, LedgerEntry, Queued, Recovered, Selection, Spool, SpoolError, Transaction, Written
from gateway.spool.reader import SqliteReader
from gateway.spool.store import Store


class SqliteSpool(Spool):
    """The spool in `folder`. `return_window` in seconds: how long the sent ledger is kept. `vfs` names SQLite's file layer, for tests."""

    def __init__(self, folder: Path, settings: SpoolSettings, return_window: float, vfs: str | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.settings = settings
        self.return_window = return_window
        self.vfs = vfs
        self.lease = (0, 0)
        """Owner and epoch, from `recover` on."""
        self._handed_over = False
        self.lock = FolderLock(folder)
        try:
            self.store = Store(folder, settings.cache, settings.wal_limit, vfs=vfs)
            self._reader = SqliteReader(folder, vfs)
        except BaseException:
            self.lock.release()
            raise

    @property
    def damaged(self) -> list[int]:
        """Deliveries met by reads whose facts do not decode; the caller reports and empties it."""
        return self._reader.damaged

    def reader(self) -> SqliteReader:
        """One more reader, for another thread. The caller closes it."""
        return SqliteReader(self.folder, self.vfs)

    def recover(self, owner: int, now: float) -> Recovered:
        """Open a new epoch of `owner`: its leased deliveries are queued again, due as written."""
        found = self._own_store().recover(owner)
        self.lease = (owner, found.epoch)
        return found

    def write(self, transaction: Transaction) -> Written:
        """Carry out and make durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        return self._own_store().write(transaction)

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

    def notices(self, now: float, limit: int) -> list[Pending]:
        """Notices that are due, of at most `limit` messages, earliest first; with each, all others of its message and action."""
        return self._reader.notices(now, limit)

    def excerpt(self, message: int, limit: int) -> bytes | None:
        """The first `limit` bytes the application sent, or None when the message is gone."""
        return self._reader.excerpt(message, limit)

    def note(self, key: str) -> bytes | None:
        """The value of a note."""
        return self._reader.note(key)

    def sent(self, delivery: int) -> LedgerEntry | None:
        """The ledger row of a delivery that ended within the return window."""
        return self._reader.sent(delivery)

    def tidy(self, now: float) -> bool:
        """One slice of housekeeping, for when there is nothing else to do: ledgers past the window, free pages. True: there is more."""
        return self._own_store().tidy(now - self.return_window)

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
        owner, _ = self.lease
        if self.lease[1] and not self.store.broken:
            with contextlib.suppress(SpoolError):  # the next start finds "not clean", which is true enough
                self.store.stop(owner, clean)
        self.lease = (0, 0)
        self._handed_over = False
        self._reader.close()
        self.store.close()
        self.lock.release()

    def hand_over(self) -> None:
        """Another process has the writing from now on: `write`, `tidy` and `recover` are refused here."""
        self._handed_over = True
        self.store.shrink()

    def take_back(self) -> None:
        """The other process has ended."""
        if self._handed_over:
            self._handed_over = False
            with contextlib.suppress(SpoolError):  # then the store is broken, and says so at its next use
                self.store.resume(recover.lease_number(*self.lease))

    def _own_store(self) -> Store:
        if self._handed_over:
            raise SpoolError("a Writer has the writing of this spool")
        return self.store


def free_space(folder: Path) -> int:
    """Bytes that an unprivileged process may still write on the folder's file system."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize
