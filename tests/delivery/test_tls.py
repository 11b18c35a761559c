"""TLS towards the next hop: taken when offered, fallen back from when broken, insisted on when required. On asyncio and on uvloop."""

import asyncio
import ssl

import pytest
import uvloop

from config.sending import RouteTls
from mail.outcome import Category, Fault
from sandbox.certificate import server_context
from tests.delivery.stage import Core, Peer, assignment, network, route_to, session

LOOPS = [asyncio.run, uvloop.run]
OFFERS = ("PIPELINING", "STARTTLS", "SIZE")


class TlsPeer(asyncio.Protocol):
    """Speaks enough SMTP to take one message, under TLS after STARTTLS. `broken` spoils the handshake; `injected` follows the 220."""

    def __init__(self, context: ssl.SSLContext, log: list[str], broken: bool, injected: bytes) -> None:
        self.context, self.log, self.broken, self.injected = context, log, broken, injected
        self.buffer, self.data, self.secure, self.upgrading = b"", False, False, False

    def connection_made(self, transport) -> None:
        self.transport = transport
        if not self.secure:
            self.log.append("connected")
            transport.write(b"220 peer.example\r\n")

    def data_received(self, data: bytes) -> None:
        if self.upgrading:
            self.transport.write(b"no TLS here\r\n")
            self.transport.close()
            return
        self.buffer += data
        while b"\r\n" in self.buffer:
            if self.data:
                _, end, rest = self.buffer.partition(b"\r\n.\r\n")
                if not end:
                    return
                self.buffer, self.data = rest, False
                self.log.append("message" + (" under TLS" if self.secure else ""))
                self.transport.write(b"250 taken\r\n")
                continue
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            self.command(line.decode())

    def command(self, line: str) -> None:
        verb = line.split()[0]
        self.log.append(verb)
        if verb == "EHLO":
            self.transport.write(b"250-peer.example\r\n" + (b"" if self.secure else b"250-STARTTLS\r\n") + b"250 PIPELINING\r\n")
        elif verb == "STARTTLS":
            self.transport.write(b"220 go\r\n" + self.injected)
            if self.broken:
                self.upgrading = True
            else:
                self.task = asyncio.get_running_loop().create_task(self.upgrade())
        elif verb == "DATA":
            self.data = True
            self.transport.write(b"354 go\r\n")
        elif verb == "QUIT":
            self.transport.close()
        else:
            self.transport.write(b"250 ok\r\n")

    async def upgrade(self) -> None:
        self.secure = True
        try:
            self.transport = await asyncio.get_running_loop().start_tls(self.transport, self, self.context, server_side=True)
        except (OSError, ConnectionError):
            self.log.append("handshake failed")


def play(run, tls: RouteTls, *, broken: bool = False, injected: bytes = b"", times: int = 1, net=None):
    async def stage():
        log: list[str] = []
        context = server_context(["somebody.else.example"])
        server = await asyncio.get_running_loop().create_server(lambda: TlsPeer(context, log, broken, injected), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        shared = net or network()
        for _ in range(times):
            core = Core([assignment(1), assignment(2)])
            await asyncio.wait_for(session(core, route_to(port, tls=tls), net=shared, dot_timeout=5, command_timeout=5), 10)
        server.close()
        return core, log

    return run(stage())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("tls", [RouteTls.OPPORTUNISTIC, RouteTls.REQUIRED])
def test_tls_is_used_when_offered_with_any_certificate(run, tls: RouteTls) -> None:
    core, log = play(run, tls)
    assert core.outcome(1) == core.outcome(2) == "delivered"
    assert core.settlement(1).facts.tls.startswith("TLSv1.3 TLS_")
    assert log[:4] == ["connected", "EHLO", "STARTTLS", "EHLO"]
    assert "message under TLS" in log


@pytest.mark.parametrize("run", LOOPS)
def test_no_tls_means_none(run) -> None:
    core, log = play(run, RouteTls.NONE)
    assert core.settlement(1).facts.tls == ""
    assert "STARTTLS" not in log


@pytest.mark.parametrize("run", LOOPS)
def test_a_broken_handshake_is_fallen_back_from_and_remembered(run) -> None:
    net = network()
    core, log = play(run, RouteTls.OPPORTUNISTIC, broken=True, times=2, net=net)
    assert core.outcome(1) == "delivered"
    assert log.count("connected") == 3
    assert log.count("STARTTLS") == 1
    assert net.broken_tls.holds("peer.example")


@pytest.mark.parametrize("run", LOOPS)
def test_a_broken_handshake_is_trouble_where_tls_is_required(run) -> None:
    core, log = play(run, RouteTls.REQUIRED, broken=True)
    assert (core.trouble.category, core.trouble.fault) == (Category.TLS, Fault.RECEIVER)
    assert "MAIL" not in log


@pytest.mark.parametrize("run", LOOPS)
def test_bytes_injected_behind_the_220_are_never_taken_for_replies(run) -> None:
    core, _ = play(run, RouteTls.REQUIRED, injected=b"250-peer.example\r\n250 AUTH PLAIN\r\n")
    assert core.asked == []
    assert core.trouble.category is Category.PROTOCOL


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    ("tls", "features", "delivered"),
    [
        (RouteTls.OPPORTUNISTIC, ("PIPELINING",), True),
        (RouteTls.REQUIRED, ("PIPELINING",), False),
        (RouteTls.OPPORTUNISTIC, OFFERS, True),
        (RouteTls.REQUIRED, OFFERS, False),
    ],
)
def test_starttls_not_offered_or_refused_is_trouble_only_where_tls_is_required(run, tls: RouteTls, features, delivered: bool) -> None:
    async def stage() -> None:
        core = Core([assignment(1)])
        async with Peer(features, starttls=b"454 4.7.0 not now\r\n") as peer:
            await asyncio.wait_for(session(core, route_to(peer.port, tls=tls)), 10)
            assert peer.connections == 1
        if delivered:
            assert core.outcome(1) == "delivered"
        else:
            assert core.trouble.category is Category.TLS

    run(stage())
