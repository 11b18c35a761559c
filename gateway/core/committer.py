"""The committer: turns acceptances, outcomes and events into one transaction at a time, and is the only one that writes the spool.

Group commit without waiting for company: whatever has gathered while one transaction is written goes into the next; a lone client gets one
commit a message. Only when commits are busy does the loop turn a few times before the next one gathers. Everybody who must know gets a
future that ends after the bytes are on disk.

Bad days. A full disk (`SpoolFull`): nothing of the transaction was written; acceptances are refused with `SpoolFull` (452 for the client)
and the rest, which frees space, is tried again without them, each second until there is space: what was sent is not forgotten, connections
stop pulling by themselves. Any other failure (`SpoolBroken`): what was written is unknown, so every
waiter gets the error, nothing more is written, and `on_broken` tells the application to stop and recover by restart.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway.core.gathering import Accepting, Done, Gathering
from gateway.spool.notice import Told
from gateway.spool.port import (
    Acceptance,
    Change,
    Hold,
    Leased,
    LeaseRequest,
    NewFlow,
    Note,
    Release,
    Repeated,
    Routed,
    SpoolBroken,
    SpoolError,
    SpoolFull,
    SpoolRefused,
    Sweep,
    Transaction,
    Written,
)

BUSY = 5
"""Messages and outcomes in a commit from which the next one lets the loop turn before it gathers."""

GATHER_TURNS = 8
"""Turns of the loop that it lets: a tenth less CPU a message than with three, twenty clients in lock-step; a lone one waits for none."""


FULL_PAUSE = 1.0
"""Seconds between tries to write outcomes to a disk that has no space for them."""


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
        on_damaged: Callable[[list[int]], None],
        on_stale: Callable[[list[int]], None],
        monotonic: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._writer = writer
        self._batch = batch
        self._most_unsettled = unsettled
        self._on_broken = on_broken
        self._on_commit = on_commit
        self._on_full = on_full
        self._on_damaged = on_damaged
        self._on_stale = on_stale
        self._monotonic = monotonic
        self._pause = pause
        self._acceptances: deque[Accepting] = deque()
        self._gathering = Gathering()
        self._unsettled = 0
        self._below = asyncio.Event()
        self._below.set()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._broken: SpoolError | None = None
        self._last = 0
        """Messages and outcomes in the last commit."""
        self.on_repeated: Callable[[list[Repeated]], None] = lambda repeated: None
        """Told of acceptances with recipients known under their key, before those who wait for them."""
        self.full = False
        """The last acceptance found no space."""
        self.stuck = False
        """Not even outcomes find space: they wait in RAM, and are tried again and again."""
        self.position = 0
        """Position of the last outbox row that is on disk."""

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    async def finish(self) -> bool:
        """Whether everything handed in is on disk; False when storage is broken or there is no space for it."""
        flush = self.flush()
        while not flush.done() and not self.stuck:
            await asyncio.wait([flush], timeout=FULL_PAUSE)
        return not flush.cancel() and flush.exception() is None

    async def close(self) -> bool:
        """Write what has gathered and end; whether all of it is on disk."""
        if self._task is None:
            return True
        finished = await self.finish()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return finished

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

    # What others hand in. A future gets the SpoolError when storage is broken.

    def accept(self, acceptance: Acceptance, done: Done) -> asyncio.Future[None]:
        """Take responsibility; the future ends when it is durable. `done` is called first, with the error if there is one, and also when
        nobody waits for the future any more."""
        future: asyncio.Future[None] = self._future()
        if self._broken is not None:
            done(self._broken)
        else:
            self._acceptances.append(Accepting(acceptance, done, future))
        return future

    def flow(self, flow: NewFlow) -> None:
        """Remember a new flow; it is written before anything that names it."""
        self._gathering.flows.append(flow)
        self._work.set()

    def forget(self, flows: list[int]) -> None:
        """These flows have no deliveries and are gone."""
        self._gathering.flows_removed += flows
        self._work.set()

    def change(self, change: Change) -> None:
        """The end of an attempt or of waiting. Counts as unsettled until it is on disk."""
        self._gathering.changes.append(change)
        self._unsettled += 1
        if self._unsettled >= self._most_unsettled:
            self._below.clear()
        self._work.set()

    def release(self, release: Release) -> None:
        """A leased delivery goes back untouched."""
        self._gathering.releases.append(release)
        self._work.set()

    def routed(self, routed: Routed) -> None:
        """An unrouted delivery gets its flow."""
        self._gathering.routed.append(routed)
        self._work.set()

    def lease(self, request: LeaseRequest) -> asyncio.Future[Leased]:
        """Lease due deliveries of a flow; the future gives them when that is durable."""
        future: asyncio.Future[Leased] = self._future()
        if not future.done():
            self._gathering.leases.append((request, future))
        return future

    def sweep(self, sweep: Sweep) -> asyncio.Future[list[int]]:
        """One slice of a change to many deliveries; the future gives the identities it touched."""
        future: asyncio.Future[list[int]] = self._future()
        if not future.done():
            self._gathering.sweeps.append((sweep, future))
        return future

    def hold(self, hold: Hold) -> None:
        """A new row about flows."""
        self._gathering.holds.append(hold)
        self._work.set()

    def unhold(self, identity: int) -> None:
        """Remove a hold."""
        self._gathering.holds_removed.append(identity)
        self._work.set()

    def note(self, note: Note) -> None:
        """A small value that must survive; the last one of a key counts. Written with the next commit that happens."""
        self._gathering.notes[note.key] = note

    def events(self, events: list[bytes]) -> None:
        """Events without a delivery's change."""
        self._gathering.events.extend(events)
        self._work.set()

    def published(self, position: int) -> None:
        """Outbox rows up to `position` may go; they go with the next commit that happens."""
        self._gathering.outbox_until = max(self._gathering.outbox_until, position)

    def told(self, told: Told) -> None:
        """These notices need no report."""
        self._gathering.told.append(told)
        self._work.set()

    def flush(self) -> asyncio.Future[None]:
        """Ends when everything handed in so far is on disk."""
        future: asyncio.Future[None] = self._future()
        if not future.done():
            self._gathering.flushes.append(future)
        return future

    async def settled(self) -> None:
        """Back-pressure: returns when fewer than the allowed number of outcomes are not yet on disk."""
        if not self._below.is_set():
            await self._below.wait()

    def _future(self) -> asyncio.Future[Any]:
        """Somebody waits: there is work, or storage is broken."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
        self._work.set()
        return future

    # The one writer.

    async def _run(self) -> None:
        try:
            while self._broken is None:
                await self._work.wait()
                self._work.clear()
                if self._last >= BUSY:
                    # Who was just answered speaks again within these turns of the loop; nobody waits for time here.
                    for _ in range(GATHER_TURNS):
                        await asyncio.sleep(0)
                await self._commit_gathered()
        except Exception as bug:
            # Without a committer everybody would wait for ever: a bug of ours is storage that is broken.
            self._break(SpoolBroken(f"bug: {type(bug).__name__}: {bug}"), [], Gathering())
            raise

    async def _commit_gathered(self) -> None:
        gathered, self._gathering = self._gathering, Gathering()
        accepting = [self._acceptances.popleft() for _ in range(min(self._batch, len(self._acceptances)))]
        begun = self._monotonic()
        try:
            written = await self._write(gathered, accepting)
        except SpoolError as error:
            self._break(error, accepting, gathered)
            return
        except Exception as bug:
            self._break(SpoolBroken(f"bug: {type(bug).__name__}: {bug}"), accepting, gathered)
            return
        self._last = len(accepting) + len(gathered.changes)
        self._on_commit(len(accepting) + len(gathered.changes), self._monotonic() - begun)
        self._unsettled -= len(gathered.changes)
        if self._unsettled < self._most_unsettled:
            self._below.set()
        for one in accepting:
            one.end(None)
        gathered.give(written)
        if self._acceptances:
            self._work.set()

    async def _write(self, gathered: Gathering, accepting: list[Accepting]) -> Written:
        """Write everything; where the spool refuses, shed acceptances and write the rest, which frees space."""
        try:
            written = await self._writer.write(gathered.transaction([one.acceptance for one in accepting]))
        except SpoolFull as full:
            self.set_full(True)
            for one in accepting:
                one.end(full)
            written = await self._write_rest(gathered)
        except SpoolRefused:
            if not accepting:
                raise
            written = await self._write_rest(gathered)
            await self._write_one_by_one(accepting)
        else:
            if accepting:
                self.set_full(False)
        self._take(written)
        return written

    async def _write_rest(self, gathered: Gathering) -> Written:
        """Without acceptances, as often as it takes. Those that come meanwhile are refused."""
        while True:
            try:
                written = await self._writer.write(gathered.transaction([]))
            except SpoolFull as full:
                self.set_full(True)
                self.stuck = True
                self._refuse_waiting(full)
                await self._pause(FULL_PAUSE)
                continue
            self.stuck = False
            return written

    def _refuse_waiting(self, error: SpoolError) -> None:
        for one in self._acceptances:
            one.end(error)
        self._acceptances.clear()

    async def _write_one_by_one(self, accepting: list[Accepting]) -> None:
        """One of them contradicts the spool, which is a bug of ours: the others must not suffer."""
        for one in accepting:
            try:
                self._take(await self._writer.write(Transaction(acceptances=[one.acceptance])))
            except (SpoolRefused, SpoolFull) as refusal:
                one.end(refusal)

    def _take(self, written: Written) -> None:
        self.position = max(self.position, written.position)
        if written.damaged:
            self._on_damaged(written.damaged)
        if written.stale:
            self._on_stale(written.stale)
        if written.repeated:
            self.on_repeated(written.repeated)

    def set_full(self, full: bool) -> None:
        """Whether an acceptance would find no space, as far as anybody knows."""
        if full != self.full:
            self.full = full
            self._on_full(full)

    def _break(self, error: SpoolError, accepting: list[Accepting], gathered: Gathering) -> None:
        self._broken = error
        for one in accepting:
            one.end(error)
        self._refuse_waiting(error)
        gathered.refuse(error)
        self._gathering.refuse(error)
        self._below.set()
        self._on_broken(error)
