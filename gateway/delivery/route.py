"""From a recipient domain to the next hops: a static route, or its MX as RFC 5321 section 5.1 says, and the provider it belongs to.

Promises: `route` never raises and always ends (the resolver's time limits); `cached` and `by_key` are dictionary lookups. Routes with
the same key are one object, so a hundred thousand domains at one operator cost one route. The memory has the bound of the DNS
cache. An old route stays useful by its key: asking for it starts, beside, one refresh. What a domain publishes about TLS is part of the key
(`gateway.delivery.security.demand`), so a connection never serves a domain whose policy it does not satisfy.

Does not connect, and does not choose a source. What an MX of ours, a private address or a null MX leads to stands in
`gateway.delivery.attempt.OWN_WORDS`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from config.sending import Provider, RouteTls, StaticRoute
from config.settings import Settings
from gateway.delivery import addresses
from gateway.delivery.attempt import Own, own
from gateway.delivery.providers import ProviderTable
from gateway.delivery.resolver import TROUBLE_TTL, Found, Missing, Mx, Records, Resolver, Trouble
from gateway.delivery.security.dane import Dane
from gateway.delivery.security.demand import tag, undemanded
from gateway.delivery.security.guard import Guard
from gateway.delivery.security.levels import Demand, Security
from gateway.delivery.security.sts_policies import StsPolicies
from gateway.delivery.security.sts_policy import Mode
from mail.address import normalise_domain
from mail.outcome import Outcome, Phase

MAX_HOSTS: Final = 16
MAX_ADDRESSES: Final = 16
"""Per host."""
MAX_PREFETCH: Final = 2_000
"""Domains asked about ahead of need at the same time."""


class Host(msgspec.Struct, frozen=True, gc=False):
    """A next hop: its name, its addresses (IPv4 before IPv6) and its MX preference."""

    name: str
    addresses: tuple[str, ...]
    preference: int = 0
    dane: Dane | None = None
    """What DANE asks of it, where the domain's MX is secure."""


class Route(msgspec.Struct, frozen=True, gc=False, tag="route"):
    """Where mail for some domains goes. `key` is stable: the MX host set and what is published about TLS there, or `static:host:port` and
    the TLS wanted, if not opportunistic."""

    key: str
    provider: str
    hosts: tuple[Host, ...]
    port: int = 25
    tls: RouteTls = RouteTls.OPPORTUNISTIC
    loopback_ok: bool = False
    """The operator's own choice of next hop: any address will do."""
    security: Security | None = None
    """What the domains publish about TLS, if anything."""
    demand: Demand = Demand.NOTHING
    """What the mail demands beside."""
    proven: bool = False
    """DNSSEC, MTA-STS or the operator says that these hosts serve the domain (RFC 8689 section 4.2.1)."""
    doubted: bool = False
    """Nobody could say whether MTA-STS does."""


class Unroutable(msgspec.Struct, frozen=True, gc=False, tag="unroutable"):
    """No way there: what becomes of a delivery (Failed, or Deferred when it may be better later)."""

    outcome: Outcome


Routing = Route | Unroutable


class _Known(msgspec.Struct, gc=False):
    routing: Routing
    until: float


class Router:
    """Routes by domain. `hostname` is our own name; `clock` gives Unix seconds; without `policies` nobody asks for MTA-STS."""

    def __init__(
        self, settings: Settings, resolver: Resolver, hostname: str, clock: Callable[[], float], policies: StsPolicies | None = None
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._hostname = normalise_domain(hostname) or hostname
        self._known: dict[str, _Known] = {}
        self._routes: dict[str, tuple[Route, str, float]] = {}
        """By key: the route, a domain that leads to it, and until when it is fresh."""
        self._refreshing: dict[str, asyncio.Task[Routing]] = {}
        self._guard = Guard(settings.sending.tls, resolver, policies, settings.dns.port)
        self.guarded: dict[str, str] = dict.fromkeys(self._guard.domains(), "")
        """Domains that publish something, and the key of their route; "" until it is asked for. Mail that is queued under another key
        was routed before that was known, and is routed anew."""
        self.reconfigure(settings)

    def reconfigure(self, settings: Settings) -> None:
        """Route as `settings` says from now on. Routes by key keep their hosts; routes by domain are made anew."""
        self._settings = settings
        self._providers = ProviderTable(settings.provider)
        self._own = addresses.own_addresses(settings)
        self._statics = {_pattern(route.domain): route for route in reversed(settings.route)}
        self._six = any(source.address6 for source in settings.source)
        self._guard.reconfigure(settings.sending.tls, settings.dns.port)
        self._known.clear()
        self._routes = {name: (self._as_configured(route, domain), domain, until) for name, (route, domain, until) in self._routes.items()}

    def _as_configured(self, route: Route, domain: str) -> Route:
        """`route` with the `tls` its provider wants now: what is queued must not leave by less. A static route has it in its key."""
        if route.key.startswith("static:"):
            return route
        provider, _ = self._providers.of(domain, [(host.preference, host.name) for host in route.hosts])
        return msgspec.structs.replace(route, tls=self._provider(provider).tls)

    @property
    def fullness(self) -> tuple[int, int]:
        """Domains remembered, and their bound."""
        return len(self._known), self._settings.dns.cache_entries

    def cached(self, domain: str) -> Routing | None:
        """The routing of `domain` when it is known and fresh."""
        known = self._known.get(domain)
        return known.routing if known is not None and self._clock() < known.until else None

    def by_key(self, key: str) -> Route | None:
        """The last known route with `key`. When it is old, one refresh starts beside (on a running event loop)."""
        key, demand = undemanded(key)
        found = self._routes.get(key) or self._routes.get(f"{key}+") or self._routes.get(f"{key}?")
        if found is None:
            return None
        route, domain, until = found
        if self._clock() >= until:
            self.prefetch(domain)
        return route if demand is Demand.NOTHING else msgspec.structs.replace(route, demand=demand)

    async def armed(self, route: Route) -> Route:
        """`route` with the DANE records of its hosts as they are now. For who is about to connect."""
        if route.security is None or not route.security.dane:
            return route
        found = await self._guard.again([(host.name, host.dane) for host in route.hosts])
        hosts = tuple(msgspec.structs.replace(host, dane=found.get(host.name)) for host in route.hosts)
        return msgspec.structs.replace(route, hosts=hosts)

    def prefetch(self, domain: str) -> None:
        """Start to find the route of `domain`, if it is not known and not too many are being looked for."""
        if self.cached(domain) is None and domain not in self._refreshing and len(self._refreshing) < MAX_PREFETCH:
            task = asyncio.get_running_loop().create_task(self.route(domain), name=f"route {domain}")
            self._refreshing[domain] = task
            task.add_done_callback(lambda _: self._refreshing.pop(domain, None))

    async def close(self) -> None:
        """Stop looking ahead."""
        tasks = list(self._refreshing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def route(self, domain: str) -> Routing:
        """Where mail for `domain` (normal form) goes now."""
        routing = self.cached(domain)
        if routing is None:
            static = self._static(domain)
            if static is not None:
                routing, until = await self._static_route(static)
            elif domain.startswith("["):
                routing, until = self._no(Own.LITERAL, f"mail to the address literal {domain} is not sent")
            else:
                routing, until = await self._mx_route(domain)
            routing = self._keep(domain, routing, until)
        return routing

    def _keep(self, domain: str, routing: Routing, until: float) -> Routing:
        until = max(until, self._clock() + 1.0)
        if isinstance(routing, Route):
            name = routing.key + ("+" if routing.proven else "?" if routing.doubted else "")
            before = self._routes.pop(name, None)
            if before is not None and before[0] == routing:
                routing = before[0]
            self._routes[name] = (routing, domain, until)
            self._bound(self._routes)
            self.guarded.pop(domain, None)
            if routing.security is not None:
                self.guarded[domain] = routing.key
                self._bound(self.guarded)
        self._known.pop(domain, None)
        self._known[domain] = _Known(routing, until)
        self._bound(self._known)
        return routing

    def _bound(self, memory: dict[str, Any]) -> None:
        while len(memory) > self._settings.dns.cache_entries:
            del memory[next(iter(memory))]

    def _no(self, why: Own, text: str, until: float | None = None) -> tuple[Routing, float]:
        """Unroutable, for as long as `until` says."""
        outcome = own(why, text, Phase.ROUTE)
        lasting = self._clock() + (self._settings.dns.negative_ttl if until is None else 0.0)
        return Unroutable(outcome), lasting if until is None else until

    # Static routes

    def _static(self, domain: str) -> StaticRoute | None:
        """The static route of `domain`: itself, else the longest `*.suffix`, else `*`."""
        if not self._statics:
            return None
        exact = self._statics.get(domain)
        if exact is not None:
            return exact
        _, dot, rest = domain.partition(".")
        while dot and not domain.startswith("["):
            if (found := self._statics.get(f"*.{rest}")) is not None:
                return found
            _, dot, rest = rest.partition(".")
        return self._statics.get("*")

    async def _static_route(self, static: StaticRoute) -> tuple[Routing, float]:
        name = static.host.strip("[]")
        literal = addresses.address_in(name)
        until = self._clock() + self._settings.dns.longest_ttl
        if literal is not None:
            found: tuple[str, ...] = (literal,)
        else:
            name = normalise_domain(name) or name
            found, until, trouble, _ = await self._addresses(name)
            if not found:
                text = f"the static route's host {name} has no address"
                return self._no(Own.STATIC_HOST, f"{text}: {trouble}" if trouble else text, min(until, self._clock() + TROUBLE_TTL))
        if any((address, static.port) == addresses.endpoint(entry.address) for entry in self._settings.listener for address in found):
            return self._no(Own.STATIC_LOOP, f"the static route to {name}:{static.port} leads to ourselves", self._clock() + TROUBLE_TTL)
        tls = static.tls if static.tls is not None else self._provider(static.provider).tls
        # Connections are shared by all mail with the same key: mail that needs TLS must not find one without.
        key = f"static:{name}:{static.port}" + ("" if tls is RouteTls.OPPORTUNISTIC else f":{tls}")
        return Route(key, static.provider, (Host(name, found),), static.port, tls, loopback_ok=True, proven=True), until

    def _provider(self, name: str) -> Provider:
        return self._providers.named(name) or self._settings.default_provider

    # MX

    async def _mx_route(self, domain: str) -> tuple[Routing, float]:
        found = await self._resolver.mx(domain)
        match found.answer:
            case Trouble(why=why):
                return self._no(Own.DNS, f"MX of {domain}: {why}", found.until)
            case Missing():
                return self._no(Own.NO_DOMAIN, f"the domain {domain} does not exist", found.until)
            case Records(mx=records):
                pass
        if not records:
            # RFC 5321 section 5.1: no MX, so the domain is its own with preference 0.
            return await self._hosts_route(domain, (Mx(0, domain),), found.until, found.answer.secure, implicit=True)
        if all(not record.host for record in records):
            return self._no(Own.NULL_MX, f"the domain {domain} accepts no mail (null MX)", found.until)
        records = tuple(record for record in records if record.host)  # RFC 7505 section 3: a null MX among others says nothing
        preferred = self._before_ourselves(records)
        if not preferred:
            return self._no(Own.LOOP, f"mail for {domain} loops back to ourselves: the best MX is {self._hostname}", found.until)
        return await self._hosts_route(domain, preferred[:MAX_HOSTS], found.until, found.answer.secure)

    def _before_ourselves(self, records: tuple[Mx, ...]) -> tuple[Mx, ...]:
        """Each host once, and only those preferred to ourselves where we are in the list (RFC 5321 section 5.1)."""
        first = {record.host: record for record in reversed(records)}
        records = tuple(sorted(first.values()))
        ours = [record.preference for record in records if record.host == self._hostname]
        return tuple(record for record in records if record.preference < min(ours)) if ours else records

    async def _hosts_route(
        self, domain: str, records: tuple[Mx, ...], until: float, secure: bool, implicit: bool = False
    ) -> tuple[Routing, float]:
        answers = await asyncio.gather(*(self._addresses(record.host) for record in records))
        hosts: list[Host] = []
        troubles: list[str] = []
        refused: list[str] = []
        looped: list[int] = []
        exists = False
        for record, (found, fresh, trouble, there) in zip(records, answers, strict=True):
            until = min(until, fresh)
            exists = exists or there
            if trouble:
                troubles.append(f"{record.host}: {trouble}")
            usable = []
            for address in found:
                why = "" if self._settings.dns.allow_private else addresses.refusal(address, self._own)
                if why == addresses.LOOP:
                    looped.append(record.preference)
                elif why:
                    refused.append(f"{record.host} [{address}]: {why}")
                else:
                    usable.append(address)
            if usable:
                hosts.append(Host(record.host, tuple(usable), record.preference))
        if looped:
            hosts = [host for host in hosts if host.preference < min(looped)]
        if hosts:
            # An address that could not be found out now is asked for again soon.
            until = min(until, self._clock() + TROUBLE_TTL) if troubles else until
            return await self._secured(domain, self._made(domain, hosts), until, secure)
        if looped:
            return self._no(Own.LOOP, f"mail for {domain} loops back to ourselves", until)
        if troubles:
            return self._no(Own.DNS, f"address of {troubles[0]}", min(until, self._clock() + TROUBLE_TTL))
        if refused:
            return self._no(Own.REFUSED_ADDRESS, f"no usable MX for {domain}: {refused[0]}", until)
        if implicit and not exists:
            return self._no(Own.NO_HOST, f"the domain {domain} has neither MX nor address", until)
        return self._no(Own.NO_ADDRESS, f"no MX host of {domain} has a usable address", until)

    async def _addresses(self, host: str) -> tuple[tuple[str, ...], float, str, bool]:
        """Addresses of `host`, until when, what went wrong, and whether it has an address at all.

        IPv6 is asked for only where a source could use it, or to tell a host without IPv4 from none.
        """
        four = await self._resolver.addresses(host)
        found = _addresses_in(four)
        trouble = four.answer.why if isinstance(four.answer, Trouble) else ""
        if isinstance(four.answer, Missing) or (found and not self._six):
            return found[:MAX_ADDRESSES], four.until, trouble, bool(found)
        six = await self._resolver.addresses(host, six=True)
        more = _addresses_in(six)
        if isinstance(six.answer, Trouble) and not found:
            trouble = trouble or six.answer.why
        usable = (*found, *more) if self._six else found
        return usable[:MAX_ADDRESSES], min(four.until, six.until), trouble, bool(found or more)

    async def _secured(self, domain: str, route: Route, until: float, mx_secure: bool) -> tuple[Routing, float]:
        """`route` with what is published about TLS; `mx_secure`: DNSSEC vouches for the answer that named the hosts."""
        names = [host.name for host in route.hosts]
        found = await self._guard.look(domain, names, mx_secure)
        security = found.security
        if security is None:
            doubted = found.doubted and not mx_secure
            return msgspec.structs.replace(route, proven=mx_secure, doubted=doubted), min(until, found.until)
        hosts = tuple(msgspec.structs.replace(host, dane=found.dane.get(host.name)) for host in route.hosts)
        proven = mx_secure or security.mode is not Mode.NONE
        key = route.key + tag(security, names)
        return msgspec.structs.replace(route, key=key, hosts=hosts, security=security, proven=proven), min(until, found.until)

    def _made(self, domain: str, hosts: list[Host]) -> Route:
        """The route by `hosts`, with its provider."""
        names = sorted(host.name for host in hosts)
        key = ",".join(names)
        provider, by_domain = self._providers.of(domain, [(host.preference, host.name) for host in hosts])
        if by_domain:
            key = f"{key}#{provider}"  # the same hosts serve domains that are not this provider's
        tls = self._provider(provider).tls
        return Route(key, provider, tuple(hosts), self._settings.dns.port, tls, self._settings.dns.allow_private)


def _pattern(domain: str) -> str:
    """A static route's domain in normal form: `*`, `*.suffix` or a domain."""
    domain = domain.strip().lower().rstrip(".")
    if domain == "*":
        return domain
    if domain.startswith("."):
        domain = f"*{domain}"
    if domain.startswith("*."):
        return f"*.{normalise_domain(domain[2:]) or domain[2:]}"
    return normalise_domain(domain) or domain


def _addresses_in(found: Found) -> tuple[str, ...]:
    return found.answer.addresses if isinstance(found.answer, Records) else ()
