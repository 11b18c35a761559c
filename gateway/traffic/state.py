"""What the controller and demand share: destinations with their lanes and route queues, permits, flows, timers. Data and its upkeep only.

A *destination* is one provider as traffic sees it: the settings that hold for it, its lanes, the queues of its routes and the pool shares.
A provider without an entry in the settings has the default limits, and its own lanes. Destinations that have nothing left to remember are
forgotten, so memory follows the flows, not the history. Nothing here decides.
"""

import random
from collections.abc import Iterator

import msgspec

from config.sending import Provider
from config.settings import Settings
from gateway.calls import Lane
from gateway.spool.port import Hold
from gateway.traffic.eligibility import PoolShare, Sources
from gateway.traffic.fair import Flow, RouteQueue
from gateway.traffic.lane import LaneState, PermitState
from gateway.traffic.limits import Ledger
from gateway.traffic.timers import Timers

DORMANT = 6
"""`RouteQueue.level` of a queue that only time or an event can help."""


class Destination(msgspec.Struct, eq=False):
    """One provider."""

    name: str
    provider: Provider
    lanes: dict[str, LaneState] = {}
    queues: dict[str, RouteQueue] = {}
    shares: dict[str, PoolShare] = {}
    levels: tuple[dict[RouteQueue, None], ...] = ()
    """Queues that want connections: without any (high, normal, low), then such as want more (high, normal, low); oldest first."""
    dormant: dict[RouteQueue, None] = {}
    place: int = -1
    """The level under which it is a candidate; -1 for none."""


class State:
    """Everything that changes."""

    def __init__(self, settings: Settings, random: random.Random) -> None:
        self.settings = settings
        self.random = random
        self.sources = Sources(settings)
        self.providers = {provider.name: provider for provider in reversed(settings.provider)}
        self.destinations: dict[str, Destination] = {}
        self.permits: dict[int, PermitState] = {}
        self.flows: dict[int, Flow] = {}
        self.holds: dict[int, Hold] = {}
        self.timers = Timers()
        self.candidates: tuple[dict[Destination, None], ...] = tuple({} for _ in range(DORMANT))
        """Destinations whose demand may have changed since it was planned last, by their most urgent level."""
        self.recalls = 0
        """Permits recalled and not yet closed."""
        self.ready: dict[int, None] = {}
        """Parked permits that are to ask again."""
        self.idle: dict[int, None] = {}
        """All permits parked without work, longest first."""
        self.now = 0.0
        """The time of the last call that had one; for calls that have none."""
        self.waiting = 0
        """Items in all windows, held ones too."""
        self.out = 0
        self.ledger = Ledger(0.0, 0.0)

    @property
    def room(self) -> int:
        """Connections that may be opened, in all."""
        return self.settings.sending.connections - len(self.permits)

    def destination(self, name: str) -> Destination:
        """The destination of a provider; known from now on."""
        known = self.destinations.get(name)
        if known is None:
            provider = self.providers.get(name, self.settings.default_provider)
            known = self.destinations[name] = Destination(name, provider, levels=tuple({} for _ in range(DORMANT)))
        return known

    def lane(self, destination: Destination, source: str, now: float) -> LaneState:
        """The lane of a source at a destination; known from now on, with what its limit still owed before a restart."""
        known = destination.lanes.get(source)
        if known is None:
            known = destination.lanes[source] = LaneState(Lane(source, destination.name), destination.provider)
            for limit in known.limits:
                limit.theoretical = self.ledger.restored(ledger_name(known.lane), limit, now)
            known.held = sum(1 for hold in self.holds.values() if holds_lane(hold, known.lane))
        return known

    def share(self, destination: Destination, pool: str) -> PoolShare:
        """The weights of a pool at a destination."""
        known = destination.shares.get(pool)
        if known is None:
            known = destination.shares[pool] = PoolShare(self.sources.weights(pool), destination.provider.burst)
        return known

    def lanes(self) -> Iterator[LaneState]:
        """Every lane."""
        for destination in self.destinations.values():
            yield from destination.lanes.values()

    def touch(self, destination: Destination) -> None:
        """The demand of a destination may have changed: it is a candidate if any of its queues wants a connection."""
        level = next((level for level, queues in enumerate(destination.levels) if queues), -1)
        if level != destination.place:
            self.untouch(destination)
            destination.place = level
            if level >= 0:
                self.candidates[level][destination] = None

    def untouch(self, destination: Destination) -> None:
        """The destination is no candidate."""
        if destination.place >= 0:
            del self.candidates[destination.place][destination]
            destination.place = -1

    def candidate(self) -> Destination | None:
        """The most urgent candidate, longest first."""
        return next((next(iter(level)) for level in self.candidates if level), None)

    def park(self, permit: PermitState, what: str, until: float) -> None:
        """The permit's `next` waits until `until` for work (idle), a token (rate) or its weight (weight)."""
        if permit.busy:
            permit.busy = False
            permit.queue.busy -= 1
        permit.parked, permit.parked_until = what, until
        if what == "idle":
            permit.queue.idle[permit.permit.id] = permit.lane.source
            self.idle[permit.permit.id] = None
        self.timers.put(("permit", permit.permit.id), until)

    def unpark(self, permit: PermitState) -> None:
        """The permit asks again, or ends. Its place in the line for tokens stays until it is served."""
        if not permit.parked:
            return
        number = permit.permit.id
        if permit.parked == "idle":
            permit.queue.idle.pop(number, None)
            self.idle.pop(number, None)
        elif permit.parked == "weight":
            for share in self.destinations[permit.queue.provider].shares.values():
                share.waiting.pop(number, None)
        permit.parked = ""
        self.timers.cancel(("permit", number))
        self.ready.pop(number, None)

    def rouse(self, permit: PermitState) -> None:
        """A parked permit is to ask again now; until it does, nobody counts on it for other work."""
        if permit.parked:
            number = permit.permit.id
            self.ready[number] = None
            permit.called = self.now
            permit.queue.idle.pop(number, None)
            self.idle.pop(number, None)

    def recall(self, permit: PermitState, why: str) -> None:
        """The permit is to end at its next `next`."""
        if not permit.recalled:
            permit.recalled = why
            self.recalls += 1
        self.rouse(permit)

    def forget_quiet(self, now: float) -> None:
        """Drop destinations that have no queue and lanes that remember nothing."""
        for name, destination in list(self.destinations.items()):
            for source, lane in list(destination.lanes.items()):
                if not destination.queues and lane.quiet(now):
                    del destination.lanes[source]
            if not destination.queues and not destination.lanes:
                del self.destinations[name]
                self.untouch(destination)


def ledger_name(lane: Lane) -> str:
    """The name of a lane in the ledger of limits."""
    return f"{lane.source}/{lane.provider}"


def holds_lane(hold: Hold, lane: Lane) -> bool:
    """Whether a hold is about sources alone and stops this lane. One that names account, stream or campaign too holds flows instead."""
    if not hold.source or hold.account or hold.stream or hold.campaign or hold.domain:
        return False
    return hold.source == lane.source and hold.provider in ("", lane.provider)


def holds_flow(hold: Hold, flow: Flow) -> bool:
    """Whether a hold stops this flow: every field it names matches. `domain` is not in a flow's key: such holds are the caller's."""
    key = flow.key
    if hold.domain or not (hold.provider or hold.account or hold.stream or hold.campaign):
        return False
    if hold.source and not (hold.account or hold.stream or hold.campaign):
        return False
    return (
        hold.provider in ("", key.provider)
        and hold.account in ("", key.account)
        and hold.stream in ("", key.stream)
        and hold.campaign in ("", key.campaign)
    )
