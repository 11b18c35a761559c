"""The committer: turns acceptances, outcomes and events into one transaction at a time, and is the only one that writes the spool.

Group commit without waiting for company: whatever has gathered while one transaction is written goes into the next; a lone client gets one
commit a message. Everybody who must know gets a future that ends after the bytes are on disk.

Bad days. A full disk (`SpoolFull`): nothing of the transaction was written; acceptances are refused with `SpoolFull` (452 for the client)
and the rest, which frees space, is tried again without them. Any other failure (`SpoolBroken`): what was written is unknown, so every
waiter gets the error, nothing more is written, and `on_broken` tells the application to stop and recover by restart.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.spool.port import (
    Acceptance,
    Change,
    Hold,
    Leased,
    LeaseRequest,
    NewFlow,
    Note,
    Release,
    Routed,
    SpoolBroken,
    SpoolError,
    SpoolFull,
    SpoolRefused,
    Sweep,
    Transaction,
    Written,
)


class TransactionWriter(Protocol):
    """Writes one transaction at a time and returns after it is durable."""

    def write(self, transaction: Transaction) -> Awaitable[Written]: ...


class Committer:
    """Gathers and commits. All methods belong to the event loop's thread."""

    def __init__(
        self,
        writer: TransactionWriter,
        *,
        batch: int,
        unsettled: int,
        on_broken: Callable[[SpoolError], None],
        on_commit: Callable[[int, float], None],
        on_full: Callable[[bool], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._batch = batch
        self._most_unsettled = unsettled
        self._on_broken = on_broken
        self._on_commit = on_commit
        self._on_full = on_full
        self._monotonic = monotonic
        self._flows: list[NewFlow] = []
        self._acceptances: deque[tuple[Acceptance, asyncio.Future[None]]] = deque()
        self._changes: list[Change] = []
        self._releases: list[Release] = []
        self._routed: list[Routed] = []
        self._leases: list[tuple[LeaseRequest, asyncio.Future[Leased]]] = []
        self._holds: list[Hold] = []
        self._holds_removed: list[int] = []
        self._sweeps: list[tuple[Sweep, asyncio.Future[list[int]]]] = []
        self._notes: dict[str, Note] = {}
        self._events: list[bytes] = []
        self._outbox_until = 0
        self._flushes: list[asyncio.Future[None]] = []
        self._changed_flows: list[tuple[int, float]] = []
        self._unsettled = 0
        self._below = asyncio.Event()
        self._below.set()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._broken: SpoolError | None = None
        self.full = False
        self.position = 0
        """Position of the last outbox row that is on disk."""
        self.on_written: Callable[[Written], None] = lambda written: None
        """Called after each commit, before the waiters."""

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Write what has gathered and end."""
        if self._task is None:
            return
        if self._broken is None:
            await self.flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Acceptances that wait for a commit."""
        return len(self._acceptances)

    @property
    def unsettled(self) -> int:
        """Outcomes not yet on disk."""
        return self._unsettled

    @property
    def broken(self) -> SpoolError | None:
        """Why nothing is written any more, or None."""
        return self._broken

    # What others hand in. Each raises or delivers the SpoolError when storage is broken.

    def accept(self, acceptance: Acceptance) -> asyncio.Future[None]:
        """Take responsibility; the future ends when it is durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
            return future
        self._acceptances.append((acceptance, future))
        self._work.set()
        return future

    def flow(self, flow: NewFlow) -> None:
        """Remember a new flow; it is written before anything that names it."""
        self._flows.append(flow)
        self._work.set()

    def change(self, change: Change) -> None:
        """The end of an attempt or of waiting. Counts as unsettled until it is on disk."""
        self._changes.append(change)
        self._unsettled += 1
        if self._unsettled >= self._most_unsettled:
            self._below.clear()
        self._work.set()

    def release(self, release: Release) -> None:
        """A leased delivery goes back untouched."""
        self._releases.append(release)
        self._work.set()

    def routed(self, routed: Routed) -> None:
        """An unrouted delivery gets its flow."""
        self._routed.append(routed)
        self._work.set()

    def lease(self, request: LeaseRequest) -> asyncio.Future[Leased]:
        """Lease due deliveries of a flow; the future gives them when that is durable."""
        future: asyncio.Future[Leased] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
            return future
        self._leases.append((request, future))
        self._work.set()
        return future

    def sweep(self, sweep: Sweep) -> asyncio.Future[list[int]]:
        """One slice of a change to many deliveries; the future gives the identities it touched."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
            return future
        self._sweeps.append((sweep, future))
        self._work.set()
        return future

    def hold(self, hold: Hold) -> None:
        """A new row about flows."""
        self._holds.append(hold)
        self._work.set()

    def unhold(self, identity: int) -> None:
        """Remove a hold."""
        self._holds_removed.append(identity)
        self._work.set()

    def note(self, note: Note) -> None:
        """A small value that must survive; the last one of a key counts. Written with the next commit that happens."""
        self._notes[note.key] = note

    def events(self, events: list[bytes]) -> None:
        """Events without a delivery's change."""
        self._events.extend(events)
        self._work.set()

    def published(self, position: int) -> None:
        """Outbox rows up to `position` may go; they go with the next commit that happens."""
        self._outbox_until = max(self._outbox_until, position)

    def flush(self) -> asyncio.Future[None]:
        """Ends when everything handed in so far is on disk."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
            return future
        self._flushes.append(future)
        self._work.set()
        return future

    async def settled(self) -> None:
        """Back-pressure: returns when fewer than the allowed number of outcomes are not yet on disk."""
        if not self._below.is_set():
            await self._below.wait()

    # The one writer.

    async def _run(self) -> None:
        while self._broken is None:
            await self._work.wait()
            self._work.clear()
            await self._commit_gathered()

    async def _commit_gathered(self) -> None:
        acceptances = self._take_acceptances()
        rest = self._take_rest()
        leases, sweeps, flushes = self._leases, self._sweeps, self._flushes
        self._leases, self._sweeps, self._flushes = [], [], []
        transaction = self._build(rest, [acceptance for acceptance, _ in acceptances], leases, sweeps)
        begun = self._monotonic()
        try:
            written = await self._write_or_shed(transaction, acceptances)
        except SpoolError as error:
            self._break(error, acceptances, leases, sweeps, flushes)
            return
        except Exception as bug:
            self._break(SpoolBroken(f"bug: {type(bug).__name__}: {bug}"), acceptances, leases, sweeps, flushes)
            raise
        self._on_commit(len(acceptances) + len(transaction.changes), self._monotonic() - begun)
        self._settle_waiters(written, acceptances, leases, sweeps, flushes, len(transaction.changes))
        if self._acceptances:
            self._work.set()

    async def _write_or_shed(self, transaction: Transaction, acceptances: list[tuple[Acceptance, asyncio.Future[None]]]) -> Written:
        """Write; on a full disk, or when the spool refuses a bug of ours, refuse the acceptances and write the rest, which frees space."""
        try:
            written = await self._writer.write(transaction)
        except (SpoolFull, SpoolRefused) as refusal:
            if isinstance(refusal, SpoolFull):
                self._set_full(True)
            elif not acceptances:
                raise
            for _, future in acceptances:
                if not future.done():
                    future.set_exception(refusal)
            acceptances.clear()
            lean = Transaction(
                flows=transaction.flows,
                changes=transaction.changes,
                releases=transaction.releases,
                routed=transaction.routed,
                holds=transaction.holds,
                holds_removed=transaction.holds_removed,
                leases=transaction.leases,
                sweeps=transaction.sweeps,
                notes=transaction.notes,
                events=transaction.events,
                outbox_until=transaction.outbox_until,
            )
            try:
                return await self._writer.write(lean)
            except SpoolFull as still_full:
                raise SpoolBroken(f"no space even for outcomes: {still_full}") from still_full
        if acceptances:
            self._set_full(False)
        return written

    def _set_full(self, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._on_full(full)

    def _take_acceptances(self) -> list[tuple[Acceptance, asyncio.Future[None]]]:
        if len(self._acceptances) <= self._batch:
            taken = list(self._acceptances)
            self._acceptances.clear()
            return taken
        return [self._acceptances.popleft() for _ in range(self._batch)]

    def _take_rest(self) -> Transaction:
        rest = Transaction(
            flows=self._flows,
            changes=self._changes,
            releases=self._releases,
            routed=self._routed,
            holds=self._holds,
            holds_removed=self._holds_removed,
            notes=list(self._notes.values()),
            events=self._events,
            outbox_until=self._outbox_until,
        )
        self._flows, self._changes, self._releases, self._routed = [], [], [], []
        self._holds, self._holds_removed, self._events, self._outbox_until = [], [], [], 0
        self._notes.clear()
        return rest

    def _build(
        self,
        rest: Transaction,
        acceptances: list[Acceptance],
        leases: list[tuple[LeaseRequest, asyncio.Future[Leased]]],
        sweeps: list[tuple[Sweep, asyncio.Future[list[int]]]],
    ) -> Transaction:
        return Transaction(
            flows=rest.flows,
            acceptances=acceptances,
            changes=rest.changes,
            releases=rest.releases,
            routed=rest.routed,
            leases=[request for request, _ in leases],
            holds=rest.holds,
            holds_removed=rest.holds_removed,
            sweeps=[sweep for sweep, _ in sweeps],
            notes=rest.notes,
            events=rest.events,
            outbox_until=rest.outbox_until,
        )

    def _settle_waiters(
        self,
        written: Written,
        acceptances: list[tuple[Acceptance, asyncio.Future[None]]],
        leases: list[tuple[LeaseRequest, asyncio.Future[Leased]]],
        sweeps: list[tuple[Sweep, asyncio.Future[list[int]]]],
        flushes: list[asyncio.Future[None]],
        changes: int,
    ) -> None:
        self.position = max(self.position, written.position)
        self._unsettled -= changes
        if self._unsettled < self._most_unsettled:
            self._below.set()
        self.on_written(written)
        for _, future in acceptances:
            if not future.done():
                future.set_result(None)
        for (_, lease), leased in zip(leases, written.leased, strict=True):
            if not lease.done():
                lease.set_result(leased)
        for (_, sweep), swept in zip(sweeps, written.swept, strict=True):
            if not sweep.done():
                sweep.set_result(swept)
        for flush in flushes:
            if not flush.done():
                flush.set_result(None)

    def _break(
        self,
        error: SpoolError,
        acceptances: list[tuple[Acceptance, asyncio.Future[None]]],
        leases: list[tuple[LeaseRequest, asyncio.Future[Leased]]],
        sweeps: list[tuple[Sweep, asyncio.Future[list[int]]]],
        flushes: list[asyncio.Future[None]],
    ) -> None:
        self._broken = error
        waiting: list[asyncio.Future[None]] = [future for _, future in acceptances] + [future for _, future in self._acceptances] + flushes
        self._acceptances.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for _, lease in leases + self._leases:
            if not lease.done():
                lease.set_exception(error)
        for _, sweep in sweeps + self._sweeps:
            if not sweep.done():
                sweep.set_exception(error)
        self._below.set()
        self._on_broken(error)
