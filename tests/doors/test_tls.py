"""TLS through memory: a client in the test's own hands, whose records come whole, octet by octet, cut, spoilt, or together with the end."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from config.submission import Listener, ListenerTls
from gateway.doors import tls
from gateway.doors.certificates import Certificates
from tests.doors.house import House, opened, settings_of, trusting, until, write_certificate

Runner = Callable[[Coroutine[Any, Any, None]], None]
BOTH_LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


class Hand:
    """A TLS client over memory: what leaves, and in which pieces, is the test's to say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self.reader, self.writer = reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.plain = b""

    async def receive(self) -> bool:
        """Take what comes; False at the end."""
        data = await asyncio.wait_for(self.reader.read(65_536), 10)
        self.incoming.write(data)
        return bool(data)

    async def handshake(self, each: int = 100_000) -> None:
        """All of it but the last flight, which is left in `outgoing`."""
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self.leave(self.outgoing.read(), each)
                assert await self.receive()

    async def leave(self, octets: bytes, each: int = 100_000) -> None:
        for start in range(0, len(octets), each):
            self.writer.write(octets[start : start + each])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def say(self, text: bytes, each: int = 100_000) -> None:
        """Encrypt and send, with what has not left yet."""
        if text:
            self.tls.write(text)
        await self.leave(self.outgoing.read(), each)

    async def until(self, words: bytes) -> None:
        """Read until the server has said this."""
        while words not in self.plain:
            try:
                self.plain += self.tls.read(65_536)
            except ssl.SSLWantReadError:
                assert await self.receive(), self.plain
        self.plain = self.plain.partition(words)[2]

    async def ended(self) -> bool:
        """Whether the server closes."""
        with contextlib.suppress(ConnectionError):
            while await self.receive():
                pass
        return True


def implicit(folder: Path) -> Listener:
    certificate, key = write_certificate(folder, "localhost")
    return Listener(address="127.0.0.1:0", tls=ListenerTls.IMPLICIT, certificate=certificate, key=key)


async def arrive(house: House, context: ssl.SSLContext | None = None) -> Hand:
    return Hand(*await asyncio.open_connection("127.0.0.1", house.port), context or trusting())


@BOTH_LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("each", [1, 7, 100_000])
def test_records_come_in_any_pieces(run: Runner, version: ssl.TLSVersion, each: int, tmp_path: Path) -> None:
    context = trusting()
    context.maximum_version = version

    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            hand = await arrive(house, context)
            await hand.handshake(each)
            await hand.say(b"EHLO client.example\r\n" + ENVELOPE, each)
            await hand.until(b"354 ")
            await hand.say(b"From: a@example.com\r\n\r\ntext\r\n.\r\n", each)
            await hand.until(b"250 2.0.0 queued")
            assert house.core.taken[0].message.protocol == "ESMTPS"

    run(story())


@BOTH_LOOPS
def test_a_large_message_arrives_whole(run: Runner, tmp_path: Path) -> None:
    body = b"".join(b"%070d\r\n" % number for number in range(30_000))

    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            hand = await arrive(house)
            await hand.handshake()
            await hand.say(b"EHLO client.example\r\n" + ENVELOPE)
            await hand.until(b"354 ")
            await hand.say(b"From: a@example.com\r\n\r\n" + body + b".\r\n")
            await hand.until(b"250 2.0.0 queued")
            assert house.core.taken[0].content.endswith(body)

    run(story())


@BOTH_LOOPS
def test_the_end_together_with_the_last_flight_leaves_nothing_behind(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            for spoken in (b"", b"EHLO client.example\r\n", ENVELOPE):
                hand = await arrive(house)
                await hand.handshake()
                await hand.say(spoken)
                hand.writer.write_eof()
                assert await hand.ended()
            for _ in range(3):
                hand = await arrive(house)
                await hand.handshake()
                await hand.say(b"")
                hand.writer.transport.abort()
            await until(lambda: house.door.open_connections == 0 and not house.door.connections)
            assert house.notebook.of("trouble") == []

    run(story())


@BOTH_LOOPS
@pytest.mark.parametrize("opening", [b"EHLO x\r\n", b"\x16\x03\x01\x00\x05hello", b""], ids=["SMTP", "garbage", "nothing"])
def test_a_handshake_that_fails_is_told_and_leaves_nothing_behind(run: Runner, opening: bytes, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            hand = await arrive(house)
            hand.writer.write(opening)
            hand.writer.write_eof()
            assert await hand.ended()
            await until(lambda: house.door.open_connections == 0)
            ((account, reason),) = house.notebook.of("cut")
            assert (account, str(reason)[:5]) == ("default", "tls: ")

    run(story())


@BOTH_LOOPS
def test_clients_that_vanish_at_once_leave_nothing_behind(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            for number in range(60):
                peer = await house.connect(greet=False)
                if number % 2:
                    peer.send(b"\x16\x03\x01")
                if number % 3:
                    await asyncio.sleep(0)
                peer.reset()
            await until(lambda: house.door.open_connections == 0 and not house.door.connections)
            assert house.notebook.of("trouble") == []
            later = await arrive(house)
            await later.handshake()
            await later.say(b"EHLO client.example\r\n")
            await later.until(b"250 ")

    run(story())


@BOTH_LOOPS
def test_a_spoilt_record_cuts_the_connection(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            hand = await arrive(house)
            await hand.handshake()
            await hand.say(b"EHLO client.example\r\n")
            await hand.until(b"250 ")
            hand.tls.write(ENVELOPE)
            record = bytearray(hand.outgoing.read())
            record[-1] ^= 1
            hand.writer.write(bytes(record))
            assert await hand.ended()
            await until(lambda: house.door.open_connections == 0)

    run(story())


@BOTH_LOOPS
def test_close_notify_after_the_final_dot_does_not_undo_the_commit(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            house.core.gate = asyncio.Event()
            hand = await arrive(house)
            await hand.handshake()
            await hand.say(b"EHLO client.example\r\n" + ENVELOPE)
            await hand.until(b"354 ")
            await hand.say(b"From: a@example.com\r\n\r\ntext\r\n.\r\n")
            await house.core.asked.wait()
            with contextlib.suppress(ssl.SSLWantReadError):
                hand.tls.unwrap()
            await hand.say(b"")
            house.core.gate.set()
            await until(lambda: bool(house.core.taken))
            await until(lambda: house.door.open_connections == 0)

    run(story())


@BOTH_LOOPS
def test_quit_ends_with_close_notify(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(implicit(tmp_path))) as house:
            hand = await arrive(house)
            await hand.handshake()
            await hand.say(b"QUIT\r\n")
            await hand.until(b"221 ")
            assert await hand.ended()
            while hand.tls.read(1000):  # the rest of the line; b"" is close_notify, an end without it would raise
                pass

    run(story())


class Echo(asyncio.Protocol):
    """Says everything back, and never asks whether the client takes it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.choked = asyncio.Event()
        self.most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.plain = cast(asyncio.Transport, transport)
        self.plain.pause_reading()
        self.beginning = asyncio.ensure_future(self.begin())

    async def begin(self) -> None:
        self.transport = await tls.begin(self.plain, self, self.context, 10.0, lambda: b"")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.most = max(self.most, self.plain.get_write_buffer_size())

    def pause_writing(self) -> None:
        self.choked.set()


@BOTH_LOOPS
def test_a_client_that_takes_nothing_is_not_read_whatever_the_protocol_does(run: Runner, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "localhost")
    size = 20_000_000

    async def story() -> None:
        made: list[Echo] = []

        def echo() -> Echo:
            made.append(Echo(Certificates(certificate, key).context()))
            return made[-1]

        async with await asyncio.get_running_loop().create_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            hand = Hand(*await asyncio.open_connection("127.0.0.1", port), trusting())
            await hand.handshake()
            hand.tls.write(bytes(size))
            hand.writer.write(hand.outgoing.read())
            await asyncio.wait_for(made[0].choked.wait(), 10)
            for _ in range(300):  # turns in which all of it would be read, if anything were
                await asyncio.sleep(0)
            back = 0
            while back < size:
                try:
                    back += len(hand.tls.read(65_536))
                except ssl.SSLWantReadError:
                    assert await hand.receive()
            hand.writer.transport.abort()
            assert made[0].most < 2_000_000

    run(story())
