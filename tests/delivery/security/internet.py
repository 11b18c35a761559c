"""A small Internet in the test's own loop: a name server that says what it is told, policy hosts, and what asks them, with a clock held by
the test."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from config.sending import Dns, Trust
from gateway.delivery.resolver import Resolver
from gateway.delivery.security.https import Https
from gateway.delivery.security.sts_policies import StsPolicies
from sandbox.certificate import Authority
from sandbox.dns import NameServer, Zone
from sandbox.policy_host import PolicyServer
from sandbox.published import POLICY_ADDRESS, announcement
from sandbox.scenario import Name, PolicyHost, Scenario

NOW = 1_800_000_000.0
ENFORCE = "version: STSv1\nmode: enforce\nmx: *.a.test\nmax_age: 86400\n"

NOTHING = Scenario()


class Observer:
    def __init__(self) -> None:
        self.results: list[tuple[str, str]] = []
        self.damaged: list[str] = []

    def fetched(self, domain: str, result: str, why: str) -> None:
        self.results.append((domain, result))

    def notes_damaged(self, what: str) -> None:
        self.damaged.append(what)


class SmallInternet:
    """Everything running; `policies` makes another memory over the same notes, as a restart does."""

    def __init__(self, hosts: list[PolicyHost], scenario: Scenario, **trust: object) -> None:
        self.now = NOW
        self.authority = Authority()
        self.server = PolicyServer(hosts, self.authority)
        names = [name for host in hosts for name in announcement(host)]
        self.zone = Zone(scenario.model_copy(update={"name": [*scenario.name, *names]}), {})
        self.names = NameServer(self.zone)
        self.notes: dict[str, bytes] = {}
        self.observer = Observer()
        self._trust = trust

    async def start(self) -> None:
        self.port = await self.server.start(POLICY_ADDRESS)
        dns_port = await self.names.start()
        self.trust = Trust.model_validate({"policy_port": self.port, "policy_timeout": 2.0, **self._trust})
        settings = self.dns = Dns(servers=[f"127.0.0.1:{dns_port}"], timeout=2.0, allow_private=True)
        self.context = ssl.create_default_context(cadata=self.authority.pem.decode())
        self.resolver = Resolver(settings, lambda: self.now)
        self.https = Https(self.resolver, lambda: self.context, lambda address: "", lambda: self.now)
        self.policies = self.restarted()

    def restarted(self) -> StsPolicies:
        """A memory that begins with what the notes hold."""
        return StsPolicies(self.trust, self.resolver, self.https, lambda: self.now, self.observer, self.notes.get, self._keep)

    def _keep(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = value

    def publish(self, host: PolicyHost) -> None:
        """From now on this is the domain's policy; what was known of its names is forgotten."""
        self.server.hosts[host.domain] = host
        for name in announcement(host):
            self.say(name)

    def say(self, name: Name) -> None:
        self.zone.replace(name)
        self.resolver.forget()

    async def stop(self) -> None:
        await self.policies.close()
        await self.resolver.close()
        await self.server.stop()
        await self.names.stop()


@contextlib.asynccontextmanager
async def small_internet(*hosts: PolicyHost, scenario: Scenario = NOTHING, **trust: object) -> AsyncIterator[SmallInternet]:
    """It, for the time of a test."""
    place = SmallInternet(list(hosts), scenario, **trust)
    await place.start()
    try:
        async with asyncio.timeout(20):
            yield place
    finally:
        await place.stop()
