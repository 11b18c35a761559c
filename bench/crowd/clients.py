"""The crowd, in a process of its own: clients that are there and say nothing, or say it an octet at a time, or do not listen.

`Crowd` runs `_crowd` in a child: it connects, says how many stand, keeps them until told to leave, and says how many still stand then.
Clients are asyncio protocols without streams, so that the crowd itself costs the machine as little as it can.
"""

import asyncio
import multiprocessing
import socket
import ssl
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self, cast

EHLO = b"EHLO crowd.example\r\n"
ENVELOPE = b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"
HEADER = b"From: a@example.test\r\nTo: b@example.test\r\nSubject: slow\r\n\r\n"
STEP_SECONDS = 1.0
"""Between two octets of a slow client."""
TOGETHER = 10
"""Clients that arrive at a time."""
FLOOD = EHLO * 4000
"""Asks for far more octets than anybody keeps for a client that does not read."""

Kind = Callable[["Client"], None]
"""What a client does once it has been greeted and has said EHLO; called again each second."""


class Client(asyncio.Protocol):
    """One of the crowd. `greeted` ends when its EHLO was answered."""

    def __init__(self) -> None:
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.standing = True
        self.steps = 0
        self.answers = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.answers = (self.answers + data)[-500:]
        if self.greeted.done():
            return
        if self.answers.startswith(b"220 ") and self.answers.endswith(b"\r\n") and self.steps == 0:
            self.steps, self.answers = 1, b""
            self.send(EHLO)
        elif b"250 " in self.answers and self.answers.endswith(b"\r\n"):
            self.greeted.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.standing = False
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionError("not welcome"))

    def send(self, data: bytes) -> None:
        """Write, if it still stands."""
        if self.transport is not None and self.standing:
            self.transport.write(data)


def idle(client: Client) -> None:
    """Nothing."""


def slow_message(client: Client) -> None:
    """An octet of a message a second."""
    if client.steps == 1:
        client.send(ENVELOPE + HEADER)
    client.send(b"x")
    client.steps += 1


def slow_command(client: Client) -> None:
    """An octet of a command a second."""
    command = b"NOOP\r\n"
    client.send(command[client.steps % 6 : client.steps % 6 + 1])
    client.steps += 1


def deaf(client: Client) -> None:
    """Asks much, and reads nothing."""
    if client.steps == 1:
        assert client.transport is not None
        client.transport.pause_reading()
        client.send(FLOOD)
    client.steps += 1


def user(client: Client) -> None:
    """Sends one large message, then nothing."""
    if client.steps == 1:
        client.send(ENVELOPE + HEADER + (b"x" * 76 + b"\r\n") * 1300 + b".\r\n")
    client.steps += 1


KINDS: dict[str, tuple[Kind, bool]] = {
    "idle": (idle, True),
    "slow message": (slow_message, True),
    "slow command": (slow_command, False),
    "deaf": (deaf, False),
    "user": (user, True),
    "user in the clear": (user, False),
}
"""What it does, and whether over TLS."""


async def _arrive(kind: str, port: int, tls_port: int, context: ssl.SSLContext) -> Client:
    _, tls = KINDS[kind]
    loop = asyncio.get_running_loop()
    near = socket.socket()
    if kind == "deaf":
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    near.setblocking(False)
    await loop.sock_connect(near, ("127.0.0.1", tls_port if tls else port))
    _, client = await loop.create_connection(Client, sock=near, ssl=context if tls else None, server_hostname="localhost" if tls else None)
    await client.greeted
    return client


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _stand(wanted: dict[str, int], port: int, tls_port: int, pipe: Connection) -> None:
    context = _trusting()
    kinds = [kind for kind, count in wanted.items() for _ in range(count)]
    crowd: list[tuple[Kind, Client]] = []
    for start in range(0, len(kinds), TOGETHER):
        group = kinds[start : start + TOGETHER]
        clients = await asyncio.gather(*(_arrive(kind, port, tls_port, context) for kind in group))
        crowd += [(KINDS[kind][0], client) for kind, client in zip(group, clients, strict=True)]
    pipe.send(len(crowd))
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe.fileno(), left.set)
    while not left.is_set():
        begun = loop.time()
        for number, (act, client) in enumerate(crowd):
            act(client)
            if number % 20 == 19:  # spread over the second, as strangers would be
                await asyncio.sleep(0.8 * STEP_SECONDS * 20 / len(crowd))
        try:
            await asyncio.wait_for(left.wait(), max(0.0, begun + STEP_SECONDS - loop.time()))
        except TimeoutError:
            continue
    pipe.send(sum(client.standing for _, client in crowd))
    for _, client in crowd:
        if client.transport is not None:
            client.transport.abort()


def _crowd(wanted: dict[str, int], port: int, tls_port: int, pipe: Connection) -> None:
    asyncio.run(_stand(wanted, port, tls_port, pipe))


class Crowd:
    """`wanted` clients by kind, standing before a gateway. A context manager; `left` is how many still stood at the end."""

    def __init__(self, wanted: dict[str, int], port: int, tls_port: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._wanted = sum(wanted.values())
        self._process = multiprocessing.get_context("fork").Process(target=_crowd, args=(wanted, port, tls_port, theirs), daemon=True)
        self.left = 0

    def __enter__(self) -> Self:
        self._process.start()
        if not self._pipe.poll(60) or self._pipe.recv() != self._wanted:
            raise RuntimeError("the crowd could not gather")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pipe.send("leave")
        if self._pipe.poll(30):
            self.left = self._pipe.recv()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
