"""Handing out: what one permit gets at its `next`, what parks it, and who is told when something changes for parked permits.

A pull takes, in this order: the class by its reserved share, the turn within it, a token for which nobody better stands in line. What is
in the way has a name: *idle* (no work it may carry), *rate* (no token), *weight* (its source is ahead of its weight and another has room).

Promises: each item handed out has its token, and is in the permit's `out` until it is settled or given back; a parked permit has a time at
which it asks again, later than now. Not here: opening and recalling (`demand`), pauses (`trouble`).
"""

from gateway.calls import Wait
from gateway.traffic.demand import PER_CONNECTION, Demand
from gateway.traffic.fair import Bucket, Flow, Item, Lot, RouteQueue
from gateway.traffic.lane import LaneState, PermitState
from gateway.traffic.state import State

HELD_FOR_TOKEN = 30.0
"""Longest wait for a token with an open connection, for the first in line and for a new one; others go after the provider's idle time."""
WEIGHT_LOOK = 1.0
"""Seconds after which a permit passed over for its weight looks again whether the others still have room."""
LEAST_WAIT = 0.001
"""No wait is shorter, so that rounding never makes a busy loop."""

Answer = tuple[list[Item], Wait | None, bool]


class Pull:
    """Hands out over a State."""

    def __init__(self, state: State, demand: Demand) -> None:
        self._state = state
        self._demand = demand

    def answer(self, permit: PermitState, n: int, now: float) -> Answer:
        """The answer to `next` of a permit that need not end for another reason."""
        ranks = permit.queue.ranks(permit.lane.source)
        if not ranks:
            return self._without_work(permit, "idle", now)
        items, obstacle, rank = self._take(permit, ranks, n, now)
        if not items:
            return self._in_line(permit, rank, now) if obstacle == "rate" else self._without_work(permit, obstacle, now)
        permit.served, permit.idle_since = now, 0.0
        if not permit.busy:
            permit.busy = True
            permit.queue.busy += 1
        if permit.lane.line:
            permit.lane.line.pop(permit.permit.id, None)
        return items, None, False

    def put(self, flow: Flow, item: Item, returned: bool, now: float) -> None:
        """Into the window; a parked permit that may carry it is told, and the demand looked at where it may have changed."""
        queue, bucket = flow.queue, flow.bucket
        queue.put(flow, item, returned)
        self._state.waiting += 1
        if flow.holds:
            return
        if queue.idle:
            self._call_idle(queue, bucket)
        if bucket.rank == 0 and queue.busy < queue.open:
            self._call_waiting(queue, bucket)
        if bucket.waiting == 1 or (queue.level < 0 and _worth_a_connection(queue, bucket)):
            self._demand.appraise(queue, now)

    def settle(self, permit: PermitState, item: int) -> Item | None:
        """The item is in the permit's hands no longer; None when it was not."""
        settled = permit.out.pop(item, None)
        if settled is not None:
            self._state.out -= 1
            flow = self._state.flows.get(settled.flow)
            if flow is not None:
                flow.out -= 1
        return settled

    def give_back(self, permit: PermitState, item: Item) -> None:
        """The token of an item that was not tried returns, to the lane and to the weights of its pool."""
        permit.lane.give_back(1)
        permit.messages += 1
        flow = self._state.flows.get(item.flow)
        if flow is not None:
            destination = self._state.destinations[flow.key.provider]
            self._state.share(destination, flow.key.pool).give_back(permit.lane.source)

    def drop(self, permit: PermitState, item: Item, now: float) -> None:
        """The item will not be tried by anybody: it is the caller's again, and its token returns."""
        if self.settle(permit, item.id) is not None:
            self.give_back(permit, item)
            self.call_line(permit.lane, now)

    def call_line(self, lane: LaneState, now: float) -> None:
        """A token may have come back, or a place in the line: who is first asks again."""
        if lane.line and lane.tokens(now) > 0:
            first = min(lane.line, key=lambda number: (lane.line[number].rank, lane.line[number].turn))
            self._state.rouse(self._state.permits[first])

    def revive(self, queue: RouteQueue, now: float) -> None:
        """Work appeared in a queue by other means than `put`: its idle permits ask again, and its demand is looked at."""
        for number in list(queue.idle):
            self._state.rouse(self._state.permits[number])
        self._demand.appraise(queue, now)

    # Taking

    def _take(self, permit: PermitState, ranks: list[int], n: int, now: float) -> tuple[list[Item], str, int]:
        """Items, or what is in the way and the class that met it."""
        lane, queue = permit.lane, permit.queue
        tokens = lane.tokens(now) if lane.limits else n
        items: list[Item] = []
        rank = ranks[0]
        while len(items) < n and ranks:
            rank = ranks[0] if len(ranks) == 1 else lane.classes.choose(ranks)
            found = self._first(permit, rank, now)
            if found is None:
                ranks = [other for other in ranks if other != rank]
                continue
            if tokens <= (lane.ahead(permit.permit.id, rank, now) if lane.line else 0):
                return items, "rate", rank
            bucket, lot = found
            items.append(self._hand_out(permit, bucket, lot, now))
            tokens -= 1
            lane.classes.served(rank, ranks)
            if not bucket.waiting:
                ranks = queue.ranks(lane.source)
        return items, "weight", rank

    def _first(self, permit: PermitState, rank: int, now: float) -> tuple[Bucket, Lot] | None:
        """The lot whose turn it is in a class, among those the source may carry and is not to leave to others."""
        source, queue = permit.lane.source, permit.queue
        best: tuple[Bucket, Lot] | None = None
        for bucket in queue.by_source[rank].get(source, ()):
            if not bucket.waiting or (len(bucket.sources) > 1 and self._passed_over(permit, bucket, now)):
                continue
            lot = bucket.first()
            if lot is not None and (best is None or _earlier(lot, best[1])):
                best = (bucket, lot)
        return best

    def _passed_over(self, permit: PermitState, bucket: Bucket, now: float) -> bool:
        destination = self._state.destinations[permit.queue.provider]
        source = permit.lane.source
        if not self._state.share(destination, bucket.eligibility.pool).ahead(source):
            return False
        return self._demand.others_have_room(destination, permit.queue, bucket, source, now)

    def _hand_out(self, permit: PermitState, bucket: Bucket, lot: Lot, now: float) -> Item:
        state = self._state
        item = permit.queue.take(lot, bucket)
        permit.lane.take(now)
        permit.rank = bucket.rank
        permit.messages -= 1
        permit.out[item.id] = item
        state.waiting -= 1
        state.out += 1
        if len(bucket.sources) > 1:
            share = state.share(state.destinations[permit.queue.provider], bucket.eligibility.pool)
            share.serve(permit.lane.source)
            for number in share.released():
                state.rouse(state.permits[number])
        return item

    # Parking

    def _without_work(self, permit: PermitState, what: str, now: float) -> Answer:
        """Idle, or passed over: wait for work until the provider's idle time is over, then close."""
        permit.lane.line.pop(permit.permit.id, None)
        if not permit.idle_since:
            permit.idle_since = now
        until = permit.idle_since + permit.lane.provider.idle
        if until <= now:
            return [], None, True
        if what == "weight":
            until = min(until, now + WEIGHT_LOOK)
            for share in self._state.destinations[permit.queue.provider].shares.values():
                if share.several and share.ahead(permit.lane.source):
                    share.waiting[permit.permit.id] = permit.lane.source
        return self._park(permit, what, until, now)

    def _in_line(self, permit: PermitState, rank: int, now: float) -> Answer:
        """No token for this class: a place in the line, or the end of the connection when the wait is long."""
        lane = permit.lane
        ahead = lane.ahead(permit.permit.id, rank, now)
        until = lane.when(now, ahead + 1)
        if until > now + (max(lane.provider.idle, 1.0) if ahead and permit.served else HELD_FOR_TOKEN):
            return [], None, True
        lane.stand_in_line(permit.permit.id, rank, until)
        return self._park(permit, "rate", until, now)

    def _park(self, permit: PermitState, what: str, until: float, now: float) -> Answer:
        until = max(until, now + LEAST_WAIT)
        self._state.park(permit, what, until)
        return [], Wait(until, what), False

    # Telling

    def _call_idle(self, queue: RouteQueue, bucket: Bucket) -> None:
        """One idle permit of the queue that may carry the bucket's work is to ask again."""
        for number, source in queue.idle.items():
            if source in bucket.sources:
                self._state.rouse(self._state.permits[number])
                return

    def _call_waiting(self, queue: RouteQueue, bucket: Bucket) -> None:
        """Better work came: a permit that waits for a token with worse work is to ask again, for a better place in the line."""
        state = self._state
        lanes = state.destinations[queue.provider].lanes
        for source in queue.permits:
            if source not in bucket.sources:
                continue
            for number, place in lanes[source].line.items():
                permit = state.permits[number]
                if permit.queue is queue and place.rank > bucket.rank and permit.parked and number not in state.ready:
                    state.rouse(permit)
                    return


def _worth_a_connection(queue: RouteQueue, bucket: Bucket) -> bool:
    """Whether one more item may make the queue want one more connection; `demand` decides."""
    return queue.waiting > queue.open * PER_CONNECTION or (bucket.rank == 0 and queue.busy == queue.open)


def _earlier(lot: Lot, other: Lot) -> bool:
    """Whether a lot of another eligibility comes first: by its share's turn, then by deadline and due time."""
    if lot.share.time != other.share.time:
        return lot.share.time < other.share.time
    return lot.head().window[0][:3] < other.head().window[0][:3]
