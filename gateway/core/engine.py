"""The engine: connections pull, nothing pushes (DESIGN section 2, "The engine").

It opens the connections that the traffic controller finds worth having, hands out deliveries when a connection asks (`next`), and takes
their outcomes (`settle`). One turn at a time, one timer for everything that waits for time; a connection that waits for work is one future.

Promises: a delivery is in one place: its window, one connection, or the committer. A hand that ends in any way gives everything back.
A connection stops pulling while too many outcomes are not yet on disk. What it does not do: decide limits (traffic), consequences
(settlement), or speak SMTP (delivery).
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from gateway.calls import Assignment, AttemptFacts, Closed, Handout, Opening, Permit, Settle, Settlement, Wait
from gateway.core.committer import Committer
from gateway.core.flows import FlowRegistry
from gateway.core.held import Held, HeldDeliveries
from gateway.core.observer import Observer
from gateway.core.settlement import Settled, Settler, verdict_of
from gateway.core.windows import FlowWindows
from gateway.delivery.security.demand import undemanded
from gateway.spool.port import UNROUTED, Release, SpoolError
from gateway.traffic.breaker import Breaker, Key, Trip
from gateway.traffic.controller import Controller, Item, Report
from mail.event import Event, EventKind
from mail.outcome import Fault, Outcome

LOOK_AGAIN = 60.0
"""Seconds after which a delivery is tried whose suppression could not be looked up."""

CANCEL_PATIENCE = 2.0
"""Seconds a cancelled session gets to end."""

Session = Callable[[Permit], Coroutine[Any, Any, None]]
"""Runs one connection from its permit to its end."""


class Connection(msgspec.Struct, gc=False):
    """What the engine knows of one open connection."""

    permit: Permit
    task: asyncio.Task[None] | None = None
    handed: dict[int, Item] = {}


class Engine:
    """Permits, sessions and the road between windows and outcomes. Everything runs on the event loop's thread."""

    def __init__(
        self,
        controller: Controller,
        committer: Committer,
        flows: FlowRegistry,
        held: HeldDeliveries,
        settler: Settler,
        breaker: Breaker,
        observer: Observer,
        clock: Callable[[], float],
        suppressed: Callable[[Held], str | None],
        held_back: Callable[[Held, float], float],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._controller = controller
        self._committer = committer
        self._flows = flows
        self._held = held
        self.settler = settler
        self._breaker = breaker
        self._observer = observer
        self._clock = clock
        self._suppressed = suppressed
        self._held_back = held_back
        self._on_bug = on_bug
        self.windows: FlowWindows
        self.session: Session
        self.on_addition: Callable[[Event], None]
        """Told when a recipient is suppressed, in the turn in which that was decided."""
        self.on_trip: Callable[[Key, Trip], None]
        """Told when a campaign is badly wrong at a provider."""
        self.on_unrouted_due: Callable[[float], None]
        """Told when a delivery without a route will be due."""
        self.guarded: Mapping[str, str] = {}
        """Domains that publish something about TLS, and the key of their route (`gateway.delivery.route`)."""
        self._connections: dict[int, Connection] = {}
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._stopping = False

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    # Turns: open what is worth opening, wake who should ask again, sleep until time changes something.

    def offered(self, flow: int) -> None:
        """A delivery came into this flow's window."""
        self.turn_soon()

    def turn_soon(self) -> None:
        """Take a turn in this turn of the loop, once."""
        if not self._turn_due and not self._stopping:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if self._stopping:
            return
        now = self._clock()
        for opening in self._controller.demand(now):
            self._open(opening, now)
        for permit in self._controller.ready():
            self._wake(permit)
        self._set_timer(now)

    def _open(self, opening: Opening, now: float) -> None:
        permit = self._controller.open(opening, now)
        if isinstance(permit, Wait):
            return
        connection = Connection(permit, handed={})
        self._connections[permit.id] = connection
        connection.task = asyncio.get_running_loop().create_task(self._run_session(permit), name=f"session {permit.id}")

    async def _run_session(self, permit: Permit) -> None:
        """A session always ends with `closed`; should it fail to say so, this does. What it raises is a bug and is told."""
        try:
            await self.session(permit)
        except Exception as bug:
            self._on_bug(bug)
        finally:
            self.closed(Closed(permit.id))

    def _set_timer(self, now: float) -> None:
        at = self._controller.wake(now)
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at < math.inf:
            # A little late rather than early: an early turn would find nothing and set the same timer again.
            self._timer = asyncio.get_running_loop().call_later(max(at - now, 0.0) + 0.001, self._alarm)

    def _alarm(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._turn()

    def _wake(self, permit: int) -> None:
        waiter = self._waiters.get(permit)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The calls of a hand.

    async def next(self, permit: int, n: int, wait: bool = True) -> Handout:
        """Up to `n` deliveries for the connection. With `wait` it returns when there is one or the connection should close."""
        connection = self._connections.get(permit)
        while connection is not None and not self._stopping:
            await self._committer.settled()
            now = self._clock()
            items, pause, close = self._controller.next(permit, n, now)
            assignments = [assignment for item in items if (assignment := self._hand_out(connection, item, now)) is not None]
            if assignments:
                return Handout(assignments)
            if items:
                continue
            if close or pause is None:
                return Handout([], close=True)
            if not wait:
                return Handout([], wait=pause)
            await self._wait(permit)
        return Handout([], close=True)

    async def _wait(self, permit: int) -> None:
        """Until the controller names the permit as ready."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[permit] = waiter
        self.turn_soon()
        try:
            await waiter
        finally:
            del self._waiters[permit]

    def _hand_out(self, connection: Connection, item: Item, now: float) -> Assignment | None:
        """The last look before an attempt: its time may be over, or the recipient suppressed since it was accepted."""
        held = self._held.get(item.id)
        if held is None:  # ended while it waited
            self._controller.untried(connection.permit.id, item, now)
            return None
        until = self._held_back(held, now)
        try:
            reason = self._suppressed(held)
        except SpoolError:
            reason, until = None, now + LOOK_AGAIN
        if held.expires <= now:
            self._end_untried(held, self.settler.expire(held, now))
        elif reason is not None:
            self._end_untried(held, self.settler.cancel(held, f"suppressed: {reason}", now))
        elif until > now:
            self.windows.put_back(held, until)
        elif held.recipient.domain in self.guarded and self._misrouted(held):
            self._unroute(held.id, now)
        else:
            return self._handed(connection, held, item)
        self._controller.untried(connection.permit.id, item, now)
        return None

    def _misrouted(self, held: Held) -> bool:
        """Whether its domain's TLS policy became known, or another, after it was routed."""
        return undemanded(self._flows.key(held.flow).route)[0] != self.guarded[held.recipient.domain]

    def _unroute(self, delivery: int, now: float) -> None:
        if self._held.remove(delivery) is not None:
            self._committer.release(Release(delivery, now, UNROUTED))
            # Whoever looks before it is on disk does not find it.
            self._committer.flush().add_done_callback(self._look_for_unrouted)

    def _look_for_unrouted(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.on_unrouted_due(self._clock())

    def _handed(self, connection: Connection, held: Held, item: Item) -> Assignment:
        held.permit = connection.permit.id
        connection.handed[item.id] = item
        self.windows.drained(held.flow)
        return held.assignment()

    def _end_untried(self, held: Held, settled: Settled) -> None:
        self._held.remove(held.id)
        self._committer.change(settled.change)
        self._observer.ended(held, self._provider(held), settled.became.value, settled.reason)

    def settle(self, settle: Settle) -> None:
        """Outcomes of a connection: consequences are decided and applied in this turn of the loop, and handed to the committer."""
        connection = self._connections.get(settle.permit)
        if connection is None:
            return
        now = self._clock()
        reports: list[Report] = []
        for settlement in settle.settlements:
            if connection.handed.pop(settlement.delivery, None) is not None:
                reports.append(self._settle_one(settlement, now))
        self._controller.report(settle.permit, reports, now)
        self._give_back(connection, settle.returned, now)
        self.turn_soon()

    def _settle_one(self, settlement: Settlement, now: float) -> Report:
        held = self._held.remove(settlement.delivery)
        assert held is not None, "a delivery that was handed out is held"
        settled = self.settler.settle(held, settlement, now)
        self._committer.change(settled.change)
        if settled.addition is not None:
            self.on_addition(settled.addition)
        if settled.became is EventKind.DEFERRED:
            self.on_unrouted_due(settled.next_due) if settled.change.flow == UNROUTED else self.windows.due_later(settled.next_due)
        provider = settlement.facts.lane.provider
        self._observer.attempted(held, provider, settlement.outcome, settlement.facts, settled.became.value, settled.next_due)
        verdict = verdict_of(settlement.outcome)
        key = (held.message.account, held.message.campaign, provider)
        if verdict is None:
            self._breaker.delivered(key, now)
            return Report(held.id, success=True)
        if settled.counted_by_breaker:
            trip = self._breaker.record(key, verdict.category, verdict.fault, now)
            if trip is not None:
                self.on_trip(key, trip)
        return Report(
            held.id,
            success=False,
            category=verdict.category,
            fault=verdict.fault,
            synthetic=verdict.reply.synthetic,
            text=str(verdict.reply),
        )

    def _give_back(self, connection: Connection, deliveries: list[int], now: float) -> None:
        items = [item for delivery in deliveries if (item := connection.handed.pop(delivery, None)) is not None]
        if not items:
            return
        for item in items:
            held = self._held.get(item.id)
            if held is not None:
                held.permit = 0
        self._put_back(self._controller.unused(connection.permit.id, items, now), now)
        self._observer.returned(len(items))

    def _put_back(self, items: list[Item], now: float) -> None:
        """Items whose flow is gone from traffic go to the disk."""
        for item in items:
            held = self._held.get(item.id)
            if held is not None:
                self.windows.put_back(held, now)

    async def settled(self) -> None:
        """Back-pressure of the committer."""
        await self._committer.settled()

    def closed(self, closed: Closed) -> None:
        """A connection ended. What it still had goes back; trouble of a whole route is trouble of the deliveries that waited for it."""
        connection = self._connections.get(closed.permit)
        if connection is None:
            return
        now = self._clock()
        self._give_back(connection, list(connection.handed), now)
        del self._connections[closed.permit]
        verdict = None if closed.trouble is None else verdict_of(closed.trouble)
        self._put_back(self._controller.closed(closed.permit, verdict, closed.host, now), now)
        if closed.trouble is not None:
            lane = connection.permit.opening.lane
            self._observer.connection_trouble(lane.source, lane.provider, closed.host, closed.trouble)
            if not self._others_open(connection.permit):
                self._route_trouble(connection.permit, closed.trouble, closed, now)
        self.turn_soon()

    def _others_open(self, permit: Permit) -> bool:
        """Whether another connection of the same lane and route is open."""
        return any(other.permit.opening == permit.opening for other in self._connections.values())

    def _route_trouble(self, permit: Permit, trouble: Outcome, closed: Closed, now: float) -> None:
        """No connection of this route could be made or used: that is an attempt of every delivery whose window waited for it."""
        verdict = verdict_of(trouble)
        if verdict is None or verdict.fault is Fault.CONFIG:
            return  # our own misconfiguration is not the deliveries' trouble: the lane is suspended and another source may carry them
        opening = permit.opening
        facts = AttemptFacts(started=now, ended=now, lane=opening.lane, route=opening.route, host=closed.host, security=closed.security)
        for flow in self._flows.of_route(opening.route):
            key = self._flows.key(flow)
            if opening.lane.source in key.without or key.only not in ("", opening.lane.source):
                continue
            for item in self._controller.withdraw(flow):
                held = self._held.get(item.id)
                if held is not None:
                    self._settle_one(Settlement(item.id, trouble, facts), now)

    def waiting_domain(self, route: str) -> str | None:
        """The recipient domain of some delivery that waits for this route, or None when none does."""
        flows = set(self._flows.of_route(route))
        return next((held.recipient.domain for held in self._held.all() if held.flow in flows), None)

    def unroute(self, route: str) -> None:
        """These hosts are no longer the route of what waits for them: it is routed anew."""
        now = self._clock()
        for flow in self._flows.of_route(route):
            for item in self._controller.withdraw(flow):
                self._unroute(item.id, now)

    def _provider(self, held: Held) -> str:
        return self._flows.key(held.flow).provider if held.flow else ""

    # The end.

    async def close(self, grace: float) -> None:
        """No new work; messages on the wire may finish within `grace` seconds; then what is left is cancelled and goes back."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for permit in list(self._waiters):
            self._wake(permit)
        tasks = [connection.task for connection in self._connections.values() if connection.task is not None]
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=grace)
            # The first cancellation lets a message on the wire end, the second does not.
            for _ in range(2):
                for task in unfinished:
                    task.cancel()
                if unfinished:
                    _, unfinished = await asyncio.wait(unfinished, timeout=CANCEL_PATIENCE)
        # What is being accepted comes into windows when it is on disk, and must go back with the rest.
        while await self._committer.finish() and self._committer.waiting:
            pass
        now = self._clock()
        for held in self._held.all():
            self.windows.put_back(held, now)
