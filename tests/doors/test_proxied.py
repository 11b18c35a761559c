"""Behind a load balancer: whose word about the client counts, and what becomes of every other."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import uvloop

from config.submission import Account, Limits, Listener, ListenerTls
from tests.doors.house import PASSWORD, PASSWORD_HASH, House, Peer, opened, settings_of, trusting, until, write_certificate

Runner = Callable[[Coroutine[Any, Any, None]], None]
BOTH_LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
VERSION_1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n"
VERSION_2 = bytes.fromhex("0d0a0d0a000d0a515549540a2111000cc0000207c633640130390019")
LOCAL = bytes.fromhex("0d0a0d0a000d0a515549540a20000000")
MESSAGE = b"From: a@example.com\r\n\r\ntext\r\n.\r\n"
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


def behind(**more: Any) -> Listener:
    """A listener whose balancer is 127.0.0.1, and whose clients are trusted at home."""
    return Listener.model_validate(
        {"address": "127.0.0.1:0", "proxy_networks": ["127.0.0.1/32"], "trusted_networks": ["127.0.0.0/8", "192.0.2.0/24"], **more}
    )


async def call(house: House, opening: bytes, address: str = "127.0.0.1") -> Peer:
    peer = await house.connect(greet=False, address=address)
    peer.send(opening)
    return peer


async def deliver(peer: Peer) -> str:
    """EHLO and one message, as one client does; the last reply."""
    assert (await peer.say("EHLO client.example\n")).startswith("250")
    peer.send(ENVELOPE)
    assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    return await peer.say(MESSAGE)


@BOTH_LOOPS
@pytest.mark.parametrize("header", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_the_client_that_a_proxy_names_is_the_one_that_counts(run: Runner, header: bytes) -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            whole = await call(house, header)
            assert (await whole.reply()).startswith("220")
            assert (await deliver(whole)).startswith("250")
            slowly = await call(house, b"")
            for octet in header:
                slowly.send(bytes([octet]))
                await slowly.writer.drain()
                await asyncio.sleep(0)
            assert (await slowly.reply()).startswith("220")
            assert (await deliver(slowly)).startswith("250")
            early = await call(house, header + b"EHLO client.example\r\n" + ENVELOPE)
            assert [(await early.reply())[:3] for _ in range(5)] == ["220", "250", "250", "250", "354"]
            assert (await early.say(MESSAGE)).startswith("250")
            assert [taken.message.client for taken in house.core.taken] == ["192.0.2.7"] * 3

    run(story())


@BOTH_LOOPS
def test_others_speak_for_themselves_and_are_not_believed(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            plain = await house.connect(address="127.0.0.2")
            assert (await deliver(plain)).startswith("250")
            assert house.core.taken[0].message.client == "127.0.0.2"
            for header, answers in ((VERSION_1, ["220", "421"]), (VERSION_2, ["220", "500", "500", "421"])):
                liar = await call(house, header, address="127.0.0.2")
                assert [(await liar.reply())[:3] for _ in answers] == answers
                assert await liar.ended()
            assert house.notebook.of("refused")[-1] == ("default", "", "proxy-unexpected", 421)

    run(story())


def test_a_proxy_that_no_configuration_names_is_told_and_cut() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await call(house, VERSION_1)
            assert [(await peer.reply())[:3] for _ in range(2)] == ["220", "421"]
            assert house.notebook.of("refused") == [("default", "", "proxy-unexpected", 421)]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (b"EHLO client.example\r\n", "proxy-malformed"),
        (b"PROXY TCP4 192.0.2.7\r\n", "proxy-malformed"),
        (b"PROXY TCP4 " + b"1" * 200, "proxy-too-long"),
        (VERSION_2[:14] + b"\xff\xff", "proxy-too-long"),
        (b"\x16\x03\x01", "proxy-malformed"),
        (VERSION_2[:14] + b"\x00\x13" + VERSION_2[16:] + b"\x03\x00\x04abcd", "proxy-checksum"),
    ],
)
@BOTH_LOOPS
def test_a_proxy_that_sends_no_proper_header_is_cut_without_a_word_and_counted(run: Runner, opening: bytes, reason: str) -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            peer = await call(house, opening)
            assert await peer.ended()
            assert house.notebook.of("cut") == [("", reason)]
            assert house.door.open_connections == 0
            assert house.notebook.of("connected") == []

    run(story())


@BOTH_LOOPS
def test_a_header_has_its_time(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of(behind(limits={"proxy_timeout": 7}))) as house:
            silent, begun = await call(house, b""), await call(house, b"PROXY ")
            await until(lambda: house.door.open_connections == 2)
            house.sweep(6)
            assert house.notebook.of("cut") == []
            house.sweep(8)
            assert house.notebook.of("cut") == [("", "proxy-timeout")] * 2
            assert await silent.ended()
            assert await begun.ended()
            assert house.door.open_connections == 0

    run(story())


@BOTH_LOOPS
def test_a_health_check_without_an_octet_is_no_event_and_half_a_header_is_one(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            silent = await call(house, b"")
            await until(lambda: house.door.open_connections == 1)
            silent.writer.close()
            await until(lambda: house.door.open_connections == 0)
            assert house.notebook.of("cut") == []
            half = await call(house, b"PROXY TCP4")
            half.writer.close()
            await until(lambda: house.notebook.of("cut") == [("", "proxy-incomplete")])

    run(story())


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_a_header_that_names_nobody_makes_nobody_trusted(header: bytes) -> None:
    async def story() -> None:
        account = Account(name="default", networks=["127.0.0.1/32"])
        async with opened(settings_of(behind(), [account])) as house:
            peer = await call(house, header)
            assert (await peer.reply()).startswith("220")
            assert (await peer.say("EHLO client.example\n")).startswith("250")
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("530 5.7.0")

    asyncio.run(story())


def test_a_header_cannot_claim_the_address_of_the_proxy_to_be_trusted() -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            peer = await call(house, b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n")
            assert (await peer.reply()).startswith("220")
            assert (await peer.say("EHLO client.example\n")).startswith("250")
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("530 5.7.0")

    asyncio.run(story())


@BOTH_LOOPS
def test_connections_are_bounded_by_the_client_and_with_those_that_wait(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of(behind(limits=Limits(connections=3, connections_per_ip=1)))) as house:
            first = await call(house, VERSION_1)
            assert (await first.reply()).startswith("220")
            second = await call(house, VERSION_2)
            assert (await second.reply()).startswith("421 4.7.0")
            other = await call(house, VERSION_1.replace(b"192.0.2.7", b"192.0.2.8"))
            assert (await other.reply()).startswith("220")
            waiting = await call(house, b"")
            await until(lambda: house.door.open_connections == 3)
            crowded = await call(house, VERSION_1.replace(b"192.0.2.7", b"192.0.2.9"))
            assert await crowded.ended()
            assert house.notebook.of("refused")[-1] == ("", "connect", "connections", 421)
            waiting.writer.close()
            await until(lambda: house.door.open_connections == 2)

    run(story())


@BOTH_LOOPS
def test_a_stop_cuts_who_has_not_begun(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of(behind())) as house:
            peer = await call(house, b"PROXY ")
            await until(lambda: house.door.open_connections == 1)
            await house.door.close(0)
            assert await peer.ended()

    run(story())


def tls_behind(folder: Path, tls: ListenerTls) -> Listener:
    certificate, key = write_certificate(folder, "localhost")
    return behind(tls=tls, certificate=certificate, key=key, trusted_networks=[])


@BOTH_LOOPS
@pytest.mark.parametrize("together", [True, False], ids=["in one write", "apart"])
def test_implicit_tls_begins_behind_the_header(run: Runner, together: bool, tmp_path: Path) -> None:
    def by_hand(port: int) -> bytes:
        """A TLS client over memory, so that header and ClientHello can leave in one write."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            pending = VERSION_2
            if not together:
                connection.sendall(pending)
                pending = b""
            while True:
                try:
                    tls.do_handshake()
                    return tls.read(1000)
                except ssl.SSLWantReadError:
                    connection.sendall(pending + outgoing.read())
                    pending = b""
                    incoming.write(connection.recv(65_536))

    async def story() -> None:
        async with opened(settings_of(tls_behind(tmp_path, ListenerTls.IMPLICIT))) as house:
            assert (await asyncio.to_thread(by_hand, house.port)).startswith(b"220 ")
            assert house.notebook.of("cut") == []

    run(story())


@pytest.mark.parametrize("tls", [ListenerTls.NONE, ListenerTls.STARTTLS, ListenerTls.IMPLICIT])
def test_aiosmtplib_sends_through_a_proxy(tls: ListenerTls, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(
            settings_of(
                behind() if tls is ListenerTls.NONE else tls_behind(tmp_path, tls), [Account(name="default", password=PASSWORD_HASH)]
            )
        ) as house:
            connection = socket.create_connection(("127.0.0.1", house.port))
            connection.sendall(VERSION_1)
            secret = None if tls is ListenerTls.NONE else PASSWORD
            client = aiosmtplib.SMTP(
                hostname="localhost",
                port=None,
                sock=connection,
                use_tls=tls is ListenerTls.IMPLICIT,
                start_tls=tls is ListenerTls.STARTTLS,
                tls_context=None if tls is ListenerTls.NONE else trusting(),
                username=None if secret is None else "default",
                password=secret,
            )
            async with client:
                await client.sendmail("a@example.com", ["b@example.net"], MESSAGE[:-3].decode())
            (taken,) = house.core.taken
            assert (taken.message.client, taken.message.protocol) == ("192.0.2.7", "ESMTP" if tls is ListenerTls.NONE else "ESMTPSA")

    asyncio.run(story())


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend mail
    bind 127.0.0.1:{front}
    default_backend gateway
backend gateway
    source 127.0.0.1
    server one 127.0.0.1:{back} {send} check inter 100
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_names_its_clients(send: str, tmp_path: Path) -> None:
    async def story() -> None:
        listener = behind(trusted_networks=["127.0.0.5/32"])
        async with opened(settings_of(listener)) as house:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                front = probe.getsockname()[1]
            (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(front=front, back=house.port, send=send))
            haproxy = await asyncio.to_thread(subprocess.Popen, ["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")])
            try:
                peer = await arriving(front)
                assert (await deliver(peer)).startswith("250")
                assert house.core.taken[0].message.client == "127.0.0.5"
                await until(lambda: len(house.notebook.of("left")) >= 2)  # health checks come and go
                assert house.notebook.of("cut") == []
            finally:
                haproxy.kill()
                haproxy.wait()

    asyncio.run(story())


async def arriving(port: int) -> Peer:
    """A greeted client of the balancer, once that is up."""
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.5", 0))
            peer = Peer(reader, writer)
            if (await peer.reply()).startswith("220"):
                return peer
        except OSError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("haproxy does not pass clients on")
