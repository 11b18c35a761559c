"""Windows: which deliveries are in RAM, and how they get there (DESIGN section 2, "The engine").

A flow's window lives in the traffic controller; this module fills it. A message just accepted goes straight in when there is room and its
body fits the budget. Everything else waits on disk, and the feeder leases a bounded page for each flow that has due work, by one indexed
query a flow, when the window is half empty. Flows without due work cost nothing here: what becomes due later is found by one query at
the next due time.

Bad days: when a lease cannot be written the feeder stops with the committer; what is on disk stays there.
"""

import asyncio
import math
from collections.abc import Callable

from gateway.core.committer import Committer
from gateway.core.duty import duty
from gateway.core.flows import FlowRegistry, Streams
from gateway.core.held import Held, HeldDeliveries, held_from
from gateway.spool.port import UNROUTED, Leased, LeaseRequest, Release, Spool
from gateway.traffic.controller import Controller, Item

MOST_FLOWS_A_QUERY = 1000
"""Flows that one look at the spool takes; more are taken by the next look."""

LONGEST_SLEEP = 60.0
"""Seconds after which the feeder looks at the spool even if nothing is known to be due."""


class FlowWindows:
    """Places in windows, reserved and filled; and the feeder that fills them from disk."""

    def __init__(
        self,
        controller: Controller,
        committer: Committer,
        flows: FlowRegistry,
        streams: Streams,
        held: HeldDeliveries,
        spool: Spool,
        clock: Callable[[], float],
        window: int,
        on_offer: Callable[[int], None],
        on_unrouted: Callable[[str], None],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._controller = controller
        self._committer = committer
        self._flows = flows
        self.streams = streams
        self._held = held
        self._spool = spool
        self._clock = clock
        self._refill = max(1, window // 2)
        self._on_offer = on_offer
        self._on_unrouted = on_unrouted
        self._on_bug = on_bug
        self._reserved: dict[int, int] = {}
        self._reserved_bytes = 0
        self._on_disk: dict[int, None] = {}
        """Flows known to have queued, due deliveries on disk, in the order they were seen."""
        self._horizon = 0.0
        """Everything due up to here has been seen."""
        self._next_due = 0.0
        """When to look again; 0 is now."""
        self._kick = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    # For acceptance.

    def reserve(self, flow: int, size: int) -> bool:
        """A place in the flow's window and room for `size` octets of content in RAM."""
        taken = self._reserved.get(flow, 0)
        if flow in self._on_disk or not self._held.body_fits(self._reserved_bytes + size) or self._controller.room(flow) <= taken:
            return False
        self._reserved[flow] = taken + 1
        self._reserved_bytes += size
        return True

    def unreserve(self, flow: int, size: int) -> None:
        """Give a reserved place back."""
        left = self._reserved[flow] - 1
        if left:
            self._reserved[flow] = left
        else:
            del self._reserved[flow]
        self._reserved_bytes -= size

    def place(self, held: Held) -> None:
        """A delivery that is on disk as leased goes into the place reserved for it."""
        self.unreserve(held.flow, held.message.size)
        self.offer(held)

    def waits(self, flow: int) -> None:
        """A delivery of this flow is on disk as queued and due."""
        self._on_disk[flow] = None
        self._kick.set()

    def unrouted(self, domain: str) -> None:
        """Deliveries of this domain are on disk without a route."""
        self._on_unrouted(domain)

    # For the engine.

    def offer(self, held: Held) -> None:
        """Into the window; when the flow has none any more (held, dropped), back to the disk."""
        now = self._clock()
        self._held.add(held)
        if self._controller.offer(Item(held.id, held.flow, held.expires, now, held), now):
            self._on_offer(held.flow)
        else:
            self.put_back(held, now)

    def put_back(self, held: Held, due: float) -> None:
        """Out of RAM, queued on disk and due at `due`."""
        self._held.remove(held.id)
        self._committer.release(Release(held.id, due))
        self.due_later(due)

    def withdraw(self, flow: int) -> int:
        """Empty a window to the disk; how many went."""
        now = self._clock()
        items = self._controller.withdraw(flow)
        for item in items:
            held = self._held.get(item.id)
            if held is not None:
                self.put_back(held, now)
        return len(items)

    def withdraw_ended(self, flow: int, now: float) -> list[Held]:
        """Empty a window to the disk, all but the deliveries whose time is over: these are returned, and the caller's to end."""
        ended: list[Held] = []
        for item in self._controller.withdraw(flow):
            held = self._held.get(item.id)
            if held is None:
                continue
            if held.expires <= now:
                self._held.remove(held.id)
                ended.append(held)
            else:
                self.put_back(held, now)
        return ended

    @property
    def on_disk(self) -> set[int]:
        """Flows that the feeder means to lease from."""
        return set(self._on_disk)

    def due_later(self, due: float) -> None:
        """Something on disk is due at `due`: look then."""
        # What is due earlier than the horizon would be missed by a look that begins there.
        self._horizon = min(self._horizon, due - 0.001)
        if due < self._next_due:
            self._next_due = due
            self._kick.set()

    def drained(self, flow: int) -> None:
        """Something left the flow's window: refill when it is half empty and the disk has more."""
        if flow in self._on_disk and self._controller.room(flow) >= self._refill:
            self._kick.set()

    def look(self) -> None:
        """Look at the spool now: holds were released, lanes came back, the configuration changed."""
        self._horizon = self._next_due = 0.0
        self._kick.set()

    # The feeder.

    def start(self) -> None:
        """Begin to feed."""
        keep = duty(self._run, lambda: self._committer.broken is not None, self._on_bug)
        self._task = asyncio.get_running_loop().create_task(keep, name="feeder")

    async def close(self) -> None:
        """Stop feeding; windows keep what they have, and what is being leased comes into them still, unless there is no space for it."""
        self._stopping = True
        self._kick.set()
        if self._task is None:
            return
        while not self._task.done() and not self._committer.stuck:
            await asyncio.wait([self._task], timeout=1.0)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping:
            now = self._clock()
            if now >= self._next_due:
                self._see_due(now)
            if not await self._lease(now):
                await self._sleep()

    async def _sleep(self) -> None:
        """Until something is due or someone kicks. One timer for all flows."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(min(max(self._next_due - self._clock(), 0.0) + 0.001, LONGEST_SLEEP), self._kick.set)
        await self._kick.wait()
        timer.cancel()
        self._kick.clear()

    def _see_due(self, now: float) -> None:
        due = [flow for flow in self._spool.flows_due(self._horizon, now, MOST_FLOWS_A_QUERY) if flow != UNROUTED]
        for flow in due:
            self._on_disk[flow] = None
        if len(due) < MOST_FLOWS_A_QUERY:
            self._horizon = now
            # What is being deferred in this moment is not on disk yet and not seen: the next look comes in any case.
            self._next_due = min(self._spool.next_due(now) or math.inf, now + LONGEST_SLEEP)
        else:
            self._next_due = now + 0.1

    async def _lease(self, now: float) -> bool:
        """Lease a page for each flow on disk whose window has room; whether anything was leased."""
        futures: list[asyncio.Future[Leased]] = []
        for flow in list(self._on_disk):
            room = self._controller.room(flow) - self._reserved.get(flow, 0)
            if room < self._refill:
                continue
            stream = self.streams.get(self._flows.key(flow).stream)
            futures.append(self._committer.lease(LeaseRequest(flow, now, room, now + stream.retry.first)))
        leased = 0
        for future in futures:
            leased += self._take(await future, now)
        return leased > 0

    def _take(self, page: Leased, now: float) -> int:
        if not page.deliveries or not page.next_due or page.next_due > now:
            self._on_disk.pop(page.flow, None)
            if page.next_due:
                self.due_later(page.next_due)
        for queued in page.deliveries:
            self.offer(held_from(queued))
        return len(page.deliveries)
