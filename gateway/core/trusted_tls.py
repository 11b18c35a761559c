"""TLS that can be trusted, put together: MTA-STS policies, the figures of TLS reports, and their notes in the spool.

The composition root gives it resolver and network and asks it for the policies that the router needs; once every few seconds `tend`
refreshes policies and writes figures that changed, and `report` has finished days reported. What becomes of policies is told to metrics and
log here.

Bad days: a note that cannot be read is told and begins anew; figures of the last minute may be lost with the process, policies may not.
"""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable

import msgspec

from config.settings import Settings
from gateway.calls import AttemptFacts, Committed, Refused, Submission, TlsFailure
from gateway.core.duty import duty
from gateway.core.tls_reports import ACCOUNT, TlsReports, Wishes
from gateway.delivery import addresses
from gateway.delivery.network import Network
from gateway.delivery.resolver import Resolver
from gateway.delivery.route import Route
from gateway.delivery.security.https import Https
from gateway.delivery.security.report import Sender
from gateway.delivery.security.results import KINDS, NO_SOURCE, Described, Results, Source
from gateway.delivery.security.sts_policies import StsPolicies
from gateway.observe import log
from gateway.observe.metrics import Metrics
from gateway.observe.view import Bound
from gateway.spool.port import Note

RESULTS = "tls-results"
WRITTEN_EVERY = 60.0
"""Seconds between two writes of figures that changed."""
TENDED_EVERY = 60.0
LOOKED_EVERY = 10.0


class TrustedTls:
    """See the module. `load` reads a note of the spool, `keep` writes one; `clock` gives Unix seconds."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        network: Network,
        metrics: Metrics,
        clock: Callable[[], float],
        load: Callable[[str], bytes | None],
        keep: Callable[[Note], None],
        domain: str,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._keep = keep
        self._network = network
        self._resolver = resolver
        self._domain = domain
        self.results = Results()
        self._take(settings)
        note = load(RESULTS)
        if note is not None:
            try:
                self.results.restore(note)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.tls_note_damaged(str(error))
        self.https = Https(resolver, lambda: network.verifying, self._refusal, clock)
        self.policies = StsPolicies(
            settings.sending.tls, resolver, self.https, clock, self, load, lambda key, value: keep(Note(key, value))
        )
        self.route: Callable[[str], Route | None] = lambda key: None
        """The route with this key: the router's, once there is one."""
        self._reports: TlsReports | None = None
        self._written = self._tended = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def _take(self, settings: Settings) -> None:
        self._trust = settings.sending.tls
        self._allow_private = settings.dns.allow_private
        self._own = addresses.own_addresses(settings)
        self._sources = {source.name: Source(source.address or "", source.address6 or "") for source in settings.source}
        self._network.trust(settings.sending.tls.authorities)

    def _wishes(self) -> Wishes:
        contact = self._trust.report_contact or f"postmaster@{self._domain}"
        return Wishes(self._trust.reports, Sender(self._domain, f"{ACCOUNT}@{self._domain}", contact), self._trust.policy_port)

    def reconfigure(self, settings: Settings) -> None:
        """Use new settings. Raises OSError when the file of authorities cannot be used."""
        self._take(settings)

    def _refusal(self, address: str) -> str:
        return "" if self._allow_private else addresses.refusal(address, self._own)

    # What is told.

    def fetched(self, domain: str, result: str, why: str) -> None:
        """A policy was fetched, or could not be had."""
        self._metrics.sts_fetched(result)
        if result != "ok":
            log.sts_fetch_failed(domain, result, why)
            self.results.discovery(domain, TlsFailure(result, "", "", why), self._clock())

    def notes_damaged(self, what: str) -> None:
        """Policies on disk could not be read."""
        log.tls_note_damaged(what)

    def _reported(self, domain: str, result: str, why: str) -> None:
        self._metrics.tls_reported(result)
        if result != "unwanted":
            log.tls_reported(domain, result, why)

    def attempted(self, domain: str, facts: AttemptFacts) -> None:
        """An attempt ended over a connection of which something was asked."""
        security = facts.security
        if security is None or security.policy not in KINDS:
            return
        session = float(facts.connection) or -facts.started
        source = self._sources.get(facts.lane.source, NO_SOURCE)
        self.results.session(
            domain, security, session, source, lambda: self._described(domain, KINDS[security.policy], facts.route), self._clock()
        )

    def _described(self, domain: str, kind: str, key: str) -> Described:
        """The policy as a report names it: the lines of the MTA-STS file, or the TLSA records of the route's hosts."""
        if kind == "sts":
            policy = self.policies.known(domain)
            return Described() if policy is None else Described(policy.lines, policy.mx)
        route = self.route(key)
        pinned = [] if route is None else [(host.name, host.dane) for host in route.hosts if host.dane is not None]
        return Described(tuple(str(record) for _, dane in pinned for record in dane.records), tuple(name for name, _ in pinned))

    def bounds(self) -> list[Bound]:
        """How full it is."""
        return [Bound("mta-sts", *self.policies.fullness), Bound("tls-results", len(self.results), self.results.limit)]

    # Life.

    def start(
        self, broken: Callable[[], bool], accept: Callable[[Submission], Awaitable[Committed | Refused]], chance: random.Random
    ) -> None:
        """Tend from now on, until the spool is `broken` or this is closed. Reports leave as messages that `accept` takes."""
        self._reports = TlsReports(self.results, self._resolver, self.https, accept, self._wishes, chance, self._reported)
        loop = asyncio.get_running_loop()
        # Apart, because a place of reports that hangs must not keep policies from being refreshed.
        self._tasks = [
            loop.create_task(duty(functools.partial(self._again, work), broken, lambda error: log.bug("tls", error)), name=name)
            for name, work in (("tls", self.tend), ("tls-reports", self.report))
        ]

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(LOOKED_EVERY)
            await work()

    async def tend(self) -> None:
        """Refresh policies and write figures, each when it is due."""
        now = self._clock()
        if now >= self._tended + TENDED_EVERY:
            self._tended = now
            await self.policies.tend()
        if self.results.changed and now >= self._written + WRITTEN_EVERY:
            self.write()

    async def report(self) -> None:
        """Send some of the reports that are due."""
        if self._reports is not None:
            await self._reports.tend(self._clock())

    def write(self) -> None:
        """Figures that changed go into their note."""
        if self.results.changed:
            self._written = self._clock()
            self._keep(Note(RESULTS, self.results.export()))

    async def close(self) -> None:
        """Stop tending and fetching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.policies.close()
