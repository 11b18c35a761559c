"""Sweeps: what must touch many deliveries, in slices of at most 1,000 beside normal commits (DESIGN section 3).

Two kinds. By time: deliveries whose lifetime is over expire, and those whose source binding or exclusion has ended return to their pool's
flow. By an operator: cancel, expire, retry, reroute of a selection; each is noted in the spool until it is done, so that a crash in the
middle does not leave it half done: the next start goes on.

Deliveries that a connection holds at that moment end by their attempt; those in a window are touched there.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.core.committer import Committer
from gateway.core.duty import duty
from gateway.core.flows import FlowRegistry, pool_flow
from gateway.core.held import Held, HeldDeliveries, held_from
from gateway.core.observer import Observer
from gateway.core.settlement import Settled, Settler
from gateway.core.windows import FlowWindows
from gateway.spool.lifecycle import State
from gateway.spool.port import UNROUTED, Note, Queued, Release, Routed, Selection, Spool, Sweep

SLICE = 1000
EVERY = 5.0
"""Seconds between looks for what expires."""
OPERATIONS = "operations"
"""Note that lists the operations that are not done."""

Action = Literal["retry", "reroute", "cancel", "expire"]


class Operation(msgspec.Struct, frozen=True):
    """An operator's change to a selection, as noted in the spool."""

    id: int
    action: Action
    selection: Selection
    at: float
    reason: str = ""


class Sweeper:
    """Carries sweeps out, one slice a commit."""

    def __init__(
        self,
        spool: Spool,
        committer: Committer,
        flows: FlowRegistry,
        windows: FlowWindows,
        held: HeldDeliveries,
        settler: Settler,
        observer: Observer,
        clock: Callable[[], float],
        on_due: Callable[[], None],
        on_time: Callable[[float], None],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._spool = spool
        self._committer = committer
        self._flows = flows
        self._windows = windows
        self._held = held
        self.settler = settler
        self._observer = observer
        self._clock = clock
        self._on_due = on_due
        self._on_time = on_time
        self._on_bug = on_bug
        noted = spool.note(OPERATIONS)
        operations = msgspec.json.decode(noted, type=list[Operation]) if noted else []
        self._unfinished = {operation.id: operation for operation in operations}
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Begin the looks by time, and go on with operations that a crash interrupted."""
        keep = duty(self._by_time, lambda: self._committer.broken is not None, self._on_bug)
        self._keep(asyncio.get_running_loop().create_task(keep, name="sweeps"))
        for operation in self._unfinished.values():
            self._keep(asyncio.get_running_loop().create_task(self.carry_out(operation), name=f"operation {operation.id}"))

    async def close(self) -> None:
        """Stop; operations that are not done stay noted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[object]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # By time.

    async def _by_time(self) -> None:
        while True:
            now = self._clock()
            self._on_time(now)
            self._expire_held(now)
            while await self._expire_slice(now):
                pass
            while await self._lapse_slice(now):
                pass
            await asyncio.sleep(EVERY)

    def _expire_held(self, now: float) -> None:
        """Deliveries whose time ended in a window, behind a closed lane, end here: the slice finds only those that are queued."""
        for flow in {held.flow for held in self._held.all() if held.permit == 0 and held.expires <= now}:
            for held in self._windows.withdraw_ended(flow, now):
                self._end(held, lambda held: self.settler.expire(held, now))

    async def _expire_slice(self, now: float) -> bool:
        page = self._spool.expiring(now, SLICE)
        await self._end_page(page, lambda held: self.settler.expire(held, now))
        return len(page) == SLICE

    async def _lapse_slice(self, now: float) -> bool:
        page = self._spool.lapsed(now, SLICE)
        for queued in page:
            if queued.flow != UNROUTED:
                self._committer.routed(Routed(queued.id, self._flows.number(pool_flow(self._flows.key(queued.flow))), 0.0))
        if page:
            await self._committer.flush()
            self._windows.look()
        return len(page) == SLICE

    # By an operator.

    def begin(self, operation: Operation) -> None:
        """As `operate`, for somebody who does not wait."""
        self._unfinished[operation.id] = operation
        self._note_unfinished()
        self._keep(asyncio.get_running_loop().create_task(self.carry_out(operation), name=f"operation {operation.id}"))

    async def operate(self, operation: Operation) -> int:
        """Note the operation, carry it out; how many deliveries it touched."""
        self._unfinished[operation.id] = operation
        self._note_unfinished()
        await self._committer.flush()
        task = asyncio.get_running_loop().create_task(self.carry_out(operation), name=f"operation {operation.id}")
        self._keep(task)
        return await asyncio.shield(task)

    async def carry_out(self, operation: Operation) -> int:
        """Slice by slice until nothing matches any more."""
        met = self._from_windows(operation)
        await self._committer.flush()
        if operation.action in ("retry", "reroute"):
            touched = await self._sweep(operation, met)
        else:
            touched = len(met) + await self._end_all(operation)
        self._unfinished.pop(operation.id, None)
        self._note_unfinished()
        await self._committer.flush()
        return touched

    def _note_unfinished(self) -> None:
        self._committer.note(Note(OPERATIONS, msgspec.json.encode(list(self._unfinished.values()))))

    def _from_windows(self, operation: Operation) -> set[int]:
        """What matches in a window is touched there: put back, the feeder could have it again before the slices come by. Which it was."""
        if operation.action == "retry":
            return set()  # what is in a window is due already
        now = self._clock()
        meant = [held for held in self._held.all() if held.permit == 0 and matches(operation.selection, held, self._provider(held))]
        for held in meant:
            self._held.remove(held.id)
            if operation.action == "reroute":
                self._committer.release(Release(held.id, now, UNROUTED))
            else:
                self._end(held, lambda held: self._ending(operation, held))
        for flow in {held.flow for held in meant}:
            self._windows.withdraw(flow)  # the rest of it goes to disk and comes back: windows keep no places for what is gone
        return {held.id for held in meant}

    async def _sweep(self, operation: Operation, met: set[int]) -> int:
        """On disk; how many, with those that were `met` in windows."""
        touched, after = len(met), 0
        while True:
            swept = await self._committer.sweep(Sweep(operation.action, operation.selection, operation.at, after, SLICE))
            touched += sum(delivery not in met for delivery in swept)
            if len(swept) < SLICE:
                break
            after = swept[-1]
        self._windows.look()
        self._on_due()
        return touched

    async def _end_all(self, operation: Operation) -> int:
        touched, after = 0, 0
        while True:
            page = self._spool.find(operation.selection, after, SLICE)
            touched += await self._end_page(page, lambda held: self._ending(operation, held))
            if len(page) < SLICE:
                return touched
            after = page[-1].id

    async def _end_page(self, page: list[Queued], decide: Callable[[Held], Settled]) -> int:
        """End those of `page` that are queued; how many."""
        ending = [held_from(queued) for queued in page if queued.state is State.QUEUED]
        if not ending:
            return 0
        for held in ending:
            self._end(held, decide)
        await self._committer.flush()
        for held in ending:
            # Leased by the commit that was being written while the page was read, and in a window now: it must not leave any more.
            leased = self._held.get(held.id)
            if leased is not None and leased.permit == 0:
                self._held.remove(held.id)
        return len(ending)

    def _ending(self, operation: Operation, held: Held) -> Settled:
        now = self._clock()
        if operation.action == "expire":
            return self.settler.expire(held, now)
        return self.settler.cancel(held, operation.reason or "cancelled by an operator", now)

    def _end(self, held: Held, decide: Callable[[Held], Settled]) -> None:
        settled = decide(held)
        self._committer.change(settled.change)
        self._observer.ended(held, self._provider(held), settled.became.value, settled.reason)

    def _provider(self, held: Held) -> str:
        return "" if held.flow == UNROUTED else self._flows.key(held.flow).provider


def matches(selection: Selection, held: Held, provider: str) -> bool:
    """Whether a held delivery is meant by the selection. The spool decides the same for what is on disk, by one SQL condition."""
    message = held.message
    pairs = (
        (selection.domain, held.recipient.domain),
        (selection.provider, provider),
        (selection.account, message.account),
        (selection.stream, message.stream),
        (selection.campaign, message.campaign),
    )
    if any(wanted and wanted != value for wanted, value in pairs):
        return False
    if selection.ids and held.id not in selection.ids and message.id not in selection.ids:
        return False
    return not selection.older_than or message.received_at < selection.older_than
