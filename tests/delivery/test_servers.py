"""Sessions against servers we did not write: aiosmtpd, and Postfix's smtp-sink where it is installed."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import uvloop
from aiosmtpd.controller import Controller

from config.sending import RouteTls
from mail.outcome import Fault
from sandbox.certificate import server_context
from tests.delivery.stage import BODY, Core, assignment, route_to, session

LOOPS = [asyncio.run, uvloop.run]


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        self.messages.append((envelope.mail_from, envelope.rcpt_tos[0], envelope.original_content))
        return "250 2.0.0 taken"


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("tls", [RouteTls.NONE, RouteTls.OPPORTUNISTIC])
def test_aiosmtpd_gets_every_message_as_it_was(run, tls: RouteTls) -> None:
    mailbox = Mailbox()
    context = server_context(["mx.example"]) if tls is not RouteTls.NONE else None
    port = asyncio.run(_free_port())
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, tls_context=context, enable_SMTPUTF8=True)
    controller.start()
    try:
        core = Core(
            [
                assignment(1),
                assignment(2, "nobody@example.net"),
                assignment(3, "jürgen@example.net", smtputf8=True),
                assignment(4, "rené@exämple.net", smtputf8=True),
            ]
        )
        run(session(core, route_to(port, tls=tls)))
    finally:
        controller.stop()
    assert [core.outcome(n) for n in (1, 2, 3, 4)] == ["delivered", "failed", "delivered", "delivered"]
    assert core.verdict(2).fault is Fault.RECIPIENT
    assert [message[1] for message in mailbox.messages] == ["user1@example.net", "jürgen@example.net", "rené@exämple.net"]
    assert {message[2] for message in mailbox.messages} == {b"Received: by test\r\n" + BODY}
    assert mailbox.messages[0][0] == "b+1@example.com"
    assert bool(core.settlement(1).facts.tls) is (context is not None)


SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")


@pytest.mark.skipif(SINK is None, reason="smtp-sink (Postfix) is not installed")
@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    "options", [[], ["-p"], ["-e"], ["-8"], ["-h", "mx.sink.example"]], ids=lambda options: " ".join(options) or "plain"
)
def test_smtp_sink_gets_every_message(run, options: list[str], tmp_path: Path) -> None:
    """-p: no PIPELINING; -e: HELO only; -8: no 8BITMIME."""
    socket_free = asyncio.run(_free_port())
    dump = tmp_path / "dump"
    arguments = [str(SINK), *options, "-u", "root", "-D", str(dump), f"127.0.0.1:{socket_free}", "20"]
    if _not_root():
        del arguments[arguments.index("-u") : arguments.index("-u") + 2]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        core = Core([assignment(number) for number in range(1, 21)])
        run(_when_open(socket_free, core))
    finally:
        process.terminate()
        process.wait()
    assert [core.outcome(number) for number in range(1, 21)] == ["delivered"] * 20
    text = dump.read_bytes()
    assert len(re.findall(rb"^X-Rcpt-Args: <user\d+@example.net>", text, re.MULTILINE)) == 20
    assert len(re.findall(rb"^\.dots\r?$", text, re.MULTILINE)) == 20
    assert any(one.facts.overlapped for one in core.settlements) is ("-p" not in options and "-e" not in options)


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    return int(port)


async def _when_open(port: int, core: Core) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
    await session(core, route_to(port))


def _not_root() -> bool:
    import os

    return os.geteuid() != 0
