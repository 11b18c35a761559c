"""Who is next on one route: windows of flows, classes with reserved shares, turns of (account, campaign), earliest deadline.

Order of a pull, for one source:
1. *Class.* high before normal before low, each strictly first until it is `CREDIT` messages ahead of its reserved share (50, 35, 15 %); a
   class that has work all the time then gets that share, and the classes below it get theirs. So a password reset never waits behind a
   newsletter, and a flood of password resets does not stop newsletters. `Classes` keeps this account, one for each lane.
2. *Turns* of (account, campaign): deficit round robin with a quantum of one message, kept as virtual times: the share that was served least
   since it had work comes next. With equal costs the two are the same; times also give one order over several eligibilities.
3. Earliest *deadline*, then earliest *due* time.

Promises: a pull reads only flows that the source may carry. Its cost grows with the logarithm of the number of shares that have work, and
with the number of different eligibilities on the route that include the source, which is small. Not here: tokens, permits, holds, time.
"""

import heapq
from collections.abc import Callable

import msgspec

from gateway.spool.port import FlowKey
from gateway.traffic.eligibility import Eligibility, eligibility_of

RANKS: dict[str, int] = {"high": 0, "normal": 1, "low": 2}
"""Class by name; a smaller rank is served first."""
RESERVED = (0.50, 0.35, 0.15)
"""Reserved share by rank, when all have work; an absent class leaves its share to the others in proportion."""
CREDIT = 50.0
"""Messages by which a class may run ahead of its share, after a time in which it used less."""


class Item(msgspec.Struct, gc=False):
    """One delivery in a window. `payload` is the caller's."""

    id: int
    flow: int
    deadline: float
    due: float
    payload: object = None


Waiting = tuple[float, float, int, Item]
"""An item in its flow's window: deadline, due, arrival (negative for what came back), item."""


class Share(msgspec.Struct, eq=False):
    """(account, campaign) within one class of one route: `time` is its virtual time, one a message."""

    time: float = 0.0
    flows: int = 0


class Lot(msgspec.Struct, eq=False):
    """The `members` flows of one share with the same eligibility. `flows` are those of them that have work and are not held."""

    share: Share
    members: int = 0
    flows: list["Flow"] = []
    queued: bool = False

    def head(self) -> "Flow":
        """The flow whose first item has the earliest deadline."""
        flows = self.flows
        return flows[0] if len(flows) == 1 else min(flows, key=_first)


class Bucket(msgspec.Struct, eq=False):
    """All lots of one class and eligibility on one route. `sources` may carry them."""

    rank: int
    eligibility: Eligibility
    sources: tuple[str, ...]
    lots: dict[tuple[str, str], Lot] = {}
    heap: list[tuple[float, int, Lot]] = []
    waiting: int = 0
    flows: int = 0

    def first(self) -> Lot | None:
        """The lot whose turn it is. Entries that no longer tell the truth are put right on the way."""
        heap = self.heap
        while heap:
            time, turn, lot = heap[0]
            if not lot.flows:
                heapq.heappop(heap)
                lot.queued = False
            elif time < lot.share.time:
                heapq.heapreplace(heap, (lot.share.time, turn, lot))
            else:
                return lot
        return None


class Flow(msgspec.Struct, eq=False):
    """A flow with its window. `holds` counts the holds that match it; `out` its items that are handed out."""

    number: int
    key: FlowKey
    queue: "RouteQueue"
    bucket: Bucket
    lot: Lot
    window: list[Waiting] = []
    holds: int = 0
    out: int = 0


def _first(flow: Flow) -> Waiting:
    return flow.window[0]


class Classes:
    """How far each class is behind its reserved share (positive) or ahead of it (negative), in messages, on one lane."""

    __slots__ = ("behind",)

    def __init__(self) -> None:
        self.behind = [0.0, 0.0, 0.0]

    def choose(self, ranks: list[int]) -> int:
        """The class to serve among those that have work, best first: the first that has credit left, else the one furthest behind."""
        behind = self.behind
        for rank in ranks:
            if behind[rank] > -CREDIT:
                # A better class goes first unless a worse one waits for the share that is reserved for it.
                owed = max(ranks, key=behind.__getitem__)
                return rank if behind[owed] < CREDIT else owed
        return max(ranks, key=behind.__getitem__)

    def served(self, rank: int, ranks: list[int]) -> None:
        """One message of `rank` left while `ranks` had work. Who runs alone takes from nobody; who has no work is owed nothing."""
        behind = self.behind
        if len(ranks) == 1:
            for other in (0, 1, 2):
                behind[other] = min(0.0, behind[other] + RESERVED[other])
            return
        total = 0.0
        for other in ranks:
            total += RESERVED[other]
        for other in (0, 1, 2):
            if other in ranks:
                behind[other] = min(CREDIT, behind[other] + RESERVED[other] / total)
            else:
                behind[other] = min(0.0, behind[other] + RESERVED[other])
        behind[rank] = max(-CREDIT - 1.0, behind[rank] - 1.0)


class RouteQueue:
    """Everything that waits for one route of one provider, and the permits that serve it."""

    __slots__ = (
        "_arrivals",
        "_shares",
        "_turns",
        "_virtual",
        "buckets",
        "busy",
        "by_source",
        "idle",
        "level",
        "open",
        "permits",
        "provider",
        "route",
        "since",
        "waiting",
    )

    def __init__(self, provider: str, route: str) -> None:
        self.provider = provider
        self.route = route
        self.buckets: dict[tuple[int, Eligibility], Bucket] = {}
        self.by_source: tuple[dict[str, list[Bucket]], ...] = ({}, {}, {})
        self.waiting = 0
        self.permits: dict[str, int] = {}
        """Open permits by source; `open` in all, `busy` of them have a delivery in hand."""
        self.open = 0
        self.busy = 0
        self.idle: dict[int, str] = {}
        """Permits parked without work, with their source."""
        self.level = -1
        """Place in the demand; -1 for none."""
        self.since = 0.0
        """Since when it has had that place."""
        self._shares: tuple[dict[tuple[str, str], Share], ...] = ({}, {}, {})
        self._virtual = [0.0, 0.0, 0.0]
        self._turns = 0
        self._arrivals = 0

    def add(self, number: int, key: FlowKey, sources: Callable[[Eligibility], tuple[str, ...]]) -> Flow:
        """A new flow with an empty window."""
        rank = RANKS[key.priority]
        eligibility = eligibility_of(key)
        bucket = self.buckets.get((rank, eligibility))
        if bucket is None:
            bucket = self.buckets[(rank, eligibility)] = Bucket(rank, eligibility, sources(eligibility))
            self._index(bucket)
        name = (key.account, key.campaign)
        share = self._shares[rank].setdefault(name, Share())
        lot = bucket.lots.get(name)
        if lot is None:
            lot = bucket.lots[name] = Lot(share)
        lot.members += 1
        share.flows += 1
        bucket.flows += 1
        return Flow(number, key, self, bucket, lot)

    def remove(self, flow: Flow) -> None:
        """Forget a flow whose window is empty, and what only it needed."""
        bucket, name = flow.bucket, (flow.key.account, flow.key.campaign)
        lot, share = flow.lot, flow.lot.share
        lot.members -= 1
        share.flows -= 1
        bucket.flows -= 1
        if not lot.members:
            del bucket.lots[name]
        if not share.flows:
            del self._shares[bucket.rank][name]
        if not bucket.flows:
            del self.buckets[(bucket.rank, bucket.eligibility)]
            for source in bucket.sources:
                self.by_source[bucket.rank][source].remove(bucket)

    def put(self, flow: Flow, item: Item, returned: bool = False) -> None:
        """Into the flow's window; what came back stands before its equals."""
        self._arrivals += 1
        window = flow.window
        heapq.heappush(window, (item.deadline, item.due, -self._arrivals if returned else self._arrivals, item))
        if flow.holds == 0:
            self.waiting += 1
            flow.bucket.waiting += 1
            if len(window) == 1:
                self._activate(flow)

    def take(self, lot: Lot, bucket: Bucket) -> Item:
        """The next item of `lot`, which `bucket.first()` has named."""
        flow = lot.head()
        item = heapq.heappop(flow.window)[3]
        if not flow.window:
            lot.flows.remove(flow)
        flow.out += 1
        share, rank = lot.share, bucket.rank
        self._virtual[rank] = max(self._virtual[rank], share.time)
        share.time += 1.0
        self._turns += 1
        heapq.heapreplace(bucket.heap, (share.time, self._turns, lot))
        bucket.waiting -= 1
        self.waiting -= 1
        return item

    def close(self, source: str) -> None:
        """A permit of `source` ended."""
        self.open -= 1
        self.permits[source] -= 1
        if not self.permits[source]:
            del self.permits[source]

    def suspend(self, flow: Flow) -> None:
        """The flow is held: what is in its window is not served."""
        if flow.window:
            flow.lot.flows.remove(flow)
            flow.bucket.waiting -= len(flow.window)
            self.waiting -= len(flow.window)

    def restore(self, flow: Flow) -> None:
        """The last hold on the flow is gone."""
        if flow.window:
            flow.bucket.waiting += len(flow.window)
            self.waiting += len(flow.window)
            self._activate(flow)

    def clear(self, flow: Flow) -> list[Item]:
        """Everything in the flow's window, in order; the window is empty after."""
        if flow.holds == 0:
            self.suspend(flow)
        items = [waiting[3] for waiting in sorted(flow.window, key=lambda waiting: waiting[:3])]
        flow.window = []
        return items

    def resolve(self, sources: Callable[[Eligibility], tuple[str, ...]]) -> None:
        """The configuration of sources and pools changed."""
        for index in self.by_source:
            index.clear()
        for bucket in self.buckets.values():
            bucket.sources = sources(bucket.eligibility)
            self._index(bucket)

    def ranks(self, source: str) -> list[int]:
        """Classes in which something waits that `source` may carry, best first."""
        return [rank for rank in (0, 1, 2) if any(bucket.waiting for bucket in self.by_source[rank].get(source, ()))]

    def _index(self, bucket: Bucket) -> None:
        index = self.by_source[bucket.rank]
        for source in bucket.sources:
            index.setdefault(source, []).append(bucket)

    def _activate(self, flow: Flow) -> None:
        """The flow has work from now on: its share starts no earlier than the one being served, so absence earns nothing."""
        lot, bucket = flow.lot, flow.bucket
        if not lot.flows:
            lot.share.time = max(lot.share.time, self._virtual[bucket.rank])
        lot.flows.append(flow)
        if not lot.queued:
            self._turns += 1
            heapq.heappush(bucket.heap, (lot.share.time, self._turns, lot))
            lot.queued = True
