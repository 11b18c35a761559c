"""The console's call about one person: forget.

Everything this node knows goes, in an order that lets nothing come back: queued mail is cancelled first (its body goes with it), its events
and those before are written out, then the sent ledger, the event files, the embedded log, dead letters and the list lose the person. What
stays is the suppression, under a keyed hash without an address. What is on a connection at this moment, and events that a slow reader of
the log has not taken yet, cannot be taken back: the answer counts them, and the call can be made again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from contacts import command, event_log
from contacts.event_log import EventLog
from contacts.exchange import forget
from contacts.letters import FILE, Letters
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from gateway.admin.calls import CallError, Result
from gateway.core.core import Core
from gateway.core.sweeps import Operation
from gateway.publishing.publishing import Publishing
from gateway.spool.person import Ended, InQueue, PersonReader
from gateway.spool.port import Selection, Sweep

PATIENCE = 10.0
"""Seconds to wait until the log has been written out."""
SLICE = 1000


class ForgetPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """contacts.forget"""

    address: str
    dry_run: bool = False


class PersonCalls:
    """The call over one core, its store and the roads of its events."""

    def __init__(self, core: Core, store: SuppressionStore, publishing: Publishing) -> None:
        self._core = core
        self._store = store
        self._publishing = publishing
        self.calls: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[Result]]]] = {
            "contacts.forget": (ForgetPerson, self._forget)
        }

    async def _forget(self, arguments: ForgetPerson) -> Result:
        try:
            address = command.subject(arguments.address)
            if "@" not in address:
                raise CallError("give the address itself: what is known under a hash only has no address to forget")
            return await self._carry_out(address, arguments.dry_run)
        except (command.Refused, StoreError) as refusal:
            raise CallError(str(refusal)) from refusal
        except OSError as error:
            raise CallError(f"event files: {error.strerror or error}; what was done stays done, make the call again") from error

    async def _carry_out(self, address: str, dry_run: bool) -> Result:
        loop = asyncio.get_running_loop()
        queued, ended, _ = await loop.run_in_executor(None, self._look, address)
        counts: Result = {
            "dry_run": dry_run,
            "queued": len(queued),
            "ledger": len(ended),
            "suppressions": len(self._store.entries_of(address)),
        }
        if dry_run:
            return counts
        await self._cancel(queued)
        await self._written_out()
        left, ended, waiting = await loop.run_in_executor(None, self._look, address)
        await self._from_ledger([one.id for one in ended])
        files, lines = await self._core.outbox.erase(address)
        logged = await loop.run_in_executor(None, self._from_log, address)
        letters = await loop.run_in_executor(None, self._from_letters, address)
        kept = await loop.run_in_executor(None, forget, self._store, address)
        return counts | {
            "cancelled": len(queued) - len(left),
            "being_delivered": len(left),
            "ledger": len(ended),
            "event_files": files,
            "event_lines": lines,
            "event_rows": logged,
            "events_waiting": waiting,
            "dead_letters": letters,
            "suppressions": kept,
        }

    def _look(self, address: str) -> tuple[list[InQueue], list[Ended], int]:
        reader = PersonReader(self._store.folder)
        try:
            return reader.queued(address), reader.ended(address), reader.waiting(address)
        finally:
            reader.close()

    async def _cancel(self, queued: list[InQueue]) -> None:
        now = self._core.clock()
        for start in range(0, len(queued), SLICE):
            selection = Selection(ids=[one.id for one in queued[start : start + SLICE]])
            operation = Operation(self._core.identities.next(now), "cancel", selection, now, "the recipient is forgotten")
            await self._core.sweeper.operate(operation)

    async def _written_out(self) -> None:
        """Events are in the file, and in the list on disk, or their readers are stuck."""
        await self._core.committer.flush()
        deadline = self._core.ports.monotonic() + PATIENCE
        while self._left() and self._core.ports.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def _left(self) -> int:
        """Events that are being written out."""
        return (self._core.outbox.backlog if self._core.outbox.runs else 0) + self._publishing.lag

    async def _from_ledger(self, deliveries: list[int]) -> None:
        for start in range(0, len(deliveries), SLICE):
            wanted = Selection(ids=deliveries[start : start + SLICE])
            await self._core.committer.sweep(Sweep("forget", wanted, self._core.clock()))

    def _from_log(self, address: str) -> int:
        """Also where it is not configured any more."""
        if not (self._store.folder / event_log.FILE).exists():
            return 0
        log = EventLog(self._store.folder)
        try:
            return log.forget(address)
        finally:
            log.close()

    def _from_letters(self, address: str) -> int:
        if not (self._store.folder / FILE).exists():
            return 0
        letters = Letters(self._store.folder)
        try:
            return letters.forget(address)
        finally:
            letters.close()
