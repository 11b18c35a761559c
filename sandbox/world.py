"""`Sandbox`: the fake Internet of one scenario, running in a thread with an event loop of its own.

The thread keeps the providers' work off the caller's loop, so a gateway under test in the same process is not slowed by more than the
processor it shares; `python -m sandbox` gives it a process instead. All providers listen on one port, each on its own loopback address, as
the Internet's do on 25. `start` returns when everything listens; `stop` when nothing does.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from sandbox.certificate import Authority, Chain, chain, self_signed
from sandbox.dns import SILENCE, NameServer, Zone
from sandbox.policy_host import PolicyServer, Posted
from sandbox.provider import Provider, Received, Shelf, host_names
from sandbox.published import POLICY_ADDRESS, announcement, tlsa
from sandbox.scenario import Name, PolicyHost, Scenario
from sandbox.silence import Silence
from sandbox.tally import Counts

_T = TypeVar("_T")

_FIRST_ADDRESS = 11
_PORT_ATTEMPTS = 20


class SandboxAddresses(msgspec.Struct, frozen=True):
    """Where the sandbox listens: `dns` as `IP:port`, the providers' one SMTP port, and each provider's address."""

    dns: str
    smtp_port: int
    providers: dict[str, str] = {}
    policy_port: int = 0
    """Where the web servers with MTA-STS policies listen; 0: there are none."""
    authority: str = ""
    """The certificate of the authority that vouches for good hosts, PEM."""


class Sandbox:
    """One fake Internet. `clock` (seconds, only forward) is what greylisting and rates go by: tests may hold it."""

    def __init__(self, scenario: Scenario, clock: Callable[[], float] = time.monotonic) -> None:
        self.scenario = scenario
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._providers: dict[str, Provider] = {}
        self._shelf = Shelf(scenario.keep)
        self._name_server: NameServer | None = None
        self._policies: PolicyServer | None = None
        self._silence: Silence | None = None

    async def start(self, dns_port: int = 0, smtp_port: int = 0) -> SandboxAddresses:
        """Listen, on free ports where none are given. Raises OSError when a given one is taken, ValueError on a scenario that cannot be."""
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=self._run, args=(loop,), name="sandbox", daemon=True)
        self._thread.start()
        try:
            return await self._there(self._start(dns_port, smtp_port))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything. A second call does nothing."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        await self._there(self._stop())
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        self._loop = self._thread = None

    def counts(self) -> dict[str, Counts]:
        """Each provider's books. Works after `stop` too."""
        return self._ask(lambda: {name: provider.tally.counts() for name, provider in self._providers.items()})

    def messages(self, provider: str | None = None) -> list[Received]:
        """The messages that were taken and are still kept, oldest first."""
        kept = self._ask(lambda: list(self._shelf.messages))
        return [message for message in kept if provider in (None, message.provider)]

    def standing(self, recipient: str) -> list[str]:
        """How the deliveries to `recipient` stand, in the words of `sandbox.tally`."""
        return self._ask(lambda: [word for provider in self._providers.values() for word in provider.tally.standing(recipient)])

    def asked(self) -> dict[str, int]:
        """Questions the name server got, such as `example.test. MX`, and how often."""
        server = self._name_server
        return self._ask(lambda: dict(server.zone.asked)) if server is not None else {}

    def say(self, name: Name) -> None:
        """From now on this is all that the name server says about the name."""
        if self._name_server is not None:
            zone = self._name_server.zone
            self._ask(lambda: zone.replace(name))

    def publish(self, host: PolicyHost) -> None:
        """From now on this is the policy of the domain, and its announcement."""
        server = self._policies
        assert server is not None
        self._ask(lambda: server.hosts.update({host.domain: host}))
        for name in announcement(host):
            self.say(name)

    def fetched(self) -> dict[str, int]:
        """How often each domain's policy was asked for."""
        server = self._policies
        return self._ask(lambda: dict(server.asked)) if server is not None else {}

    def posted(self) -> list[Posted]:
        """What was posted to the web servers."""
        server = self._policies
        return self._ask(lambda: list(server.posted)) if server is not None else []

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_complain)
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    async def _there(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` on the sandbox's loop and wait for it here."""
        assert self._loop is not None
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The answer to `question`, asked on the sandbox's loop, so that nothing changes meanwhile."""
        if self._loop is None:
            return question()

        async def ask() -> _T:
            return question()

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout=30)

    async def _start(self, dns_port: int, smtp_port: int) -> SandboxAddresses:
        names = [host for mailboxes in self.scenario.provider for host in host_names(mailboxes)]
        alike = self_signed(names or ["sandbox.test"])
        addresses = _addresses(self.scenario)
        authority = Authority()
        shown: dict[str, Chain] = {}
        for mailboxes in self.scenario.provider:
            plain = mailboxes.certificate == "self-signed"
            made = shown[mailboxes.name] = alike if plain else chain(authority, host_names(mailboxes), mailboxes.certificate)
            self._providers[mailboxes.name] = Provider(mailboxes, addresses[mailboxes.name], made.context(), self._shelf, self._clock)
        port = await _listen([each for each in self._providers.values() if each.mailboxes.listening], smtp_port)
        if any(mailboxes.silent for mailboxes in self.scenario.provider):
            self._silence = Silence(SILENCE, port)
        published = [name for host in self.scenario.policy for name in announcement(host)]
        for mailboxes in self.scenario.provider:
            published += tlsa(mailboxes, host_names(mailboxes), shown[mailboxes.name], port)
        zone = Zone(self.scenario.model_copy(update={"name": [*self.scenario.name, *published]}), addresses)
        self._name_server = NameServer(zone)
        dns_bound = await self._name_server.start(dns_port)
        self._policies = PolicyServer(self.scenario.policy, authority)
        policy_port = await self._policies.start(POLICY_ADDRESS)
        return SandboxAddresses(f"127.0.0.1:{dns_bound}", port, addresses, policy_port, authority.pem.decode())

    async def _stop(self) -> None:
        if self._name_server is not None:
            await self._name_server.stop()
        if self._silence is not None:
            self._silence.close()
        if self._policies is not None:
            await self._policies.stop()
        for provider in self._providers.values():
            await provider.stop()


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong on the loop, except that a client went away: aiosmtpd's handlers end with that, and nobody reads it."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


async def _listen(providers: list[Provider], port: int) -> int:
    """Bind all providers to one port, any free one where `port` is 0."""
    for left in range(_PORT_ATTEMPTS - 1, -1, -1):
        bound = port
        try:
            for provider in providers:
                bound = await provider.start(bound)
            return bound
        except OSError:
            for provider in providers:
                await provider.stop()
            if port or not left:
                raise
    raise AssertionError("the loop returns or raises")


def _addresses(scenario: Scenario) -> dict[str, str]:
    """Each provider's loopback address: its own, or the next free one. Raises ValueError on two providers of one name or address."""
    given = {mailboxes.address for mailboxes in scenario.provider}
    free = (f"127.0.{number // 250}.{number % 250 + 1}" for number in range(_FIRST_ADDRESS - 1, 60_000))
    found: dict[str, str] = {}
    for mailboxes in scenario.provider:
        address = mailboxes.address or next(each for each in free if each not in given)
        if mailboxes.name in found or address in found.values():
            raise ValueError(f"provider {mailboxes.name}: its name or its address {address} is another's")
        found[mailboxes.name] = address
    return found
