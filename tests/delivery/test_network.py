"""What connections share: signals, the sweeper, and what hosts taught us."""

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.sending import Sending
from gateway.delivery.connection import MOST_UNSENT, Connection, time_limits
from gateway.delivery.network import MOST_HOSTS, HostMemory, Signal, Sweeper, verifying_context
from sandbox.certificate import Chain


class Timed:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.flooded = False
        self.expired = 0
        self.done = asyncio.Event()

    def expire(self) -> None:
        self.expired += 1
        self.done.set()


def test_a_signal_set_before_the_wait_is_not_lost_and_wakes_once() -> None:
    async def play() -> None:
        signal = Signal()
        signal.set()
        signal.set()
        await signal.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await signal.wait()
        waiting = asyncio.create_task(signal.wait())
        await asyncio.sleep(0)
        signal.set()
        await waiting

    asyncio.run(play())


def test_a_cancelled_wait_keeps_the_signal_for_the_next() -> None:
    async def play() -> None:
        signal = Signal()
        waiting = asyncio.create_task(signal.wait())
        await asyncio.sleep(0)
        signal.set()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1):
            await signal.wait()

    asyncio.run(play())


def test_the_sweeper_calls_what_is_over_once_and_its_timer_ends_with_the_last() -> None:
    async def play() -> None:
        sweeper = Sweeper(0.005)
        now = asyncio.get_running_loop().time()
        soon, late = Timed(now + 0.01), Timed(now + 1000)
        sweeper.watch(soon)
        sweeper.watch(late)
        await asyncio.wait_for(soon.done.wait(), 2)
        await asyncio.sleep(0.02)
        assert (soon.expired, late.expired) == (1, 0)
        sweeper.forget(soon)
        sweeper.forget(late)
        assert sweeper.watched == 0
        assert sweeper._timer is None

    asyncio.run(play())


def test_a_peer_that_takes_nothing_of_more_than_we_ever_say_is_late_at_once() -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

        class Deaf(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(cast(asyncio.Transport, transport))
                accepted.result().pause_reading()

        server = await loop.create_server(Deaf, "127.0.0.1", 0)
        signal, sweeper = Signal(), Sweeper(0.01)
        _, connection = await loop.create_connection(
            lambda: Connection(signal, sweeper, time_limits(Sending()), 60.0), *server.sockets[0].getsockname()
        )
        await accepted
        connection.write(bytes(20 * MOST_UNSENT))
        async with asyncio.timeout(5):
            while not connection.late:
                await signal.wait()
        connection.close()
        async with asyncio.timeout(5):
            await connection.gone()
        accepted.result().abort()
        server.close()
        assert sweeper.watched == 0

    asyncio.run(play())


def test_hosts_are_remembered_for_their_time_and_within_a_bound() -> None:
    now = [0.0]
    memory = HostMemory(100.0, lambda: now[0])
    memory.note("a.example")
    assert memory.holds("a.example")
    assert not memory.holds("b.example")
    now[0] = 101.0
    assert not memory.holds("a.example")
    assert len(memory) == 0
    for number in range(MOST_HOSTS + 10):
        memory.note(f"h{number}")
    assert len(memory) == MOST_HOSTS
    assert not memory.holds("h0")


def signed_by_itself(*alternative: str) -> Chain:
    """A certificate whose common name is mx.example.com, with these DNS names."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in alternative]), critical=False)
    return Chain(builder.sign(key, hashes.SHA256()), key, [])


@pytest.mark.parametrize(("alternative", "valid"), [(["mx.example.com"], True), (["*.example.com"], True), ([], False)])
def test_a_certificate_is_for_the_names_among_its_alternatives_never_for_its_common_name(
    alternative: list[str], valid: bool, tmp_path: Path
) -> None:
    chain = signed_by_itself(*alternative)
    (tmp_path / "authorities.pem").write_bytes(chain.pem)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = verifying_context(tmp_path / "authorities.pem").wrap_bio(back, there, server_hostname="mx.example.com")
    server = chain.context().wrap_bio(there, back, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    if valid:
        client.do_handshake()
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.do_handshake()
