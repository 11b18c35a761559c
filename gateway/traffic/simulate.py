"""A day of traffic in seconds: drives a Controller with a clock of its own against a simple model of the receivers.

The loop is the engine's, in small: after each event it opens what `demand` names and lets `ready` permits ask again; it sleeps until
`wake`. Each connection takes one message after the other. Backlogs stand for what is on disk, and refill the windows as the feeder does.
Used by the tests to show that limits, weights, shares and latencies hold; and, later, to answer "when will this campaign be finished?".

Promises: deterministic for a seed. It raises StuckClock when the controller asks to be woken at a time that has passed (a busy loop).
Not here: DNS, retries, deliveries; a refused message is gone unless the caller puts it back.
"""

import heapq
import math
from collections.abc import Callable

import msgspec

from gateway.calls import Lane, Permit
from gateway.traffic.controller import Controller, Item, Report
from mail.outcome import Verdict

ROUNDS = 10_000
"""Turns of the loop at one instant after which it counts as stuck."""


class StuckClock(Exception):
    """The controller wants to go on without time going on."""


class Handed(msgspec.Struct, frozen=True, gc=False):
    """One message handed to a connection."""

    at: float
    lane: Lane
    route: str
    flow: int
    item: int
    waited: float


class Receivers(msgspec.Struct):
    """How the other side behaves; replace a function to give it a temper."""

    connect_seconds: Callable[[Lane, str, float], float] = lambda lane, route, now: 0.1
    refuses_connection: Callable[[Lane, str, float], Verdict | None] = lambda lane, route, now: None
    message_seconds: Callable[[Lane, str, float], float] = lambda lane, route, now: 0.2
    reply: Callable[[Handed], Report] = lambda handed: Report(handed.item, True)


class Simulation:
    """Events in time order; `handed` is the record of everything that left."""

    def __init__(self, controller: Controller, receivers: Receivers, start: float) -> None:
        self.controller = controller
        self.now = start
        self.handed: list[Handed] = []
        self.backlog: dict[int, int] = {}
        self.wakes = 0
        self.most_connections: dict[Lane, int] = {}
        self._receivers = receivers
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._items = 0
        self._open: dict[int, Permit] = {}
        self._connections: dict[Lane, int] = {}
        self._wake = math.inf

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._sequence += 1
        heapq.heappush(self._events, (when, self._sequence, action))

    def add_backlog(self, flow: int, count: int) -> None:
        """`count` due deliveries of a flow on disk, from now on."""
        self.backlog[flow] = self.backlog.get(flow, 0) + count
        self._refill(flow)

    def run(self, until: float) -> None:
        """Let time pass until `until`."""
        self._turn()
        while True:
            following = min(self._events[0][0] if self._events else math.inf, self._wake)
            if following > until:
                break
            self.now = max(self.now, following)
            if self._wake <= self.now:
                self.wakes += 1
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self._turn()
        self.now = until

    def _turn(self) -> None:
        """What the engine does after each batch of calls."""
        controller = self.controller
        for _ in range(ROUNDS):
            opened = False
            for opening in controller.demand(self.now):
                permit = controller.open(opening, self.now)
                if isinstance(permit, Permit):
                    opened = True
                    self._connect(permit)
            ready = controller.ready()
            for number in ready:
                self._ask(number)
            if not ready and not opened:
                self._wake = controller.wake(self.now)
                if self._wake <= self.now:
                    raise StuckClock(f"wake({self.now}) is {self._wake}")
                return
        raise StuckClock(f"no end at {self.now}")

    def _connect(self, permit: Permit) -> None:
        lane, route = permit.opening.lane, permit.opening.route
        self._open[permit.id] = permit
        self._connections[lane] = self._connections.get(lane, 0) + 1
        self.most_connections[lane] = max(self.most_connections.get(lane, 0), self._connections[lane])
        self.at(self.now + self._receivers.connect_seconds(lane, route, self.now), lambda: self._connected(permit))

    def _connected(self, permit: Permit) -> None:
        trouble = self._receivers.refuses_connection(permit.opening.lane, permit.opening.route, self.now)
        if trouble is not None:
            self._close(permit, trouble)
        else:
            self._ask(permit.id)

    def _ask(self, number: int) -> None:
        permit = self._open.get(number)
        if permit is None:
            return
        items, _, close = self.controller.next(number, 1, self.now)
        if close:
            self._close(permit, None)
        for item in items:
            self._send(permit, item)

    def _send(self, permit: Permit, item: Item) -> None:
        lane, route = permit.opening.lane, permit.opening.route
        handed = Handed(self.now, lane, route, item.flow, item.id, self.now - item.due)
        self.handed.append(handed)
        if self.backlog.get(item.flow):
            self._refill(item.flow)
        self.at(self.now + self._receivers.message_seconds(lane, route, self.now), lambda: self._finish(permit, handed))

    def _finish(self, permit: Permit, handed: Handed) -> None:
        self.controller.report(permit.id, [self._receivers.reply(handed)], self.now)
        self._ask(permit.id)

    def _close(self, permit: Permit, trouble: Verdict | None) -> None:
        del self._open[permit.id]
        self._connections[permit.opening.lane] -= 1
        self.controller.closed(permit.id, trouble, "mx.example", self.now)

    def _refill(self, flow: int) -> None:
        """Move backlog into the window as far as there is room."""
        left = self.backlog.get(flow, 0)
        if not left:
            return
        for _ in range(min(self.controller.room(flow), left)):
            self._items += 1
            if self.controller.offer(Item(self._items, flow, self.now + 259_200.0, self.now), self.now):
                self.backlog[flow] -= 1
