"""The core of a node, put together: committer, windows, feeder, engine, routing, sweeps, outbox around one spool.

Doors call `accept`; sessions call the engine; the console calls the methods below. The core keeps the order of start and stop: recover,
then committer, outbox, routing, feeder; doors open last and close first. An orderly stop puts everything back and closes the spool clean.

Bad days: a broken spool ends everything by `on_broken`; a full disk breaks the condition `spool-full` until a commit succeeds.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from config.settings import Settings
from gateway.calls import Committed, Message, Refused, Submission
from gateway.core.acceptance import Acceptor, SuppressionView
from gateway.core.committer import Committer, TransactionWriter
from gateway.core.engine import Engine, Session
from gateway.core.flows import FlowRegistry, Streams
from gateway.core.held import Held, HeldDeliveries, not_before
from gateway.core.notifier import Notifier
from gateway.core.observer import Observer
from gateway.core.outbox import Outbox
from gateway.core.quotas import Quotas
from gateway.core.routing import UnroutedDeliveries
from gateway.core.settlement import Settler, never
from gateway.core.sweeps import Operation, Sweeper
from gateway.core.windows import FlowWindows
from gateway.delivery.route import Route, Router
from gateway.notices.policy import NoticePolicy
from gateway.spool.port import FlowCount, Hold, NewFlow, Queued, Recovered, Selection, Spool, SpoolError
from gateway.traffic.breaker import Breaker, Key, Trip
from gateway.traffic.controller import Controller
from mail.event import Event
from mail.identity import IdentitySource

DOMAIN_HOLD_LOOK = 300.0
"""Seconds after which a delivery to a domain that is held is looked at again, unless the hold is released before."""


class SpoolReader(Protocol):
    """A reader of one's own, for long reads in another thread."""

    def find(self, selection: Selection, after: int, limit: int) -> list[Queued]: ...

    def count(self, selection: Selection) -> int: ...

    def backlog(self) -> list[FlowCount]: ...

    def close(self) -> None: ...


class Ports(msgspec.Struct, frozen=True):
    """What the composition root gives the core."""

    spool: Spool
    writer: TransactionWriter
    controller: Controller
    router: Router
    observer: Observer
    suppression: SuppressionView
    return_path: Callable[[int, Message, float], str]
    session: Callable[[Engine], Session]
    open_reader: Callable[[], SpoolReader]
    space_left: Callable[[], bool]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    random: random.Random
    on_broken: Callable[[SpoolError], None]
    on_full: Callable[[bool], None]
    on_damaged: Callable[[list[int]], None]
    on_outbox: Callable[[str | None], None]
    on_bug: Callable[[BaseException], None]
    soft_bounce: Callable[[Event, float], Event | None] = never
    """The suppression that follows from a final failure which says nothing of a dead address, and from what came before it."""
    hostname: str = ""
    """In reports to senders; "" for the gateway's domain."""


class Core:
    """One node's core. Everything runs on the event loop's thread."""

    def __init__(self, settings: Settings, ports: Ports, data: Path, domain: str) -> None:
        self.settings = settings
        self.ports = ports
        self.clock = ports.clock
        self.recovered: Recovered = ports.spool.recover(settings.gateway.number, ports.clock())
        self.identities = IdentitySource(settings.gateway.number, self.recovered.last_identity)
        self.held = HeldDeliveries(settings.sending.body_memory)
        self.committer = Committer(
            ports.writer,
            batch=settings.spool.batch,
            unsettled=settings.sending.unsettled,
            on_broken=ports.on_broken,
            on_commit=ports.observer.committed,
            on_full=ports.on_full,
            on_damaged=ports.on_damaged,
            on_stale=ports.observer.stale,
            monotonic=ports.monotonic,
        )
        self.committer.position = self.recovered.position
        self.flows = FlowRegistry(self.recovered.flows, self._new_flow)
        self.holds: dict[int, Hold] = {hold.id: hold for hold in self.recovered.holds}
        for flow in self.recovered.flows:
            ports.controller.add_flow(flow.number, flow.key)
        self._domain_holds = [hold for hold in self.recovered.holds if hold.domain]
        for hold in self.recovered.holds:
            if not hold.domain:
                ports.controller.hold(hold)
        self._compose(settings, data, domain)

    def _compose(self, settings: Settings, data: Path, domain: str) -> None:
        ports = self.ports
        streams = Streams(settings)
        policy = NoticePolicy(settings)
        self.settler = Settler(streams, self.flows, ports.random, settings.gateway.node, ports.soft_bounce, policy)
        self.engine = Engine(
            ports.controller,
            self.committer,
            self.flows,
            self.held,
            self.settler,
            Breaker(),
            ports.observer,
            ports.clock,
            self._suppressed,
            self._held_back,
            ports.on_bug,
        )
        self.windows = FlowWindows(
            ports.controller,
            self.committer,
            self.flows,
            streams,
            self.held,
            ports.spool,
            ports.clock,
            settings.sending.window,
            self.engine.offered,
            lambda domain: self.unrouted.arrived(domain),
            ports.on_bug,
        )
        self.engine.windows = self.windows
        self.engine.session = ports.session(self.engine)
        self._compose_upkeep(settings, data, domain)

    def _compose_upkeep(self, settings: Settings, data: Path, domain: str) -> None:
        ports = self.ports
        self.unrouted = UnroutedDeliveries(
            ports.router,
            self.committer,
            self.flows,
            self.windows,
            self.settler,
            ports.spool,
            ports.observer,
            ports.clock,
            ports.on_bug,
        )
        self.engine.on_unrouted_due = self.unrouted.due_later
        self.engine.guarded = ports.router.guarded
        self.engine.on_trip = self._tripped
        self.engine.on_addition = ports.suppression.apply
        self.sweeper = Sweeper(
            ports.spool,
            self.committer,
            self.flows,
            self.windows,
            self.held,
            self.settler,
            ports.observer,
            ports.clock,
            self.unrouted.look_again,
            self._end_holds,
            ports.on_bug,
        )
        self.outbox = Outbox(
            ports.spool,
            self.committer,
            settings.events,
            data,
            ports.on_outbox,
            lambda events: ports.observer.published("ndjson", events),
            ports.suppression.catch_up,
        )
        self.quotas = Quotas(settings, self.committer, ports.spool.note, ports.observer, ports.clock)
        self.acceptor = Acceptor(
            settings,
            self.identities,
            self.flows,
            self.committer,
            self.windows,
            self._cached_route,
            ports.return_path,
            ports.suppression,
            ports.observer,
            ports.clock,
            ports.space_left,
            domain,
        )
        self.notifier = Notifier(
            ports.spool, self.committer, self.acceptor, ports.observer, ports.clock, ports.hostname, domain, ports.on_bug
        )
        self._tell_as(settings, NoticePolicy(settings))

    def _tell_as(self, settings: Settings, policy: NoticePolicy) -> None:
        """Reports and events as the accounts want them."""
        self.notifier.reconfigure(settings, policy)
        self.outbox.unwanted = frozenset(account.name for account in settings.account if account.notify == "dsn")

    def start(self, *, deliver: bool = True) -> None:
        """Begin. Without `deliver` only the console works: nothing is routed, fed, sent, expired or published."""
        self.committer.start()
        if deliver:
            self.outbox.start()
            self.unrouted.start()
            self.windows.start()
            self.sweeper.start()
            self.notifier.start()
            self.engine.turn_soon()

    async def accept(self, submission: Submission) -> Committed | Refused:
        """Take responsibility for a message."""
        if submission.message.account in self.quotas:
            return await self.quotas.accept(submission, self.acceptor.accept)
        return await self.acceptor.accept(submission)

    def reconfigure(self, settings: Settings) -> None:
        """Use new settings for what can change while running: streams, providers, pools, accounts' streams."""
        self.settings = settings
        streams = Streams(settings)
        self.acceptor.reconfigure(settings)
        self.quotas.reconfigure(settings)
        policy = NoticePolicy(settings)
        self.settler = Settler(streams, self.flows, self.ports.random, settings.gateway.node, self.ports.soft_bounce, policy)
        self._tell_as(settings, policy)
        self.engine.settler = self.unrouted.settler = self.sweeper.settler = self.settler
        self.windows.streams = streams
        self.ports.controller.reconfigure(settings, self.clock())
        self.windows.look()
        self.engine.turn_soon()

    # For the console.

    def hold(self, hold: Hold) -> int:
        """Stop serving the flows that match; how many deliveries went from RAM back to disk."""
        self.holds[hold.id] = hold
        if hold.domain:
            self._domain_holds.append(hold)
            self.committer.hold(hold)
            return 0
        self.committer.hold(hold)
        self.ports.controller.hold(hold)
        if hold.source and not (hold.account or hold.stream or hold.campaign):
            return 0  # a lane is held, and other sources may carry what waits
        return sum(self.windows.withdraw(flow) for flow in self._held_flows(hold))

    def release(self, hold: int) -> None:
        """Serve them again."""
        released = self.holds.pop(hold, None)
        self.committer.unhold(hold)
        self._domain_holds = [one for one in self._domain_holds if one.id != hold]
        self.ports.controller.unhold(hold)
        if released is not None and released.domain:
            self._make_due(released)
        self.windows.look()
        self.engine.turn_soon()

    def _make_due(self, hold: Hold) -> None:
        """What a hold of a domain kept back is due at once: the hold had put it off, a look at a time."""
        now = self.clock()
        selection = Selection(
            domain=hold.domain,
            provider=hold.provider,
            account=hold.account,
            stream=hold.stream,
            campaign=hold.campaign,
            due_before=now + DOMAIN_HOLD_LOOK,
        )
        self.sweeper.begin(Operation(self.identities.next(now), "retry", selection, now, "released"))

    def _tripped(self, key: Key, trip: Trip) -> None:
        """Half of a campaign's mail is refused for what we are or send: it rests at that provider until the trip ends, by itself.

        Mail without a campaign is only told of: a hold without a campaign would hold every campaign of the account, and password resets.
        """
        account, campaign, provider = key
        now = self.clock()
        if not campaign:
            self.ports.observer.tripped(account, campaign, provider, 0.0, trip.why)
            return
        hold = Hold(self.identities.next(now), now, trip.until, provider=provider, account=account, campaign=campaign, reason=trip.why)
        self.ports.observer.tripped(account, campaign, provider, trip.until - now, trip.why)
        self.hold(hold)

    def _end_holds(self, now: float) -> None:
        """Holds with an end that has come are removed, on disk too."""
        for hold in [hold for hold in self.holds.values() if 0 < hold.until <= now]:
            self.release(hold.id)

    def forget_flows(self, backlog: list[FlowCount]) -> None:
        """Flows without a delivery are forgotten after a while; `backlog` was counted a moment ago."""
        needed = {count.number for count in backlog} | {held.flow for held in self.held.all()} | self.windows.on_disk
        forgotten = self.flows.forget(needed)
        for flow in forgotten:
            self.ports.controller.drop_flow(flow)
        if forgotten:
            # From disk too: a flow that comes back gets a new number, and its key must not be there twice.
            self.committer.forget(forgotten)

    def _held_flows(self, hold: Hold) -> list[int]:
        wanted = {held.flow for held in self.held.all() if held.permit == 0 and held.flow}
        return [flow for flow in wanted if matches_flow(hold, self.flows, flow)]

    async def close(self, grace: float) -> bool:
        """Stop in order; True when everything was settled and the spool closed clean."""
        await self.notifier.close()
        await self.unrouted.close()
        await self.windows.close()
        await self.sweeper.close()
        await self.engine.close(grace)
        if await self.committer.finish():
            await self.outbox.close()
        return await self.committer.close()

    def _new_flow(self, flow: NewFlow) -> None:
        self.committer.flow(flow)
        self.ports.controller.add_flow(flow.number, flow.key)

    def _cached_route(self, domain: str) -> Route | None:
        routing = self.ports.router.cached(domain)
        return routing if isinstance(routing, Route) else None

    def _held_back(self, held: Held, now: float) -> float:
        """Until when this delivery is kept back: before its send-at, whoever made it due; or by a hold of its recipient's domain, which is
        looked at here because flows do not know domains."""
        if held.message.labels is not None and not_before(held.message) > now:
            return not_before(held.message)
        for hold in self._domain_holds:
            if hold.domain == held.recipient.domain and matches_flow(hold, self.flows, held.flow) and not 0 < hold.until <= now:
                return min(hold.until or now + DOMAIN_HOLD_LOOK, now + DOMAIN_HOLD_LOOK)
        return 0.0

    def _suppressed(self, held: Held) -> str | None:
        return self.ports.suppression.reason(held.message.account, held.message.stream, held.recipient)


def matches_flow(hold: Hold, flows: FlowRegistry, flow: int) -> bool:
    """Whether a hold is about this flow. Domain and source are matched where deliveries and lanes are known."""
    key = flows.key(flow)
    pairs = ((hold.provider, key.provider), (hold.account, key.account), (hold.stream, key.stream), (hold.campaign, key.campaign))
    return all(not wanted or wanted == value for wanted, value in pairs)
