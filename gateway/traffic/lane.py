"""One lane, (source, provider): its connections, its tokens and the line for them, what suspends it, and what we learned last.

Three kinds of bad day, kept apart:
- *The provider dislikes us* (a real reply of category rate-limited or ip-reputation whose fault is not the recipient's or the content's):
  the whole lane pauses, `pause` (30 s) growing to 15 minutes. Synthetic replies never do this.
- *A route cannot be reached* (no connection, broken greeting, TLS): after `FAILURES` in a row that route pauses on this lane, 30 s growing
  to 30 minutes; other routes go on.
- *This machine does not have the source's address* (our own doing: category network, fault config): the whole lane pauses at once, for a
  minute or two, and is tried again by one connection; other sources go on.
Every pause has an end and jitter; after one, a single connection proves the lane (or route) before the others return. Failures that arrive
during a pause, from attempts that were already under way, do not lengthen the next one.

The line for tokens: a permit that finds none stands in line, better classes before worse, then first come first served; a newcomer leaves a
token for everybody ahead. So a high class gets the next token whoever holds the connections. Adaptation will move `allowed` and `limits`.
"""

import random

import msgspec

from config.sending import Provider
from gateway.calls import Lane, Permit
from gateway.traffic.fair import Classes, Item, RouteQueue
from gateway.traffic.limits import Limit
from gateway.traffic.view import Cause
from mail.outcome import Category, Fault, Verdict

FAILURES = 3
"""Failed connections in a row that suspend a route."""
ROUTE_PAUSE = (30.0, 1800.0)
LONGEST_LANE_PAUSE = 900.0
"""First and longest pause; each doubles the one before. The first of a lane is the provider's setting `pause`."""
SOURCE_PAUSE = 60.0
"""Seconds, at least, of a lane whose source address is missing; at most twice as long."""
FORGIVEN = 3600.0
"""Seconds after a pause, without trouble, in which its growth is forgotten."""
PROVEN = 20
"""Deliveries in a row that forget the growth of a lane's pauses."""
ROUTES = 1000
"""Routes in trouble that one lane remembers; the oldest go first."""
LATE = 2.0
"""Seconds after its turn at which a permit that did not come loses its place in the line."""

PAUSING = frozenset({Category.RATE_LIMITED, Category.IP_REPUTATION})
NOT_OURS = frozenset({Fault.RECIPIENT, Fault.CONTENT, Fault.SENDER_DOMAIN, Fault.NETWORK, Fault.CONFIG})


def is_about_the_lane(category: Category | None, fault: Fault | None, synthetic: bool) -> bool:
    """Whether a refusal speaks of this source at this provider, in the provider's own words."""
    return not synthetic and category in PAUSING and fault not in NOT_OURS


def is_about_the_source(trouble: Verdict) -> bool:
    """Whether a connection could not be made because this machine cannot send from the source's address."""
    return trouble.category is Category.NETWORK and trouble.fault is Fault.CONFIG


class Place(msgspec.Struct, gc=False):
    """A permit's place in the line for tokens."""

    rank: int
    turn: int
    until: float


class PermitState(msgspec.Struct, eq=False):
    """One open connection."""

    permit: Permit
    lane: "LaneState"
    queue: RouteQueue
    opened: float
    until: float
    messages: int
    """Messages it may still be handed."""
    rank: int = 1
    """Class of what it was handed last."""
    served: float = 0.0
    """When it was handed something last; 0 for never."""
    called: float = 0.0
    """When it was asked to come again last."""
    parked: str = ""
    """idle, rate or weight while its `next` waits, else ""."""
    parked_until: float = 0.0
    idle_since: float = 0.0
    recalled: str = ""
    busy: bool = False
    """Its last `next` gave it a delivery."""
    out: dict[int, Item] = {}


class Pause(msgspec.Struct, gc=False):
    """Trouble in a row, how many pauses it led to, and when the last one ends or ended."""

    failures: int = 0
    rounds: int = 0
    until: float = 0.0

    def begin(self, bounds: tuple[float, float], now: float, random: random.Random) -> float:
        """Begin the next pause; its end."""
        if now > self.until + FORGIVEN:
            self.rounds = 0
        length = min(bounds[0] * 2.0 ** min(self.rounds, 16), bounds[1])
        self.rounds += 1
        # Jitter only lengthens: lanes that were stopped together do not return together, and none returns early.
        self.until = now + length * (1.0 + random.random())
        return self.until


class LaneState:
    """Everything about one lane that changes."""

    __slots__ = (
        "_turns",
        "cause",
        "classes",
        "delivered",
        "handed",
        "held",
        "lane",
        "limits",
        "line",
        "pause",
        "permits",
        "provider",
        "proving",
        "refused",
        "routes",
        "source",
        "streak",
        "suspended_until",
        "why",
    )

    def __init__(self, lane: Lane, provider: Provider) -> None:
        self.lane = lane
        self.source = lane.source
        self.provider = provider
        self.limits: tuple[Limit, ...] = (Limit(provider.rate, provider.burst),) if provider.rate is not None else ()
        self.permits: dict[int, PermitState] = {}
        self.line: dict[int, Place] = {}
        self.classes = Classes()
        self.suspended_until = 0.0
        self.why = ""
        self.held = 0
        self.pause = Pause()
        self.proving = False
        self.streak = 0
        self.routes: dict[str, Pause] = {}
        self.cause: Cause | None = None
        self.handed = self.delivered = self.refused = 0
        self._turns = 0

    @property
    def allowed(self) -> int:
        """Connections allowed now."""
        return 1 if self.proving else self.provider.connections

    def retune(self, provider: Provider, now: float) -> None:
        """New settings. Tokens already taken stay taken."""
        self.provider = provider
        if provider.rate is None:
            self.limits = ()
        elif self.limits:
            self.limits[0].retune(provider.rate, provider.burst, now)
        else:
            self.limits = (Limit(provider.rate, provider.burst),)

    # Tokens

    def tokens(self, now: float) -> int:
        """Tokens that exist now, under every limit."""
        if len(self.limits) == 1:
            return self.limits[0].available(now)
        return min((limit.available(now) for limit in self.limits), default=1_000_000)

    def take(self, now: float) -> None:
        """One token of every limit."""
        self.handed += 1
        for limit in self.limits:
            limit.take(now)

    def give_back(self, tokens: int) -> None:
        """Tokens whose messages were not tried."""
        self.handed -= tokens
        for limit in self.limits:
            limit.give_back(tokens)

    def when(self, now: float, tokens: int) -> float:
        """When the `tokens`-th token from now on exists."""
        return max((limit.when(now, tokens) for limit in self.limits), default=now)

    def ahead(self, permit: int, rank: int, now: float) -> int:
        """How many permits of the line come before `permit` with work of class `rank`."""
        own = self.line.get(permit)
        mine = (rank, own.turn if own is not None and own.rank <= rank else self._turns + 1)
        places = (place for number, place in self.line.items() if number != permit and place.until + LATE >= now)
        return sum(1 for place in places if (place.rank, place.turn) < mine)

    def stand_in_line(self, permit: int, rank: int, until: float) -> None:
        """Take, keep or improve a place; it is kept while the work of the permit is no worse than it was."""
        own = self.line.get(permit)
        if own is None or own.rank < rank:
            self._turns += 1
            self.line[permit] = Place(rank, self._turns, until)
        else:
            own.rank, own.until = rank, until

    # Suspension

    def closed_until(self, now: float) -> float:
        """When a suspension ends; 0 when the lane is open."""
        return self.suspended_until if self.suspended_until > now else 0.0

    def suspend(self, until: float, why: str) -> None:
        """Suspend until a time; a longer suspension stays."""
        if until > self.suspended_until:
            self.suspended_until, self.why = until, why

    def resume(self) -> None:
        """End a suspension, whatever its reason."""
        self.suspended_until, self.why = 0.0, ""
        self.proving = False
        self.pause = Pause()
        self.routes.clear()

    def refuse(self, category: Category | None, fault: Fault | None, text: str, now: float, random: random.Random) -> bool:
        """The provider dislikes us: pause. False when a pause is under way already."""
        self.streak = 0
        if now < self.pause.until or self.suspended_until > now:
            return False
        until = self.pause.begin((self.provider.pause, LONGEST_LANE_PAUSE), now, random)
        self.suspend(until, f"{category}: {text[:200]}")
        self.proving = True
        self.cause = Cause(now, str(category or ""), str(fault or ""), text[:500], f"suspended for {until - now:.0f} s")
        return True

    def lack(self, trouble: Verdict, text: str, now: float, random: random.Random) -> bool:
        """The source's address is missing: pause. False when the lane is suspended already."""
        if self.suspended_until > now:
            return False
        until = now + SOURCE_PAUSE * (1.0 + random.random())
        self.suspend(until, text[:200])
        self.proving = True
        self.cause = Cause(now, trouble.category.value, trouble.fault.value, text[:500], f"suspended for {until - now:.0f} s")
        return True

    def prove(self, route: str, delivered: bool) -> bool:
        """A real reply that is not about the lane: the route works, and the lane is open again. True when room appeared."""
        changed = self.routes.pop(route, None) is not None if self.routes else False
        self.streak += delivered
        if self.streak == PROVEN:
            self.pause.rounds = 0
        if self.proving:
            self.proving = False
            return True
        return changed

    # Routes

    def fail(self, route: str, category: Category, fault: Fault, text: str, now: float, random: random.Random) -> float:
        """A connection could not be made or used. The end of the route's pause; 0 while there is none."""
        pause = self.routes.get(route)
        if pause is None:
            if len(self.routes) >= ROUTES:
                del self.routes[next(iter(self.routes))]
            pause = self.routes[route] = Pause()
        if now < pause.until:
            return pause.until
        pause.failures += 1
        if pause.failures < FAILURES:
            return 0.0
        until = pause.begin(ROUTE_PAUSE, now, random)
        self.cause = Cause(now, category.value, fault.value, text[:500], f"route {route[:200]} paused for {until - now:.0f} s")
        return until

    def route_closed_until(self, queue: RouteQueue, now: float) -> float:
        """When the pause of a route ends; 0 when it is open. A route that failed is proven by one connection alone: until then infinite."""
        pause = self.routes.get(queue.route) if self.routes else None
        if pause is None:
            return 0.0
        if now < pause.until:
            return pause.until
        return float("inf") if pause.failures and queue.permits.get(self.source, 0) else 0.0

    def quiet(self, now: float) -> bool:
        """Whether forgetting the lane loses nothing."""
        if self.permits or self.held or now <= self.suspended_until:
            return False
        if (self.pause.rounds and now <= self.pause.until + FORGIVEN) or any(
            now <= pause.until + FORGIVEN for pause in self.routes.values()
        ):
            return False
        return all(limit.theoretical <= now for limit in self.limits)
