"""Which connections are worth opening now, and which permits must end so that others get a turn.

A queue *starves* when something waits that none of its permits may carry; it *wants more* when its backlog is worth another connection: one
for every `PER_CONNECTION` waiting, and one for a high-class message that finds every connection busy. Starving queues come first, better
classes before worse (a worse one waited `AGING` seconds longer), oldest first; then those that want more take turns. A lane is asked for a
connection only if it is open, has a free place and tokens that nobody waits for; among lanes, the one furthest behind its weight.

Where every lane of a starving queue is full, a permit is recalled: one without work, else one that serves a worse class, else one that has
had its `SLICE`; it ends after the message on the wire. So a password reset gets a place within seconds where two connections are allowed.
Where tokens are what is scarce, a permit makes way after the longer `TOKEN_SLICE`.

Promises: the cost of a call follows the destinations whose state changed, not the flows that exist. Opening is up to the caller: what it
does not open is named again next time.
"""

import math
from collections import deque
from collections.abc import Iterable

from gateway.calls import Opening
from gateway.traffic.fair import Bucket, RouteQueue
from gateway.traffic.lane import LaneState, PermitState
from gateway.traffic.state import DORMANT, Destination, State

PER_CONNECTION = 4
AGING = 15.0
SLICE = 10.0
TOKEN_SLICE = 60.0
"""Seconds after which a connection that stands in line for tokens makes way for a route that gets none."""
PATIENCE = (0.0, 1.0, 2.0)
"""Seconds a starving queue waits for a free place before a permit is recalled for it, by class."""
SCANNED = 64
"""Starving queues of each class and destination that one call looks at."""
IN_VAIN = 16
"""Queues in a row that want more and find no place, after which a call asks no more of them."""
STALLED = 2.0
"""Seconds without a message after which a lane with connections does not count as having room."""
LOOK_AGAIN = 1.0
RECALLS = 8
"""Permits of all destinations that may be on their way out for others when no more connections are allowed in all."""
AT_ONCE = 64
"""Openings that one call names, so that no call is long; `wake` says at once that there are more."""


class Demand:
    """Plans openings over a State."""

    def __init__(self, state: State) -> None:
        self._state = state

    # Levels

    def appraise(self, queue: RouteQueue, now: float) -> None:
        """Put the queue where it belongs after something about it changed."""
        level = self._level(queue)
        destination = self._state.destinations[queue.provider]
        if level == queue.level:
            self._state.touch(destination)
            return
        # Who starved before, dormant or in another class, keeps its place in time.
        since = queue.since if (0 <= queue.level < 3 and 0 <= level < 3) or queue.level == DORMANT else -1.0
        self._leave(destination, queue)
        if level >= 0:
            queue.level = level
            queue.since = now if since < 0 else since
            destination.levels[level][queue] = None
            self._state.touch(destination)

    def forget(self, queue: RouteQueue) -> None:
        """The queue is gone."""
        self._leave(self._state.destinations[queue.provider], queue)

    def rouse(self, destination: Destination, now: float) -> None:
        """Something about lanes changed: every dormant queue is looked at again."""
        for queue in list(destination.dormant):
            self.appraise(queue, now)
        self._state.touch(destination)

    def _leave(self, destination: Destination, queue: RouteQueue) -> None:
        if queue.level == DORMANT:
            destination.dormant.pop(queue, None)
            self._state.timers.cancel(("queue", queue.provider, queue.route))
        elif queue.level >= 0:
            destination.levels[queue.level].pop(queue, None)
        queue.level = -1

    def _level(self, queue: RouteQueue) -> int:
        if not queue.waiting:
            return -1
        buckets, starving = _needs(queue, {})
        return buckets[0].rank + (0 if starving else 3) if buckets else -1

    # Plan

    def plan(self, now: float) -> list[Opening]:
        """Connections worth opening, most urgent destinations first."""
        state = self._state
        openings: list[Opening] = []
        named: list[Destination] = []
        while len(openings) < AT_ONCE and len(openings) < state.room and (destination := state.candidate()) is not None:
            state.untouch(destination)
            before = len(openings)
            self._plan_destination(destination, min(state.room, AT_ONCE), openings, now)
            if len(openings) > before:
                named.append(destination)
        if len(openings) >= AT_ONCE:
            state.timers.put(("plan", named[0].name), now)
        elif len(openings) >= state.room:
            self._squeeze(now)
        for destination in named:
            state.touch(destination)
        return openings

    def _plan_destination(self, destination: Destination, room: int, openings: list[Opening], now: float) -> None:
        """Openings of one destination; each planned one counts for those after it."""
        planned: dict[RouteQueue, dict[str, int]] = {}
        used: dict[str, int] = {}
        for queue in self._in_order(destination):
            self._plan_queue(destination, queue, planned, used, openings, now)
            if len(openings) >= room:
                return
        turns = deque(queue for level in destination.levels[3:] for queue, _ in zip(level, range(room), strict=False))
        turns.extend(planned)
        in_vain = 0
        while turns and len(openings) < room and in_vain < IN_VAIN:
            queue = turns.popleft()
            if self._plan_queue(destination, queue, planned, used, openings, now):
                turns.append(queue)
                in_vain = 0
            else:
                in_vain += 1
                self._rotate(destination, queue)

    def _rotate(self, destination: Destination, queue: RouteQueue) -> None:
        """A queue that wants more and got nothing goes behind the others."""
        if 3 <= queue.level < DORMANT:
            del destination.levels[queue.level][queue]
            destination.levels[queue.level][queue] = None

    def _plan_queue(
        self,
        destination: Destination,
        queue: RouteQueue,
        planned: dict[RouteQueue, dict[str, int]],
        used: dict[str, int],
        openings: list[Opening],
        now: float,
    ) -> bool:
        """At most one opening for a queue; True when there was one."""
        own = planned.get(queue, {})
        buckets, starving = _needs(queue, own)
        if not buckets:
            if not own:
                self._leave(destination, queue)
            return False
        earliest, full = math.inf, False
        for bucket in buckets:
            lane, until, crowded = self._choose(destination, queue, bucket, starving, used, own, now)
            if lane is not None:
                planned.setdefault(queue, own)[lane.source] = own.get(lane.source, 0) + 1
                used[lane.source] = used.get(lane.source, 0) + 1
                openings.append(Opening(lane.lane, queue.route))
                return True
            if starving:
                until = min(until, self._recall(destination, queue, bucket, now))
            earliest, full = min(earliest, until), full or crowded
        if not own:
            self._wait(destination, queue, earliest, full)
        return False

    def _wait(self, destination: Destination, queue: RouteQueue, until: float, full: bool) -> None:
        """Nothing can be opened for the queue now. Full lanes speak up when a place is free; for the rest there is a time, or an event."""
        if full:
            if until < math.inf:
                self._state.timers.put_earlier(("plan", destination.name), until)
            return
        since = queue.since
        self._leave(destination, queue)
        queue.level, queue.since = DORMANT, since
        destination.dormant[queue] = None
        if until < math.inf:
            self._state.timers.put(("queue", queue.provider, queue.route), until)

    def _in_order(self, destination: Destination) -> list[RouteQueue]:
        """Starving queues, most urgent first."""
        found = [queue for level in destination.levels[:3] for queue, _ in zip(level, range(SCANNED), strict=False)]
        found.sort(key=lambda queue: queue.since + AGING * queue.level)
        return found

    # Lanes

    def _choose(
        self,
        destination: Destination,
        queue: RouteQueue,
        bucket: Bucket,
        starving: bool,
        used: dict[str, int],
        own: dict[str, int],
        now: float,
    ) -> tuple[LaneState | None, float, bool]:
        """The lane for one more connection; else when there may be one, and whether places are what is missing."""
        share = self._state.share(destination, bucket.eligibility.pool)
        best: LaneState | None = None
        best_time, earliest, crowded = math.inf, math.inf, False
        for source in bucket.sources:
            lane = self._state.lane(destination, source, now)
            until = closed_until(lane, queue, now)
            if own and queue.route in lane.routes and source in own:
                continue  # one connection is planned already to prove the route
            if until:
                earliest = min(earliest, until)
            elif len(lane.permits) + used.get(source, 0) >= lane.allowed:
                crowded = True
            elif until := _tokens_from(lane, bucket.rank if starving else -1, used.get(source, 0), now):
                earliest = min(earliest, until)
            elif not starving and share.ahead(source) and self.others_have_room(destination, queue, bucket, source, now):
                earliest = min(earliest, now + LOOK_AGAIN)
            else:
                time = share.time(source) + used.get(source, 0) / self._state.sources.weights(bucket.eligibility.pool).get(source, 1)
                if time < best_time:
                    best, best_time = lane, time
        return best, earliest, crowded

    def others_have_room(self, destination: Destination, queue: RouteQueue, bucket: Bucket, source: str, now: float) -> bool:
        """Whether another source of the pool that is not ahead could carry the bucket's work soon."""
        share = self._state.share(destination, bucket.eligibility.pool)
        return any(
            other != source and not share.ahead(other) and self._has_room(self._state.lane(destination, other, now), queue, now)
            for other in bucket.sources
        )

    def _has_room(self, lane: LaneState, queue: RouteQueue, now: float) -> bool:
        if closed_until(lane, queue, now) or lane.tokens(now) <= len(lane.line):
            return False
        if queue.permits.get(lane.source):
            alive = (max(permit.served, permit.opened, permit.called) for permit in lane.permits.values() if permit.queue is queue)
            return now - max(alive, default=0.0) <= STALLED
        return len(lane.permits) < lane.allowed and self._state.room > 0

    # Recall

    def _recall(self, destination: Destination, queue: RouteQueue, bucket: Bucket, now: float) -> float:
        """Make a place for a starving queue, on a full lane or in a line for tokens. When to look again; infinity for no time."""
        impatient = queue.since + PATIENCE[bucket.rank]
        earliest = math.inf
        for source in bucket.sources:
            lane = self._state.lane(destination, source, now)
            full = len(lane.permits) >= lane.allowed
            if not (full or lane.line) or closed_until(lane, queue, now):
                continue
            if now < impatient:
                return impatient
            pending = sum(1 for permit in lane.permits.values() if permit.recalled)
            if pending > lane.allowed // 4:
                return math.inf
            victim, until = _victim(lane.permits.values(), bucket.rank, now) if full else _longest_in_line(lane, bucket.rank, now)
            if victim is not None:
                self._state.recall(victim, "place needed for another route")
                return math.inf
            earliest = min(earliest, until)
        return earliest

    def _squeeze(self, now: float) -> None:
        """All connections that the settings allow are open: the most urgent starving destinations get places from other ones."""
        state = self._state
        starving = sum(len(level) for level in state.candidates[:3])
        for _ in range(min(starving, RECALLS)):
            destination = next((next(iter(level)) for level in state.candidates[:3] if level), None)
            if destination is None or state.recalls >= min(starving, RECALLS):
                return
            # Its turn is over, whatever comes of it: the next one is looked at next.
            state.untouch(destination)
            state.touch(destination)
            queue = next(iter(self._in_order(destination)), None)
            if queue is not None:
                self._squeeze_for(destination, queue, now)

    def _squeeze_for(self, destination: Destination, queue: RouteQueue, now: float) -> None:
        """Recall a permit of anybody for a starving queue, or see to it that it is looked at again in time."""
        state = self._state
        buckets, starving = _needs(queue, {})
        if not starving or all(closed_until(state.lane(destination, source, now), queue, now) for source in buckets[0].sources):
            return
        until = queue.since + PATIENCE[buckets[0].rank]
        if now >= until:
            idle = next(iter(state.idle), None)
            victim, until = (state.permits[idle], 0.0) if idle is not None else _victim(state.permits.values(), buckets[0].rank, now)
            if victim is not None:
                state.recall(victim, "place needed for another provider")
                return
        if until < math.inf:
            state.timers.put_earlier(("plan", destination.name), until)


def _needs(queue: RouteQueue, planned: dict[str, int]) -> tuple[list[Bucket], bool]:
    """Buckets that need a connection, best class first, and whether they starve."""
    active = sorted((bucket for bucket in queue.buckets.values() if bucket.waiting and bucket.sources), key=_rank)
    having = queue.permits.keys() | planned.keys()
    starving = [bucket for bucket in active if having.isdisjoint(bucket.sources)]
    if starving:
        return starving, True
    open_now = queue.open + sum(planned.values())
    wanted = -(-queue.waiting // PER_CONNECTION)
    if active and active[0].rank == 0 and queue.busy == open_now:
        wanted = max(wanted, open_now + 1)
    return (active, False) if open_now < wanted else ([], False)


def _rank(bucket: Bucket) -> int:
    return bucket.rank


def closed_until(lane: LaneState, queue: RouteQueue, now: float) -> float:
    """When the lane will be open for the route; 0 when it is, infinity when only an event can open it."""
    if lane.held:
        return math.inf
    return lane.closed_until(now) or lane.route_closed_until(queue, now)


def _tokens_from(lane: LaneState, starving: int, used: int, now: float) -> float:
    """0 when tokens are there for one more connection, else when to look again. `starving` is the class of a starving bucket, else -1."""
    if not lane.limits:
        return 0.0
    spoken_for = used + sum(1 for permit in lane.permits.values() if not permit.served and not permit.parked)
    if starving < 0:
        spoken_for += len(lane.line)
        return 0.0 if lane.tokens(now) > spoken_for else max(now + LOOK_AGAIN, lane.when(now, spoken_for + 1))
    # Its connection may stand in line, but opening one is early while its turn is far away.
    spoken_for += sum(1 for place in lane.line.values() if place.rank <= starving)
    until = lane.when(now, spoken_for + 1) - max(lane.provider.idle, LOOK_AGAIN)
    return until if until > now else 0.0


def _victim(permits: Iterable[PermitState], rank: int, now: float) -> tuple[PermitState | None, float]:
    """The permit that has to end for work of class `rank`: idle, else of a worse class, else longest beyond its slice. Else when."""
    worse: PermitState | None = None
    oldest: PermitState | None = None
    for permit in permits:
        if permit.recalled:
            continue
        if permit.parked == "idle":
            return permit, 0.0
        if permit.rank > rank and (worse is None or permit.rank > worse.rank):
            worse = permit
        if oldest is None or permit.opened < oldest.opened:
            oldest = permit
    if worse is not None or oldest is None:
        return worse, math.inf
    return (oldest, 0.0) if now >= oldest.opened + SLICE else (None, oldest.opened + SLICE)


def _longest_in_line(lane: LaneState, rank: int, now: float) -> tuple[PermitState | None, float]:
    """The permit that has drawn tokens of work no worse than class `rank` for longest, once beyond its slice. Else when it will be."""
    drawing = [lane.permits[number] for number, place in lane.line.items() if place.rank <= rank and lane.permits[number].served]
    oldest = min((permit for permit in drawing if not permit.recalled), key=_opened, default=None)
    if oldest is None:
        return None, math.inf
    return (oldest, 0.0) if now >= oldest.opened + TOKEN_SLICE else (None, oldest.opened + TOKEN_SLICE)


def _opened(permit: PermitState) -> float:
    return permit.opened
