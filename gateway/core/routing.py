"""Routing of new deliveries: while DNS is asked, a delivery waits in its domain's list; an unroutable one becomes an outcome.

The router caches and coalesces; this module asks it once a domain at a time, for a bounded number of domains at once, and then gives every
waiting delivery of the domain its flow, or its refusal. Lists are bounded: beyond the bound deliveries stay on disk only and are found
again by a page-wise look at the spool, which also happens at start and when a deferred domain is due.

Bad days: a DNS that hangs ends as a Deferred outcome of the router; the delivery is retried by its stream's schedule. A router that raises
is a bug of ours: it is told to `on_bug` and the domain is deferred like a DNS that does not answer.
"""

import asyncio
import math
from collections.abc import Callable

from gateway.calls import AttemptFacts, Lane, Settlement
from gateway.core.acceptance import flow_key
from gateway.core.committer import Committer
from gateway.core.duty import duty
from gateway.core.flows import FlowRegistry
from gateway.core.held import Held, held_from, not_before
from gateway.core.observer import Observer
from gateway.core.settlement import Settler
from gateway.core.windows import FlowWindows
from gateway.delivery.route import Route, Router, Routing
from gateway.spool.lifecycle import State
from gateway.spool.port import Routed, Spool
from mail.event import EventKind
from mail.outcome import Category, Deferred, Fault, Outcome, Phase, Verdict
from mail.reply import Reply

MOST_WAITING = 20_000
"""Deliveries in domains' lists; more wait on disk."""

MOST_DOMAINS = 200
"""Domains asked for at once."""

PAGE = 1000

BUG = Deferred(
    Verdict(Reply(451, "Route lookup failed", "4.3.0", synthetic=True), Category.ROUTING, Fault.CONFIG, "router-bug", Phase.ROUTE)
)


class UnroutedDeliveries:
    """Deliveries without a route, by domain."""

    def __init__(
        self,
        router: Router,
        committer: Committer,
        flows: FlowRegistry,
        windows: FlowWindows,
        settler: Settler,
        spool: Spool,
        observer: Observer,
        clock: Callable[[], float],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._router = router
        self._committer = committer
        self._flows = flows
        self._windows = windows
        self.settler = settler
        self._spool = spool
        self._observer = observer
        self._clock = clock
        self._on_bug = on_bug
        self._waiting: dict[str, dict[int, Held]] = {}
        self._count = 0
        self._ended: set[int] = set()
        """Routed or refused, and not yet on disk as such: a look must not take them again."""
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._look_at = math.inf
        """When deliveries on disk that are not in a list should be looked at; inf when there are none."""
        self._news = False
        """Deliveries with identities over `_seen` may be on disk."""
        self._seen = 0
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    limit = MOST_WAITING

    def __len__(self) -> int:
        return self._count

    def start(self) -> None:
        """Begin; the first look takes what an earlier run left."""
        self._look_at = 0.0
        self._task = asyncio.get_running_loop().create_task(
            duty(self._run, lambda: self._committer.broken is not None, self._on_bug), name="routing"
        )

    async def close(self) -> None:
        """Stop asking. What waits is on disk."""
        tasks = [task for task in (self._task, *self._asked.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def arrived(self, domain: str) -> None:
        """Deliveries of `domain` are on disk without a route."""
        self._news = True
        self._kick.set()

    def due_later(self, due: float) -> None:
        """A delivery on disk without a route is due at `due`."""
        if due < self._look_at:
            self._look_at = due
            self._kick.set()

    def look_again(self) -> None:
        """Deliveries lost their route (reroute): look at everything on disk."""
        self._look_at = 0.0
        self._kick.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = self._clock()
            if self._count < MOST_WAITING // 2:
                if now >= self._look_at:
                    self._look_at, self._seen = math.inf, 0
                    self._look(now)
                elif self._news:
                    self._look(now)
            timer = loop.call_later(3600.0 if self._look_at == math.inf else max(self._look_at - now, 0.05), self._kick.set)
            await self._kick.wait()
            timer.cancel()
            self._kick.clear()

    def _look(self, now: float) -> None:
        """Take what is due and after `_seen` from disk into the lists, page by page, until the bound. Identities grow with time."""
        self._news = False
        while self._count < MOST_WAITING:
            page = self._spool.unrouted(self._seen, PAGE)
            for queued in page:
                if queued.due > now and not_before(queued.message) <= now:
                    self._look_at = min(self._look_at, queued.due)
                elif queued.id not in self._ended:
                    self._add(held_from(queued))
            if page:
                self._seen = page[-1].id
            if len(page) < PAGE:
                return
        self._news = True

    def _add(self, held: Held) -> None:
        domain = held.recipient.domain
        waiting = self._waiting.setdefault(domain, {})
        if held.id not in waiting:
            waiting[held.id] = held
            self._count += 1
        if domain not in self._asked and len(self._asked) < MOST_DOMAINS:
            self._ask(domain)

    def _ask(self, domain: str) -> None:
        task = asyncio.get_running_loop().create_task(self._route(domain), name=f"route {domain}")
        self._asked[domain] = task
        task.add_done_callback(lambda done: self._answered(domain))

    def _answered(self, domain: str) -> None:
        self._asked.pop(domain, None)
        for waiting in self._waiting:
            if len(self._asked) >= MOST_DOMAINS:
                break
            if waiting not in self._asked:
                self._ask(waiting)
                break
        self._kick.set()

    async def _route(self, domain: str) -> None:
        try:
            routing: Routing | None = await self._router.route(domain)
        except Exception as bug:  # a bug must not leave mail waiting for ever; it is said aloud and the domain is asked again later
            self._on_bug(bug)
            routing = None
        now = self._clock()
        taken = self._waiting.pop(domain, {})
        self._count -= len(taken)
        for held in taken.values():
            if isinstance(routing, Route):
                self._routed(held, routing)
            else:
                self._refused(held, BUG if routing is None else routing.outcome, now)
        if taken:
            ended = set(taken)
            self._ended |= ended
            self._committer.flush().add_done_callback(lambda done: self._on_disk(ended, isinstance(routing, Route), done))

    def _routed(self, held: Held, route: Route) -> None:
        stream = self._windows.streams.get(held.message.stream)
        self._committer.routed(Routed(held.id, self._flows.number(flow_key(held.message, stream, route))))

    def _on_disk(self, ended: set[int], routed: bool, done: asyncio.Future[None]) -> None:
        """What became of them is on disk, or storage is broken. What was routed is due now."""
        if done.exception() is None:
            self._ended -= ended
            if routed:
                self._windows.look()

    def _refused(self, held: Held, outcome: Outcome, now: float) -> None:
        if not_before(held.message) > now:  # it is asked again when its time has come
            self._look_at = min(self._look_at, not_before(held.message))
            return
        facts = AttemptFacts(started=now, ended=now, lane=Lane("", held.recipient.domain))
        settled = self.settler.settle(held, Settlement(held.id, outcome, facts), now)
        self._committer.change(settled.change)
        became = settled.became
        self._observer.attempted(held, held.recipient.domain, outcome, facts, became.value, settled.next_due)
        if became is EventKind.DEFERRED and settled.change.state is State.QUEUED:
            self._look_at = min(self._look_at, settled.next_due)
