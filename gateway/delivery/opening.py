"""From a route to a connection that can take MAIL: which host and address, from which source address, greeting, EHLO and TLS.

MX hosts are tried in order of preference, by chance among equals; the next address is tried when one cannot be reached, is late, or does
not want to speak, `MOST_TRIES` in all. A rate or reputation reply before MAIL is not answered by knocking at the next door: the lane has
to know first. How TLS must be is decided for each host by the table in `gateway.delivery.security.levels`, before anything is connected:
the ways it allows are tried in order, a weaker one on a new connection where the handshake of the stronger failed, and a host it shuts is
passed over. What was asked and what came of it is told with the connection.

Returns `Opened` or `Troubled`; raises nothing but cancellation, and leaves no socket behind then.
"""

import asyncio
import errno
import os
import socket
import ssl
from typing import Final

import msgspec

from config.sending import Provider, Sending, Source
from gateway.calls import Lane, TlsFacts, TlsFailure
from gateway.delivery.attempt import Own, concerns_pace, judged, own
from gateway.delivery.connection import Connection, Gone, time_limits
from gateway.delivery.network import Network, Signal
from gateway.delivery.route import Host, Route
from gateway.delivery.security.handshake import Handshake, Unsecured
from gateway.delivery.security.levels import Demand, Shut, Way, Ways, ways
from gateway.delivery.security.result import Result
from gateway.smtp.client import Answered, Verb, Violation
from mail.outcome import Deferred, Delivered, Failed, Outcome, Phase
from mail.reply import Reply

MOST_TRIES: Final = 5
"""Addresses tried for one connection."""

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux: the port of a bound source address is chosen at connect, so that each destination has all of them."""


class Opened(msgspec.Struct, frozen=True):
    """A connection that awaits MAIL. `address` is `IP:port`; `tls` is protocol and cipher, or ""."""

    connection: Connection
    host: str
    address: str
    tls: str = ""
    security: TlsFacts | None = None


class Troubled(msgspec.Struct, frozen=True, gc=False):
    """No connection. The last trouble tells why; `onward` is whether another address may be tried."""

    outcome: Outcome
    host: str = ""
    onward: bool = True
    security: TlsFacts | None = None
    result: Result | None = None
    """What was wrong with TLS, where that was it."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An address to try, and the source address to try it from ("" leaves it to the system)."""

    host: str
    address: str
    origin: str


def candidates(hosts: tuple[Host, ...], source: Source, network: Network) -> list[Candidate]:
    """Addresses of `hosts` that `source` can reach, in the order to try them (RFC 5321 section 5.1). IPv6 needs an `address6`."""
    ordered = sorted(hosts, key=lambda host: (host.preference, network.chance.random()))
    found: list[Candidate] = []
    for host in ordered:
        # IPv4 first, by chance among the addresses of a family: they share the load.
        for address in sorted(host.addresses, key=lambda address: (":" in address, network.chance.random())):
            if ":" not in address:
                found.append(Candidate(host.name, address, source.address or ""))
            elif source.address6:
                found.append(Candidate(host.name, address, source.address6))
    return found[:MOST_TRIES]


class Opener:
    """Opens one connection of `lane`, with the limits of `provider`. `signal` is the session's, for everything that happens on it."""

    def __init__(
        self, lane: Lane, route: Route, source: Source, provider: Provider, sending: Sending, network: Network, signal: Signal
    ) -> None:
        self._lane = lane
        self._route = route
        self._source = source
        self._connect_timeout = provider.connect_timeout
        self._sending = sending
        self._network = network
        self._signal = signal
        self._name = source.ehlo or network.hostname
        self._handshake = Handshake(network, sending.command_timeout, _said)
        self._hosts = {host.name: host for host in route.hosts}
        self._asked = {host.name: ways(route.tls, route.demand, route.security, host.name, host.dane) for host in route.hosts}
        self._failures: list[TlsFailure] = []

    async def open(self) -> Opened | Troubled:
        """The first connection that can be made."""
        text = f"source {self._source.name} has no address of the family that {self._route.key} needs"
        trouble = Troubled(own(Own.NO_FAMILY, text, Phase.CONNECT))
        soft: Troubled | None = None
        shut = self._shut()
        for candidate in candidates(tuple(host for host in self._route.hosts if host.name not in shut), self._source, self._network):
            result = await self._climb(candidate)
            if isinstance(result, Opened):
                return result
            trouble = result
            soft = soft or (trouble if isinstance(trouble.outcome, Deferred) else None)
            if not trouble.onward:
                break
        else:
            trouble = self._for_all(trouble, soft, shut)
        policy = next((asked.policy for asked in self._asked.values() if asked.policy), "")
        if not policy or not self._failures:
            return trouble
        return msgspec.structs.replace(trouble, security=TlsFacts(policy, "failed", tuple(self._failures)))

    def _shut(self) -> dict[str, Shut]:
        """Hosts that must not be used, and why; each is a failure to report."""
        shut = {name: asked for name, asked in self._asked.items() if isinstance(asked, Shut)}
        for name, asked in shut.items():
            self._failures.append(TlsFailure(asked.result.value, name, "", asked.why))
        return shut

    def _for_all(self, trouble: Troubled, soft: Troubled | None, shut: dict[str, Shut]) -> Troubled:
        """What to say when every host was tried or is shut. A message that no host satisfies is returned only when none may later."""
        if isinstance(trouble.outcome, Failed) and self._route.demand is Demand.REQUIRETLS and soft is not None:
            trouble = soft
        passing = [item for item in shut.items() if not item[1].lasting]
        some_tried = len(shut) < len(self._hosts)
        if not shut or (some_tried and not (passing and isinstance(trouble.outcome, Failed))):
            return trouble
        name, asked = (passing or list(shut.items()))[0]
        return Troubled(own(Own.TLS_POLICY if passing else Own.REQUIRETLS_TLS, f"{name}: {asked.why}", Phase.STARTTLS), name)

    async def _climb(self, candidate: Candidate) -> Opened | Troubled:
        """One address, by the ways its host allows, in order."""
        asked = self._asked[candidate.host]
        assert isinstance(asked, Ways)
        if asked.broken is not None:
            self._failed(candidate, asked.broken, asked.why)
        result = Troubled(own(Own.TLS_FAILED, f"TLS with {candidate.host} failed a while ago", Phase.STARTTLS), candidate.host)
        may_clear = asked.ways[-1] is Way.CLEAR
        for way in asked.ways:
            if way is Way.ENCRYPTED and may_clear and self._network.broken_tls.holds(candidate.host):
                continue
            tried = await self._try(candidate, way, may_clear)
            if isinstance(tried, Opened) or tried.result is None:
                return tried
            if way is Way.ENCRYPTED and may_clear:
                self._network.broken_tls.note(candidate.host)
            result = tried
        return result

    def _failed(self, candidate: Candidate, result: Result, why: str) -> None:
        self._failures.append(TlsFailure(result.value, candidate.host, candidate.address, why[:500]))

    def _untrusted(self, candidate: Candidate, why: Own, text: str, result: Result, said: str = "") -> Troubled:
        """TLS was not as asked: `why`, or for good where the message demanded it and it is not the handshake that failed (RFC 8689
        section 4.2.1). `said` is what to report, where `text` says more than that."""
        self._failed(candidate, result, said or text)
        if self._route.demand is Demand.REQUIRETLS and why is not Own.TLS_FAILED:
            why = Own.REQUIRETLS_TLS
        return Troubled(own(why, text, Phase.STARTTLS), candidate.host, result=result)

    async def _try(self, candidate: Candidate, way: Way, may_clear: bool) -> Opened | Troubled:
        """One address: connect and talk until MAIL can be said. A connection that came to nothing is closed."""
        connection = await self._connect(candidate)
        if isinstance(connection, Troubled):
            return connection
        try:
            result = await self._introduce(connection, candidate, way, may_clear)
            if isinstance(result, Troubled):
                connection.close()
                await connection.gone()
        except BaseException:
            connection.cut()
            raise
        return result

    async def _connect(self, candidate: Candidate) -> Connection | Troubled:
        """A TCP connection to `candidate` from its origin."""
        place = f"{candidate.host} [{candidate.address}]:{self._route.port}"
        family = socket.AF_INET6 if ":" in candidate.address else socket.AF_INET
        loop = asyncio.get_running_loop()
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            return Troubled(own(Own.CONNECT, f"no socket for {place}: {_said(error)}", Phase.CONNECT), candidate.host, onward=False)
        limits = time_limits(self._sending)
        connection = Connection(self._signal, self._network.sweeper, limits, self._sending.block_timeout)
        try:
            made.setblocking(False)
            if candidate.origin:
                trouble = self._bind(made, candidate)
                if trouble is not None:
                    made.close()
                    return trouble
            async with asyncio.timeout(self._connect_timeout):
                await loop.sock_connect(made, (candidate.address, self._route.port))
                await loop.create_connection(lambda: connection, sock=made)
        except TimeoutError:
            connection.give_up()
            made.close()
            return Troubled(own(Own.TIMEOUT, f"{place} took no connection in time", Phase.CONNECT), candidate.host)
        except OSError as error:
            connection.give_up()
            made.close()
            return Troubled(own(Own.CONNECT, f"{place}: {_said(error)}", Phase.CONNECT), candidate.host)
        except BaseException:
            connection.give_up()
            made.close()
            raise
        return connection

    def _bind(self, made: socket.socket, candidate: Candidate) -> Troubled | None:
        """Send from the source's address; one that the machine does not have is the configuration's fault, not the host's."""
        try:
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        except OSError:
            pass  # an older or another system: ports are chosen at bind
        try:
            made.bind((candidate.origin, 0))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return Troubled(own(Own.CONNECT, f"no free port on {candidate.origin}", Phase.CONNECT), candidate.host, onward=False)
            text = f"this machine cannot send from {candidate.origin} (source {self._source.name}): {_said(error)}"
            return Troubled(own(Own.SOURCE, text, Phase.CONNECT), candidate.host, onward=False)
        return None

    async def _introduce(self, connection: Connection, candidate: Candidate, way: Way, may_clear: bool) -> Opened | Troubled:
        """Greeting, EHLO, STARTTLS and EHLO again."""
        greeting = await self._reply(connection, candidate)
        if isinstance(greeting, Troubled):
            return greeting
        if greeting.code != 220:
            return self._judged(greeting, candidate, Phase.BANNER)
        trouble = await self._hello(connection, candidate)
        cipher = ""
        if trouble is None and way is not Way.CLEAR:
            cipher, trouble = await self._offered(connection, candidate, way, may_clear)
        if trouble is not None:
            return trouble
        if self._route.demand is Demand.REQUIRETLS and not connection.client.capabilities.requiretls:
            text = f"{candidate.host} does not offer REQUIRETLS"
            return Troubled(own(Own.REQUIRETLS_MISSING, text, Phase.EHLO), candidate.host)
        shown = f"[{candidate.address}]" if ":" in candidate.address else candidate.address
        facts = self._facts(candidate, way if cipher else Way.CLEAR)
        return Opened(connection, candidate.host, f"{shown}:{self._route.port}", cipher, facts)

    def _facts(self, candidate: Candidate, way: Way) -> TlsFacts | None:
        """What is told of a connection that was made; nothing where nothing was asked."""
        policy = self._asked[candidate.host].policy
        return TlsFacts(policy, way.value, tuple(self._failures)) if policy else None

    async def _offered(self, connection: Connection, candidate: Candidate, way: Way, may_clear: bool) -> tuple[str, Troubled | None]:
        """TLS, where the host offers it: protocol and cipher ("" for none), or trouble."""
        if connection.client.capabilities.starttls:
            return await self._secure(connection, candidate, way, may_clear)
        text = f"{candidate.host} does not offer STARTTLS"
        if may_clear:
            self._failed(candidate, Result.NO_STARTTLS, text)
            return "", None
        return "", self._untrusted(candidate, Own.TLS_MISSING, text, Result.NO_STARTTLS)

    async def _hello(self, connection: Connection, candidate: Candidate) -> Troubled | None:
        """EHLO, or HELO where EHLO is refused for good (RFC 5321 section 3.2)."""
        connection.write(connection.client.hello(self._name))
        answer = await self._reply(connection, candidate)
        if isinstance(answer, Reply) and answer.permanent:
            connection.write(connection.client.helo(self._name))
            answer = await self._reply(connection, candidate)
        if isinstance(answer, Troubled):
            return answer
        if self._network.no_pipelining.holds(candidate.host):
            connection.client.capabilities = msgspec.structs.replace(connection.client.capabilities, pipelining=False)
        return None if answer.code == 250 else self._judged(answer, candidate, Phase.EHLO)

    async def _secure(self, connection: Connection, candidate: Candidate, way: Way, may_clear: bool) -> tuple[str, Troubled | None]:
        """STARTTLS, the handshake, and EHLO anew (RFC 3207 section 4.2)."""
        connection.write(connection.client.starttls())
        answer = await self._reply(connection, candidate)
        if isinstance(answer, Troubled):
            return "", answer
        if answer.code != 220:
            text = f"{candidate.host} refused STARTTLS: {answer}"
            if may_clear and not connection.client.closing:
                self._failed(candidate, Result.NO_STARTTLS, text)
                return "", None
            return "", self._untrusted(candidate, Own.TLS_FAILED, text, Result.NO_STARTTLS)
        dane = self._hosts[candidate.host].dane
        done = await self._handshake.shake(connection, candidate.host, candidate.address, way, dane)
        if isinstance(done, Unsecured) and done.identity:
            text = f"the certificate of {candidate.host} does not satisfy {self._asked[candidate.host].policy}: {done.why}"
            return "", self._untrusted(candidate, Own.TLS_UNTRUSTED, text, done.result, done.why)
        if isinstance(done, Unsecured):
            text = f"the TLS handshake with {candidate.host} failed: {done.why}"
            return "", self._untrusted(candidate, Own.TLS_FAILED, text, done.result)
        trouble = await self._hello(connection, candidate)
        if trouble is not None and _rule(trouble) == Own.LOST.value:
            # TLS 1.3: a server that does not like our handshake may say so, or leave, only when ours is done.
            text = f"{candidate.host} left after the TLS handshake: {connection.why}"
            trouble = self._untrusted(candidate, Own.TLS_FAILED, text, Result.VALIDATION)
        return done.cipher, trouble

    async def _reply(self, connection: Connection, candidate: Candidate) -> Reply | Troubled:
        """The reply to what was said last."""
        match await connection.event():
            case Answered(verb=verb, reply=reply):
                assert verb is not Verb.QUIT
                return reply
            case Gone(late=late, phase=phase, what=what):
                why = Own.TIMEOUT if late else Own.LOST
                return Troubled(own(why, f"{candidate.host} [{candidate.address}]: {what}", phase), candidate.host)
            case Violation(what=what):
                return Troubled(own(Own.PROTOCOL, f"{candidate.host}: {what}", connection.phase), candidate.host)
            case event:
                return Troubled(own(Own.PROTOCOL, f"{candidate.host}: {event}", connection.phase), candidate.host)

    def _judged(self, reply: Reply, candidate: Candidate, phase: Phase) -> Troubled:
        """The receiver does not want to speak with us."""
        outcome = judged(reply, self._lane.provider, phase)
        return Troubled(outcome, candidate.host, onward=not concerns_pace(outcome))


def _rule(trouble: Troubled) -> str:
    """The name of the rule that made `trouble`."""
    return "" if isinstance(trouble.outcome, Delivered) else trouble.outcome.verdict.rule


def _said(error: BaseException) -> str:
    """An error in words, short."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        # The loop puts its own words there ("Connect call failed"), the system's say why; OpenSSL counts its errors in its own way.
        return (error.strerror if isinstance(error, ssl.SSLError) else os.strerror(error.errno))[:200]
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
