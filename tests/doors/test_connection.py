"""The glue on real sockets, under asyncio and uvloop: times, limits, half closes, floods, TLS, and the end of the day."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from config.settings import Gateway, Settings
from config.submission import Account, Limits, Listener, ListenerTls
from gateway.doors import submission
from gateway.doors.certificates import problems
from gateway.doors.connection import READ_AHEAD
from tests.doors.house import House, Peer, opened, settings_of, trusting, until, write_certificate

Runner = Callable[[Coroutine[Any, Any, None]], None]
BOTH_LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
ENVELOPE = "MAIL FROM:<a@example.com>\nRCPT TO:<b@example.net>\nDATA\n"
MESSAGE = "From: a@example.com\n\ntext\n"


def limited(**limits: object) -> Settings:
    return settings_of(Listener(address="127.0.0.1:0", limits=Limits.model_validate(limits)))


async def in_message(house: House) -> Peer:
    """A client in the middle of DATA."""
    peer = await house.connect()
    peer.send(ENVELOPE)
    assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    return peer


@BOTH_LOOPS
def test_a_half_close_after_the_final_dot_is_committed_and_answered(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            house.core.gate = asyncio.Event()
            peer = await in_message(house)
            peer.send(MESSAGE + ".\n")
            peer.writer.write_eof()
            await house.core.asked.wait()
            house.core.gate.set()
            assert (await peer.reply()).startswith("250 2.0.0 queued as ")
            assert await peer.ended()
            assert len(house.core.taken) == 1

    run(story())


@BOTH_LOOPS
def test_a_client_that_vanishes_during_the_commit_does_not_undo_it(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            house.core.gate = asyncio.Event()
            peer = await in_message(house)
            peer.send(MESSAGE + ".\n")
            await house.core.asked.wait()
            peer.reset()
            await until(lambda: bool(house.notebook.of("left")))
            house.core.gate.set()
            await until(lambda: bool(house.core.taken))
            assert house.door.open_connections == 0
            assert house.door.budget.used == 0
            await until(lambda: not house.door.connections)

    run(story())


@BOTH_LOOPS
def test_a_message_cut_in_the_middle_never_reaches_the_core(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await in_message(house)
            peer.send(MESSAGE)
            peer.writer.write_eof()
            assert await peer.ended()
            assert house.core.taken == []
            assert house.notebook.of("cut") == [("default", "left-in-message")]
            assert house.door.budget.used == 0

    run(story())


@pytest.mark.parametrize(("seconds", "reply"), [(299, ""), (301, "421 4.4.2 timed out")], ids=["in time", "late"])
def test_a_command_has_its_time(seconds: float, reply: str) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            peer.send("NOO")
            house.sweep(seconds)
            if reply:
                assert await peer.reply() == reply
                assert await peer.ended()
                assert house.notebook.of("cut") == [("default", "command-timeout")]
            else:
                assert (await peer.say("P\n")).startswith("250")

    asyncio.run(story())


def test_a_message_has_its_time_and_its_least_rate() -> None:
    async def story() -> None:
        async with opened(limited(data_timeout=100, minimum_rate=100)) as house:
            for octets, seconds, reply in (
                (100, 29, None),
                (100, 31, "421 4.4.2 message too slow"),
                (9000, 80, None),
                (20_000, 101, "421 4.4.2 timed out"),
            ):
                peer = await in_message(house)
                peer.send(b"x" * octets)
                wanted = octets - 4
                await until(lambda: house.door.budget.used >= wanted)  # noqa: B023
                house.sweep(seconds)
                if reply is not None:
                    assert await peer.reply() == reply
                    assert await peer.ended()
                else:
                    peer.send("\nFrom: a@example.com\n.\n")
                    assert (await peer.reply()).startswith("550 5.7.1")

    asyncio.run(story())


def test_a_connection_has_a_life_but_no_message_is_cut_for_it() -> None:
    async def story() -> None:
        async with opened(limited(session_timeout=1000, command_timeout=5000)) as house:
            idle = await house.connect()
            busy = await house.connect()
            assert (await busy.say("MAIL FROM:<a@example.com>\n")).startswith("250")
            house.sweep(1001)
            assert await idle.reply() == "421 4.4.2 connection open for too long"
            assert (await busy.say("RSET\n")).startswith("250")
            house.sweep(1001)
            assert (await busy.reply()).startswith("421")

    asyncio.run(story())


def test_no_time_runs_against_the_client_while_we_owe_the_answer() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            house.core.gate = asyncio.Event()
            peer = await in_message(house)
            peer.send(MESSAGE + ".\n")
            await house.core.asked.wait()
            house.sweep(90_000)
            house.core.gate.set()
            assert (await peer.reply()).startswith("250")

    asyncio.run(story())


@BOTH_LOOPS
def test_connections_are_bounded_in_all_by_address_and_by_account(run: Runner) -> None:
    async def story() -> None:
        accounts = [Account(name="default", connections=3), Account(name="other", networks=["127.0.0.9/32"])]
        listener = Listener(address="127.0.0.1:0", limits=Limits(connections=4, connections_per_ip=2))
        async with opened(settings_of(listener, accounts)) as house:
            kept = [await house.connect(address=address) for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
            for address in ("127.0.0.1", "127.0.0.2"):  # two from one address; three of one account
                refused = await house.connect(greet=False, address=address)
                assert await refused.reply() == "421 4.7.0 too many connections"
                assert await refused.ended()
            kept.append(await house.connect(address="127.0.0.9"))
            refused = await house.connect(greet=False, address="127.0.0.9")
            assert (await refused.reply()).startswith("421 4.7.0")
            assert (await kept[0].say("QUIT\n")).startswith("221")
            assert await kept[0].ended()
            await until(lambda: house.door.open_connections <= 3)
            assert (await (await house.connect(address="127.0.0.1")).say("NOOP\n")).startswith("250")

    run(story())


@BOTH_LOOPS
def test_reading_stops_while_an_answer_is_owed(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            house.core.gate = asyncio.Event()
            peer = await in_message(house)
            peer.send(MESSAGE + ".\n")
            await house.core.asked.wait()
            flood = b"NOOP\r\n" * 500_000
            peer.writer.write(flood)
            (connection,) = next(iter(house.door._listeners.values()))._connections
            before = -1
            while connection._reading or connection._smtp is None or before != connection._smtp.buffered:
                before = connection._smtp.buffered if connection._smtp is not None else -1
                await asyncio.sleep(0.01)
            assert before < READ_AHEAD + 300_000
            house.core.gate.set()
            assert (await peer.reply()).startswith("250 2.0.0 queued")
            for _ in range(1000):
                assert (await peer.reply()).startswith("250")

    run(story())


@BOTH_LOOPS
def test_a_client_that_never_reads_is_cut_in_the_end(run: Runner) -> None:
    async def story() -> None:
        async with opened(limited(idle_commands=1_000_000_000)) as house:
            peer = await house.connect()
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            (connection,) = next(iter(house.door._listeners.values()))._connections
            while connection._write_paused_at is None:
                peer.writer.write(b"HELP\r\n" * 20_000)
                await asyncio.sleep(0.001)
            assert connection._smtp is not None
            house.sweep(301)
            await until(lambda: not house.door.open_connections)

    run(story())


@BOTH_LOOPS
def test_a_client_that_talks_on_hears_why_it_was_cut_and_is_let_go_soon(run: Runner) -> None:
    async def story() -> None:
        async with opened(limited(errors=3)) as house:
            peer = await house.connect()
            peer.writer.write(b"NONSENSE\r\n" * 50_000)
            said = [await peer.reply() for _ in range(4)]
            assert said[-1] == "421 4.7.0 too many errors"
            assert not house.notebook.of("left")
            house.sweep(3.0)
            await until(lambda: bool(house.notebook.of("left")))

    run(story())


@BOTH_LOOPS
def test_messages_in_reception_are_bounded_over_all_connections(run: Runner) -> None:
    settings = settings_of().model_copy(update={"gateway": Gateway(reception_memory=1_000_000)})

    async def story() -> None:
        async with opened(settings) as house:
            first, second = await in_message(house), await in_message(house)
            first.send(b"From: a@example.com\r\n\r\n" + b"x" * 800_000)
            await until(lambda: house.door.budget.used >= 800_000)
            second.send(b"x" * 300_000 + b"\r\n.\r\n")
            assert await second.reply() == "452 4.3.1 too much mail at once; try again"
            small = await in_message(house)
            small.send(MESSAGE + ".\n")
            assert (await small.reply()).startswith("250")
            first.send("\n.\n")
            assert (await first.reply()).startswith("250")
            assert house.door.budget.used == 0

    run(story())


# TLS -------------------------------------------------------------------------------------------------------------------------------


def tls_listener(folder: Path, tls: ListenerTls) -> Listener:
    certificate, key = write_certificate(folder, "localhost")
    return Listener(address="127.0.0.1:0", tls=tls, certificate=certificate, key=key)


async def start_tls(peer: Peer) -> ssl.SSLObject:
    """Shake hands on an open connection; returns what the client knows of TLS."""
    loop = asyncio.get_running_loop()
    transport = peer.writer.transport
    protocol = transport.get_protocol()
    upgraded = await loop.start_tls(transport, protocol, trusting(), server_hostname="localhost")
    assert upgraded is not None
    peer.reader._transport = upgraded  # type: ignore[attr-defined]
    peer.writer._transport = upgraded  # type: ignore[attr-defined]
    found = upgraded.get_extra_info("ssl_object")
    assert isinstance(found, ssl.SSLObject)
    return found


@BOTH_LOOPS
def test_octets_sent_before_the_handshake_are_no_commands(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(tls_listener(tmp_path, ListenerTls.STARTTLS))) as house:
            peer = await house.connect()
            assert "STARTTLS" in await peer.say("EHLO client.example\n")
            assert (await peer.say("STARTTLS\nMAIL FROM:<evil@example.com>\n")).startswith("554 5.5.0")
            assert await peer.ended()

    run(story())


@BOTH_LOOPS
def test_a_changed_certificate_is_used_for_new_connections(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(tls_listener(tmp_path, ListenerTls.STARTTLS))) as house:
            seen = []
            for change in ("", "new", "broken"):
                if change == "new":
                    write_certificate(tmp_path, "localhost")
                elif change == "broken":
                    (tmp_path / "cert.pem").write_text("nonsense")
                peer = await house.connect()
                assert (await peer.say("STARTTLS\n")).startswith("220")
                seen.append((await start_tls(peer)).getpeercert(True))
                assert (await peer.say("EHLO client.example\n")).startswith("250")
            assert seen[0] != seen[1] == seen[2]
            assert house.notebook.of("certificate") == [(False,), (False,), (True,)]

    run(story())


@BOTH_LOOPS
@pytest.mark.parametrize("tls", [ListenerTls.STARTTLS, ListenerTls.IMPLICIT])
def test_a_handshake_that_is_none_ends_the_connection(run: Runner, tls: ListenerTls, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(settings_of(tls_listener(tmp_path, tls))) as house:
            peer = await house.connect(greet=tls is ListenerTls.STARTTLS)
            if tls is ListenerTls.STARTTLS:
                assert (await peer.say("STARTTLS\n")).startswith("220")
            peer.send("EHLO this is no TLS record at all\n" * 10)
            await peer.reader.read()
            await until(lambda: not house.door.open_connections)
            assert house.notebook.of("cut")
            assert not house.door.connections

    run(story())


@BOTH_LOOPS
def test_a_first_message_of_tls_that_comes_with_the_connection_is_not_lost(run: Runner, tmp_path: Path) -> None:
    """uvloop reads before the handshake has begun, whatever the protocol paused."""

    def greeting_of(client: socket.socket, coming: ssl.MemoryBIO, going: ssl.MemoryBIO, tls: ssl.SSLObject) -> bytes:
        while True:
            try:
                return tls.read(1000)
            except ssl.SSLWantReadError:
                client.sendall(going.read())
                coming.write(client.recv(65_536))

    async def story() -> None:
        async with opened(settings_of(tls_listener(tmp_path, ListenerTls.IMPLICIT))) as house:
            for _ in range(20):
                coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = trusting().wrap_bio(coming, going)
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                with socket.create_connection(("127.0.0.1", house.port), timeout=5) as client:
                    client.sendall(going.read())  # before the loop has seen the connection
                    assert (await asyncio.to_thread(greeting_of, client, coming, going, tls)).startswith(b"220 ")

    run(story())


def test_a_listener_with_a_bad_certificate_does_not_start(tmp_path: Path) -> None:
    listener = tls_listener(tmp_path, ListenerTls.IMPLICIT)
    (tmp_path / "key.pem").write_text("nonsense")

    async def story() -> None:
        with pytest.raises(OSError, match=r"listener submission: .*: not PEM"):
            async with opened(settings_of(listener)):
                pass

    asyncio.run(story())
    (problem,) = problems([listener])
    assert problem == f"listener submission: {listener.certificate}, {listener.key}: not PEM, or the key has a passphrase"


# The end of the day ----------------------------------------------------------------------------------------------------------------


@BOTH_LOOPS
def test_shutdown_ends_idle_clients_and_waits_for_messages(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            idle, busy, committing = await house.connect(), await in_message(house), await in_message(house)
            house.core.gate = asyncio.Event()
            committing.send(MESSAGE + ".\n")
            await house.core.asked.wait()
            port = house.port
            closing = asyncio.ensure_future(house.door.close(30))
            assert await idle.reply() == "421 4.3.2 shutting down"
            assert await idle.ended()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            house.core.gate.set()
            assert (await committing.reply()).startswith("250")
            assert (await committing.reply()).startswith("421 4.3.2")
            busy.send(MESSAGE + ".\n")
            assert (await busy.reply()).startswith("250")
            assert (await busy.reply()).startswith("421 4.3.2")
            await closing
            assert len(house.core.taken) == 2
            assert house.door.open_connections == 0

    run(story())


@BOTH_LOOPS
def test_shutdown_cuts_what_is_not_finished_after_the_grace(run: Runner) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            busy = await in_message(house)
            await house.door.close(0)
            assert await busy.reply() == "421 4.3.2 shutting down"
            assert house.door.open_connections == 0
            assert house.core.taken == []

    run(story())


@BOTH_LOOPS
def test_a_listener_whose_address_is_taken_at_a_reload_is_reported_and_tried_again(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "RETRY_SECONDS", 0.01)

    async def story() -> None:
        async with opened(settings_of()) as house:
            with socket.create_server(("127.0.0.1", 0)) as squatter:
                address = f"127.0.0.1:{squatter.getsockname()[1]}"
                house.door.reconfigure(settings_of(Listener(address=address)))
                await until(lambda: len(house.notebook.of("unopened")) > 2)
                name, why = house.notebook.of("unopened")[0]
                assert name == "submission"
                assert f"listener submission: {address}: " in str(why)
            await until(lambda: "submission" in house.door.addresses)
            assert (await (await house.connect()).say("NOOP\n")).startswith("250")
            assert not house.notebook.of("trouble")

    run(story())


@BOTH_LOOPS
def test_a_listener_whose_settings_changed_is_opened_anew_on_its_address(run: Runner) -> None:
    async def story() -> None:
        async with opened(limited(connections=5)) as house:
            port, idle = house.port, await house.connect()
            changed = Listener(address=f"127.0.0.1:{port}", limits=Limits(connections=1))
            house.door.reconfigure(settings_of(changed))
            await house.door.opened()
            assert house.notebook.of("trouble") == []
            assert house.port == port
            assert (await idle.reply()).startswith("421")
            kept = await house.connect()
            assert (await (await house.connect(greet=False)).reply()).startswith("421 4.7.0")
            assert (await kept.say("NOOP\n")).startswith("250")

    run(story())
