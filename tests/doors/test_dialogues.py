"""The conversations of tests/smtp/dialogues at a real listener, on real sockets: whole, and octet by octet, with the same result.

The listener, its connections, TLS and the sweeper are the gateway's; the visitor, who decides, follows the file. The client is a blocking
socket in a thread of its own. Nothing may be left of a connection afterwards.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from config.submission import Listener as ListenerSettings
from config.submission import ListenerTls
from gateway.doors.listener import Listener
from gateway.doors.visitor import Budget
from gateway.smtp import replies
from gateway.smtp.events import Auth, Content, Event, Mail, Question, Recipient, ServerOptions
from mail.reply import Reply
from tests.doors.house import Notebook, trusting, until, write_certificate
from tests.smtp.scripts import DIALOGUES, Script, answer_of, check_said, name_of, octets_of, of, options_of, read, unescaped

Runner = Callable[[Coroutine[Any, Any, None]], None]
SMALL = 4000
"""Octets of a conversation that is worth playing one by one."""
YES = {Mail: replies.SENDER_OK, Recipient: replies.RECIPIENT_OK, Content: replies.QUEUED, Auth: replies.AUTHENTICATED}


class Visitor:
    """Answers as the file says: at once, or later."""

    def __init__(self, script: Script, later: bool) -> None:
        self._options = options_of(" ".join(of(script, "O")))
        self._options_with_tls = [options_of(text) for text in of(script, "T")]
        self._answers = [answer_of(text) for text in of(script, "A")]
        self._later = later
        self.contents: list[bytes] = []
        self.subjects: list[str] = []
        self.ended = 0
        self.account_name = ""

    def options(self, tls_active: bool) -> ServerOptions:
        return self._options_with_tls[0] if tls_active else self._options

    def tell(self, event: Event) -> None:
        return

    def answer(self, event: Question) -> Reply | None:
        return None if self._later or isinstance(event, Content | Auth) else self._answered(event)

    async def decide(self, event: Question) -> Reply:
        await asyncio.sleep(0)
        return self._answered(event)

    def _answered(self, event: Question) -> Reply:
        match event:
            case Mail(command):
                self.subjects.append(command.sender.text)
            case Recipient(address):
                self.subjects.append(address.text)
            case Auth(_, credentials):
                self.subjects.append(f"{credentials.name} {credentials.password}")
            case Content(data):
                self.contents.append(data)
                return replies.QUEUED
        return self._answers.pop(0) if self._answers else YES[type(event)]

    def gone(self) -> None:
        self.ended += 1


class Client:
    """Plays the client's side with a blocking socket; `said` is what it heard."""

    def __init__(self, port: int, script: Script, size: int, passed: Callable[[float], None]) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._script = script
        self._size = size
        self._passed = passed
        self._tls = False
        self.said = b""

    def play(self) -> None:
        waiting = b""
        heard = threading.Thread(target=self._hear)  # so that a server whose replies are not read is never waited for
        heard.start()
        for kind, text in self._script:
            if kind in ("C", "R"):
                waiting += octets_of(kind, text)
            elif kind in ("E", "T", "W"):
                self._send(waiting)
                waiting = b""
                if kind == "W":
                    self._passed(float(text))
                elif kind == "E":
                    self._socket.shutdown(socket.SHUT_WR)
                else:
                    heard.join(20)
                    self._socket = trusting().wrap_socket(self._socket, server_hostname="localhost")
                    self._tls = True
        self._send(waiting)
        if self._tls:
            self._hear()  # an SSL socket is for one thread
        elif not of(self._script, "X"):
            self._socket.shutdown(socket.SHUT_WR)
        heard.join(20)
        assert not heard.is_alive(), f"the server has not closed after {self.said[-300:]!r}"
        self._socket.close()

    def _hear(self) -> None:
        """Until the server closes; before a handshake until its 220, under TLS until all replies are here."""
        replies_due = sum(kind == "S+" or (kind == "S" and text[3:4] != "-") for kind, text in self._script)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while octets := self._socket.recv(65_536):
                self.said += octets
                lines = self.said.split(b"\r\n")
                if not self._tls and of(self._script, "T") and b"220 2.0.0 ready for TLS" in lines:
                    return
                if self._tls and not of(self._script, "X") and sum(line[3:4] == b" " for line in lines) == replies_due:
                    return

    def _send(self, octets: bytes) -> None:
        """A server that has closed hears no more."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for at in range(0, len(octets), self._size):
                self._socket.sendall(octets[at : at + self._size])


def settings(script: Script, folder: Path) -> ListenerSettings:
    if "tls_available=true" not in " ".join(of(script, "O")):
        return ListenerSettings(address="127.0.0.1:0")
    certificate, key = write_certificate(folder, "dialogue.test")
    return ListenerSettings(address="127.0.0.1:0", tls=ListenerTls.STARTTLS, certificate=certificate, key=key)


async def sweep(listener: Listener, passed: list[float]) -> None:
    """Look at the times as if so many seconds had passed, as soon as the client says so: again and again, for it does not know when the
    server has read what it sent."""
    while True:
        await asyncio.sleep(0.005)
        for seconds in passed:
            listener.sweep(asyncio.get_running_loop().time() + seconds)


async def play(script: Script, size: int, later: bool, folder: Path) -> tuple[Visitor, bytes]:
    visitor = Visitor(script, later)
    budget, notebook = Budget(1_000_000), Notebook()
    listener = Listener(settings(script, folder), lambda client: visitor, notebook, budget)
    await listener.start()
    passed: list[float] = []
    try:
        sweeping = asyncio.create_task(sweep(listener, passed))
        client = Client(listener.address[1], script, size, passed.append)
        await asyncio.to_thread(client.play)
        sweeping.cancel()
        await until(lambda: listener.open_connections == 0 and visitor.ended == 1)
    finally:
        await listener.close(0)
    assert budget.used == 0
    assert notebook.of("trouble") == []
    await until(lambda: [task for task in asyncio.all_tasks() if "gateway/" in repr(task.get_coro())] == [])
    return visitor, client.said


@pytest.mark.parametrize(
    ("run", "size", "later"),
    [(asyncio.run, 1_000_000, False), (uvloop.run, 1_000_000, True), (asyncio.run, 1, True), (uvloop.run, 1, False)],
    ids=["asyncio-whole", "uvloop-whole-later", "asyncio-by-1-later", "uvloop-by-1"],
)
@pytest.mark.parametrize("file", DIALOGUES, ids=name_of)
def test_dialogue_ends_the_same_at_a_real_listener(run: Runner, file: Path, size: int, later: bool, tmp_path: Path) -> None:
    script = read(file)
    if size == 1 and sum(len(octets_of(kind, text)) for kind, text in script if kind in ("C", "R")) > SMALL:
        size = 997

    async def story() -> None:
        visitor, said = await play(script, size, later, tmp_path)
        check_said(script, said)
        assert visitor.contents == [unescaped(text) for text in of(script, "D")]
        assert [subject for subject in of(script, "Q") if subject not in visitor.subjects] == []

    run(story())
