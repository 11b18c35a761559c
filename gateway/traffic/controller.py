"""The traffic controller: who may send what, when, through which source. One pure, synchronous state machine, the engine's only partner.

The engine offers due deliveries into the windows of flows (`room`, `offer`), opens the connections that `demand` names (`open`), lets each
connection pull (`next`), and tells what became of what it pulled (`report`, `unused`, `closed`). A `next` without work answers with a Wait,
and the permit is *parked*; `ready` names parked permits that should ask again, because work came, a token came, or they are to close. The
engine needs one timer: at `wake` it calls `demand`, opens, and lets `ready` permits ask again.

    after each batch of calls:  for opening in demand(now): open(...)     for permit in ready(): wake its connection
    then:                       sleep until wake(now) or the next call

Promises: never more connections than a lane and the settings allow; no message without a token of its lane; every item offered is handed
out once, and comes back only through `unused`, `closed` or `withdraw`; suspensions, holds with an end and pauses expire by themselves;
memory is bounded by `settings.sending.window` and `windows`, and by the flows the caller keeps. A permit that is not renewed in time is
not dead: the receiver counts its connection until `closed`. On unknown numbers (late calls of a hand) calls do nothing.

Not here: what a refusal means for a delivery, what is on disk, domains on hold, DNS. It does no I/O, reads no clock, logs nothing.
"""

import math
import random

import msgspec

from config.settings import Settings
from gateway.calls import Lane, Opening, Permit, Wait
from gateway.spool.port import FlowKey, Hold
from gateway.traffic import survey
from gateway.traffic.demand import Demand, closed_until
from gateway.traffic.eligibility import eligibility_of
from gateway.traffic.fair import Item, RouteQueue
from gateway.traffic.lane import PermitState
from gateway.traffic.limits import Ledger, decode_ledger, encode_ledger
from gateway.traffic.pull import Answer, Pull
from gateway.traffic.state import State, holds_flow, holds_lane, ledger_name
from gateway.traffic.trouble import Trouble
from gateway.traffic.view import FlowView, Gauges, LaneView, PermitView
from mail.outcome import Category, Fault, Verdict

__all__ = ["Controller", "Item", "Report"]

PERMIT = 10.0
"""Seconds for which a permit is good; each `next` and `report` renews it."""
QUIET = 60.0
"""Seconds between two searches for destinations to forget."""
SPREAD = 8
"""A flow's window is at most one part in SPREAD of the free places, so that many full flows leave room for a new one."""
KEPT = (0, 20, 10)
"""By class, one part in so many of all places is kept free for better classes; 0 keeps none."""


class Report(msgspec.Struct, frozen=True, gc=False):
    """What became of one item handed out: the reply's category and fault when it was refused, `text` for people."""

    id: int
    success: bool
    category: Category | None = None
    fault: Fault | None = None
    synthetic: bool = False
    text: str = ""


class Controller:
    """See the module."""

    def __init__(self, settings: Settings, random: random.Random) -> None:
        self._state = State(settings, random)
        self._demand = Demand(self._state)
        self._pull = Pull(self._state, self._demand)
        self._trouble = Trouble(self._state, self._demand)
        self._random = random
        self._last_permit = 0
        self._tidied = 0.0

    def reconfigure(self, settings: Settings, now: float) -> None:
        """New settings, at once. Tokens taken stay taken; permits of sources that are gone, or over a smaller limit, are recalled."""
        state = self._state
        fresh = State(settings, self._random)
        state.settings, state.sources, state.providers = settings, fresh.sources, fresh.providers
        for destination in state.destinations.values():
            destination.provider = state.providers.get(destination.name, settings.default_provider)
            for share in destination.shares.values():
                for number in share.waiting:
                    state.rouse(state.permits[number])
            destination.shares.clear()
            for lane in destination.lanes.values():
                lane.retune(destination.provider, now)
                surplus = len(lane.permits) - (lane.allowed if lane.source in state.sources else 0)
                for permit in list(lane.permits.values())[: max(0, surplus)]:
                    state.recall(permit, "the configuration changed")
            for queue in destination.queues.values():
                queue.resolve(state.sources.eligible)
                self._demand.appraise(queue, now)
            self._demand.rouse(destination, now)
        for number in state.permits:
            state.rouse(state.permits[number])

    # Flows and their windows

    def add_flow(self, number: int, key: FlowKey) -> None:
        """A flow exists. Adding it again changes nothing."""
        state = self._state
        if number in state.flows:
            return
        destination = state.destination(key.provider)
        queue = destination.queues.get(key.route)
        if queue is None:
            queue = destination.queues[key.route] = RouteQueue(key.provider, key.route)
        flow = state.flows[number] = queue.add(number, key, state.sources.eligible)
        flow.holds = sum(1 for hold in state.holds.values() if holds_flow(hold, flow))

    def drop_flow(self, number: int) -> None:
        """A flow with an empty window is forgotten; ValueError when something waits in it (withdraw first)."""
        state = self._state
        flow = state.flows.get(number)
        if flow is None:
            return
        if flow.window:
            raise ValueError(f"flow {number} still has {len(flow.window)} deliveries in its window")
        del state.flows[number]
        queue = flow.queue
        queue.remove(flow)
        # Permits that still serve the queue keep it; they find no work and end.
        for permit in list(queue.idle) if not queue.buckets else ():
            state.recall(state.permits[permit], "no work left")
        self._drop_if_empty(queue)

    def _drop_if_empty(self, queue: RouteQueue) -> None:
        if not queue.buckets and not queue.open:
            self._demand.forget(queue)
            del self._state.destinations[queue.provider].queues[queue.route]

    def eligible(self, key: FlowKey) -> tuple[str, ...]:
        """Sources that may carry a flow with this key, now or later; empty when every one is excluded."""
        return self._state.sources.eligible(eligibility_of(key))

    def room(self, flow: int) -> int:
        """Free places in the window of a flow; 0 while it is held.

        A flow's share of the places shrinks as they fill, and worse classes leave some to better ones.
        """
        known = self._state.flows.get(flow)
        if known is None or known.holds:
            return 0
        sending = self._state.settings.sending
        free = sending.windows - self._state.waiting
        if KEPT[known.bucket.rank]:
            free -= sending.windows // KEPT[known.bucket.rank]
        return max(0, min(sending.window - len(known.window), max(1, free // SPREAD) - len(known.window), free))

    def offer(self, item: Item, now: float) -> bool:
        """Put a due delivery into its flow's window. False when there is no room, or no such flow: it stays where it was."""
        if self.room(item.flow) <= 0 or item.due > now + 1.0:
            return False
        self._pull.put(self._state.flows[item.flow], item, False, now)
        return True

    def withdraw(self, flow: int) -> list[Item]:
        """Empty a window: its items are the caller's again, in the order in which they would have been served."""
        known = self._state.flows.get(flow)
        if known is None:
            return []
        items = known.queue.clear(known)
        self._state.waiting -= len(items)
        return items

    # Connections

    def demand(self, now: float) -> list[Opening]:
        """Connections worth opening now. What is not opened is named again."""
        self._turn(now)
        return self._demand.plan(now)

    def open(self, opening: Opening, now: float) -> Permit | Wait:
        """A permit for one connection, or why not and until when."""
        state = self._state
        destination = state.destination(opening.lane.provider)
        queue = destination.queues.get(opening.route)
        if queue is None or opening.lane.source not in state.sources:
            return Wait(math.inf, "nothing is sent there")
        lane = state.lane(destination, opening.lane.source, now)
        until = closed_until(lane, queue, now)
        if until:
            return Wait(until, lane.why or "paused")
        if len(lane.permits) >= lane.allowed:
            return Wait(now + PERMIT, "the lane has all its connections")
        if state.room <= 0:
            return Wait(now + PERMIT, "the gateway has all its connections")
        self._last_permit += 1
        permit = Permit(self._last_permit, Opening(lane.lane, opening.route), now + PERMIT, destination.provider.messages_per_connection)
        opened = PermitState(permit, lane, queue, now, permit.until, permit.messages)
        state.permits[permit.id] = lane.permits[permit.id] = opened
        queue.permits[lane.source] = queue.permits.get(lane.source, 0) + 1
        queue.open += 1
        self._demand.appraise(queue, now)
        return permit

    def next(self, permit: int, n: int, now: float) -> Answer:
        """Up to `n` items, each with its token taken; or until when to wait and why; or True: end the connection."""
        state = self._state
        state.now = now
        known = state.permits.get(permit)
        if known is None:
            return [], None, True
        if known.parked:
            state.unpark(known)
        known.until = now + PERMIT
        lane = known.lane
        if known.recalled or known.messages <= 0 or lane.held or lane.suspended_until > now:
            return [], None, True
        return self._pull.answer(known, min(n, known.messages), now)

    def report(self, permit: int, reports: list[Report], now: float) -> None:
        """What became of items handed out to a permit. Renews it."""
        known = self._state.permits.get(permit)
        if known is None:
            return
        known.until = now + PERMIT
        for report in reports:
            self._pull.settle(known, report.id)
            if report.success:
                self._trouble.delivered(known, now)
            else:
                self._trouble.refused(known, report.category, report.fault, report.synthetic, report.text, now)

    def unused(self, permit: int, items: list[Item], now: float) -> list[Item]:
        """Items handed out and not tried go back to the front of their windows, their tokens with them.

        Returned are items whose flow is gone, or which the permit did not have: the former are the caller's again, the latter always were.
        """
        known = self._state.permits.get(permit)
        if known is None:
            return items
        homeless = []
        for item in reversed(items):
            if self._pull.settle(known, item.id) is None:
                homeless.append(item)
                continue
            self._pull.give_back(known, item)
            flow = self._state.flows.get(item.flow)
            if flow is None:
                homeless.append(item)
            else:
                self._pull.put(flow, item, True, now)
        self._pull.call_line(known.lane, now)
        return homeless[::-1]

    def untried(self, permit: int, item: Item, now: float) -> None:
        """An item handed out will not be tried, and is the caller's again; its token returns."""
        known = self._state.permits.get(permit)
        if known is not None:
            self._pull.drop(known, item, now)

    def closed(self, permit: int, trouble: Verdict | None, host: str, now: float) -> list[Item]:
        """A connection ended; `trouble` tells why it could not be made or used at all. Items never reported are returned: the caller's."""
        state = self._state
        known = state.permits.pop(permit, None)
        if known is None:
            return []
        lane, queue = known.lane, known.queue
        state.unpark(known)
        state.recalls -= bool(known.recalled)
        if known.busy:
            queue.busy -= 1
        del lane.permits[permit]
        lane.line.pop(permit, None)
        queue.close(lane.source)
        left = list(known.out.values())
        for item in left:
            self._pull.settle(known, item.id)
        if trouble is not None:
            self._trouble.broken(known, trouble, host, now)
        self._pull.call_line(lane, now)
        self._demand.appraise(queue, now)
        destination = state.destinations[queue.provider]
        if known.recalled:
            # Whom it made way for may be asleep until a token comes.
            self._demand.rouse(destination, now)
        state.touch(destination)
        self._drop_if_empty(queue)
        return left

    # Suspensions and holds

    def suspend(self, lane: Lane, until: float, why: str, now: float) -> None:
        """Nothing leaves by this lane until `until` (finite: every suspension ends); its connections are asked to close."""
        destination = self._state.destination(lane.provider)
        known = self._state.lane(destination, lane.source, now)
        known.suspend(min(until, now + 31_536_000.0), why)
        self._trouble.empty(known)

    def resume(self, lane: Lane) -> None:
        """End a suspension or pause now."""
        destination = self._state.destinations.get(lane.provider)
        if destination is not None and lane.source in destination.lanes:
            destination.lanes[lane.source].resume()
            self._demand.rouse(destination, self._state.now)

    def hold(self, hold: Hold) -> None:
        """Flows, or lanes where only a source (and a provider) is named, are not served until `unhold`, or the hold's end comes."""
        state = self._state
        self.unhold(hold.id)
        state.holds[hold.id] = hold
        for flow in state.flows.values():
            if holds_flow(hold, flow):
                flow.holds += 1
                if flow.holds == 1:
                    flow.queue.suspend(flow)
        for lane in state.lanes():
            if holds_lane(hold, lane.lane):
                lane.held += 1
                self._trouble.empty(lane)
        if hold.until:
            state.timers.put(("hold", hold.id), hold.until)

    def unhold(self, hold: int) -> None:
        """A hold is gone. Unknown ones were gone before."""
        state = self._state
        removed = state.holds.pop(hold, None)
        if removed is None:
            return
        state.timers.cancel(("hold", hold))
        queues: dict[RouteQueue, None] = {}
        for flow in state.flows.values():
            if holds_flow(removed, flow):
                flow.holds -= 1
                if not flow.holds and flow.window:
                    flow.queue.restore(flow)
                    queues[flow.queue] = None
        for queue in queues:
            self._pull.revive(queue, state.now)
        for destination in state.destinations.values():
            for lane in destination.lanes.values():
                if holds_lane(removed, lane.lane):
                    lane.held -= 1
                    self._demand.rouse(destination, state.now)

    # Time

    def _turn(self, now: float) -> None:
        """Everything whose time has come."""
        state = self._state
        state.now = now
        for name in state.timers.due(now):
            match name:
                case ("permit", int(number)):
                    state.rouse(state.permits[number])
                case ("queue", str(provider), str(route)):
                    self._demand.appraise(state.destinations[provider].queues[route], now)
                case ("plan", str(provider)) if provider in state.destinations:
                    state.touch(state.destinations[provider])
                case ("hold", int(number)):
                    self.unhold(number)
        if now > self._tidied + QUIET:
            self._tidied = now
            state.forget_quiet(now)

    def ready(self) -> list[int]:
        """Permits whose `next` should be asked again now; each is named once."""
        if not self._state.ready:
            return []
        ready = list(self._state.ready)
        self._state.ready.clear()
        return ready

    def wake(self, now: float) -> float:
        """When to call `demand` and `ready` again though nothing else happens: after `now` once they name nobody; infinity for never."""
        return max(now, self._state.timers.earliest())

    def export(self, now: float, horizon: float) -> bytes:
        """Limits for a note of the spool. Write it at least every `horizon` seconds; with horizon 0 at an orderly stop."""
        taken = {ledger_name(lane.lane): lane.limits[0].theoretical for lane in self._state.lanes() if lane.limits}
        owed = {name: theoretical for name, theoretical in taken.items() if theoretical > now}
        return encode_ledger(Ledger(now, horizon, {} if horizon else owed))

    def restore(self, value: bytes, now: float) -> None:
        """Limits as `export` gave them before a restart. Call it before anything is opened."""
        self._state.ledger = decode_ledger(value, now)

    # Views

    def lanes(self, now: float) -> list[LaneView]:
        """Every known lane."""
        return [survey.lane_view(lane, now) for lane in self._state.lanes()]

    def flows(self, now: float) -> list[FlowView]:
        """Every flow."""
        return [survey.flow_view(self._state, flow, now) for flow in self._state.flows.values()]

    def permits(self, now: float) -> list[PermitView]:
        """Every open permit."""
        return [survey.permit_view(permit) for permit in self._state.permits.values()]

    def blocked(self, flow: int, now: float) -> Wait | None:
        """Until when, and why, no lane may carry a flow; None when one may, or nothing is known of the flow."""
        known = self._state.flows.get(flow)
        return None if known is None else survey.obstacle(self._state, known, now)

    def gauges(self) -> Gauges:
        """How full the bounds are; cheap enough for every scrape."""
        return survey.gauges(self._state)
