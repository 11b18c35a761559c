"""From a route to a connection that can take MAIL: which host and address, from which source address, greeting, EHLO and TLS.

MX hosts are tried in order of preference, by chance among equals; the next address is tried when one cannot be reached, is late, or does
not want to speak, `MOST_TRIES` in all. A rate or reputation reply before MAIL is not answered by knocking at the next door: the lane has
to know first. TLS is opportunistic, required or none: opportunistic takes any certificate and falls back to the clear, on a new
connection when the handshake failed.

Returns `Opened` or `Troubled`; raises nothing but cancellation, and leaves no socket behind then.
"""

import asyncio
import errno
import os
import socket
import ssl
from typing import Final

import msgspec

from config.sending import Provider, RouteTls, Sending, Source
from gateway.calls import Lane
from gateway.delivery.attempt import Own, concerns_pace, judged, own
from gateway.delivery.connection import Connection, Gone, time_limits
from gateway.delivery.network import Network, Signal
from gateway.delivery.route import Host, Route
from gateway.smtp.client import Answered, Verb, Violation
from mail.outcome import Delivered, Outcome, Phase
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


class Troubled(msgspec.Struct, frozen=True, gc=False):
    """No connection. The last trouble tells why; `onward` is whether another address may be tried."""

    outcome: Outcome
    host: str = ""
    onward: bool = True


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

    async def open(self) -> Opened | Troubled:
        """The first connection that can be made."""
        text = f"source {self._source.name} has no address of the family that {self._route.key} needs"
        trouble = Troubled(own(Own.NO_FAMILY, text, Phase.CONNECT))
        for candidate in candidates(self._route.hosts, self._source, self._network):
            result = await self._try(candidate, self._wants_tls(candidate))
            if isinstance(result, Troubled) and _rule(result) == Own.TLS_FAILED.value and self._route.tls is RouteTls.OPPORTUNISTIC:
                self._network.broken_tls.note(candidate.host)
                result = await self._try(candidate, tls=False)
            if isinstance(result, Opened):
                return result
            trouble = result
            if not trouble.onward:
                break
        return trouble

    def _wants_tls(self, candidate: Candidate) -> bool:
        match self._route.tls:
            case RouteTls.NONE:
                return False
            case RouteTls.REQUIRED:
                return True
            case RouteTls.OPPORTUNISTIC:
                return not self._network.broken_tls.holds(candidate.host)

    async def _try(self, candidate: Candidate, tls: bool) -> Opened | Troubled:
        """One address: connect and talk until MAIL can be said. A connection that came to nothing is closed."""
        connection = await self._connect(candidate)
        if isinstance(connection, Troubled):
            return connection
        try:
            result = await self._introduce(connection, candidate, tls)
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

    async def _introduce(self, connection: Connection, candidate: Candidate, tls: bool) -> Opened | Troubled:
        """Greeting, EHLO, STARTTLS and EHLO again."""
        greeting = await self._reply(connection, candidate)
        if isinstance(greeting, Troubled):
            return greeting
        if greeting.code != 220:
            return self._judged(greeting, candidate, Phase.BANNER)
        trouble = await self._hello(connection, candidate)
        cipher = ""
        if trouble is None and tls:
            if connection.client.capabilities.starttls:
                trouble, cipher = await self._secure(connection, candidate)
            elif self._route.tls is RouteTls.REQUIRED:
                trouble = Troubled(own(Own.TLS_MISSING, f"{candidate.host} does not offer STARTTLS", Phase.STARTTLS), candidate.host)
        if trouble is not None:
            return trouble
        shown = f"[{candidate.address}]" if ":" in candidate.address else candidate.address
        return Opened(connection, candidate.host, f"{shown}:{self._route.port}", cipher)

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

    async def _secure(self, connection: Connection, candidate: Candidate) -> tuple[Troubled | None, str]:
        """STARTTLS, the handshake, and EHLO anew (RFC 3207 section 4.2). Returns trouble, or the protocol and cipher."""
        connection.write(connection.client.starttls())
        answer = await self._reply(connection, candidate)
        if isinstance(answer, Troubled):
            return answer, ""
        if answer.code != 220:
            if self._route.tls is RouteTls.OPPORTUNISTIC and not connection.client.closing:
                return None, ""
            text = f"{candidate.host} refused STARTTLS: {answer}"
            return Troubled(own(Own.TLS_FAILED, text, Phase.STARTTLS), candidate.host), ""
        cipher = await self._handshake(connection, candidate)
        if cipher is None or connection.over:
            text = f"the TLS handshake with {candidate.host} failed: {connection.why or 'closed'}"
            return Troubled(own(Own.TLS_FAILED, text, Phase.STARTTLS), candidate.host), ""
        trouble = await self._hello(connection, candidate)
        if trouble is not None and _rule(trouble) == Own.LOST.value:
            # TLS 1.3: a server that does not like our handshake may say so, or leave, only when ours is done.
            text = f"{candidate.host} left after the TLS handshake: {connection.why}"
            trouble = Troubled(own(Own.TLS_FAILED, text, Phase.STARTTLS), candidate.host)
        return trouble, cipher

    async def _handshake(self, connection: Connection, candidate: Candidate) -> str | None:
        """Change to TLS. None: it failed, and `connection.why` says how."""
        plain = connection.transport
        if plain is None:
            return None
        # SNI is a host name (RFC 6066 section 3): none for an address.
        name = None if candidate.host == candidate.address else candidate.host
        try:
            async with asyncio.timeout(self._sending.command_timeout):
                secure = await asyncio.get_running_loop().start_tls(plain, connection, self._network.tls, server_hostname=name)
        except (OSError, ValueError, RuntimeError, TypeError, EOFError) as error:  # ssl.SSLError is an OSError
            connection.why = _said(error)
            plain.abort()
            connection.give_up()  # a transport that dies in the handshake may not say so
            return None
        if secure is None:
            connection.why = "closed"
            return None
        connection.upgraded(secure)
        tls: ssl.SSLObject | None = secure.get_extra_info("ssl_object")
        cipher = tls.cipher() if tls is not None else None
        return f"{tls.version()} {cipher[0]}" if tls is not None and cipher is not None else "TLS"

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
