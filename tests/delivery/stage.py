"""The stage for session tests: a core that hands out and checks the books, a plain composer, and a peer whose every answer can be set.

The core checks what must hold always: each delivery it handed out comes back exactly once, and `closed` is said once, after everything.
"""

import asyncio
import random
import time
from collections.abc import Callable

from config.sending import Provider, RouteTls, Sending, Source
from config.settings import Settings
from gateway.calls import Assignment, Closed, Handout, Lane, Message, Opening, Permit, Settle, Settlement, TlsFacts, Wait
from gateway.compose.composer import Composed, Unsendable
from gateway.delivery.network import Network
from gateway.delivery.route import Host, Route
from gateway.delivery.session import run_session
from mail.address import Address, address_of
from mail.outcome import Delivered, Outcome, Verdict

CUT = b"<cut>"
HANG = b"<hang>"
BODY = b"Subject: hello\r\n\r\nFirst line\r\n.dots\r\n.\r\nlast line\r\n"


def assignment(number: int, recipient: str = "", content: bytes | None = BODY, sender: str = "news@example.com", **known) -> Assignment:
    address = address_of(recipient or f"user{number}@example.net")
    assert address is not None
    message = Message("account", "stream", Address(sender, "example.com"), "example.com", 0.0, len(content or b""), id=number, **known)
    return Assignment(number, message, address, f"b+{number}@example.com", 1, content)


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; it does within seconds, or the test fails."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def verdict_of(outcome: Outcome | None) -> Verdict:
    assert outcome is not None
    assert not isinstance(outcome, Delivered)
    return outcome.verdict


class Core:
    """Hands out `work`; when it is used up, says close, or waits for more with `stay`."""

    def __init__(self, work: list[Assignment], *, stay: bool = False) -> None:
        self.work = list(work)
        self.stay = stay
        self.out: set[int] = set()
        self.settlements: list[Settlement] = []
        self.returned: list[int] = []
        self.ends: list[Closed] = []
        self.asked: list[int] = []
        self.more = asyncio.Event()
        self.wait: Wait | None = None
        self.hooks: dict[int, Callable[[], None]] = {}

    async def next(self, permit: int, n: int) -> Handout:
        assert not self.ends
        self.asked.append(n)
        if self.wait is not None and not self.work:
            return Handout([], wait=self.wait)
        while self.stay and not self.work:
            self.more.clear()
            await self.more.wait()
        given, self.work = self.work[:n], self.work[n:]
        self.out.update(one.delivery for one in given)
        assert len(self.out) <= 2, "more than two in hand"
        return Handout(given, close=not self.work and not self.stay and self.wait is None)

    def settle(self, settle: Settle) -> None:
        assert not self.ends
        for settlement in settle.settlements:
            self.out.remove(settlement.delivery)
            self.settlements.append(settlement)
            if hook := self.hooks.pop(settlement.delivery, None):
                hook()
        for number in settle.returned:
            self.out.remove(number)
            self.returned.append(number)

    async def settled(self) -> None:
        return

    def closed(self, closed: Closed) -> None:
        assert not self.out, f"kept {self.out}"
        assert not self.ends
        self.ends.append(closed)

    def outcome(self, number: int) -> str:
        """The kind of outcome of `number`, or "returned"."""
        if number in self.returned:
            return "returned"
        found = [one.outcome for one in self.settlements if one.delivery == number]
        return type(found[0]).__name__.lower() if found else ""

    def settlement(self, number: int) -> Settlement:
        return next(one for one in self.settlements if one.delivery == number)

    def verdict(self, number: int) -> Verdict:
        return verdict_of(self.settlement(number).outcome)

    @property
    def trouble(self) -> Verdict:
        return verdict_of(self.ends[0].trouble)


class PlainComposer:
    async def compose(self, assignment: Assignment, *, eight_bit_ok: bool, utf8_ok: bool, content: bytes) -> Composed | Unsendable:
        parts = [b"Received: by test\r\n", content]
        return Composed(parts, len(content) + 19, eight_bit_ok, utf8_ok and assignment.message.smtputf8, "example.com")


class Watcher:
    def __init__(self) -> None:
        self.results: list[str] = []
        self.security: list[TlsFacts] = []
        self.lost_count: list[str] = []
        self.one_by_one: list[str] = []
        self.errors: list[BaseException] = []

    def connected(self, source: str, provider: str, result: str) -> None:
        self.results.append(result)

    def unconnected(self, source: str, provider: str, trouble: Verdict) -> None:
        self.results.append(trouble.category.value)

    def secured(self, provider: str, facts: TlsFacts) -> None:
        self.security.append(facts)

    def no_overlap(self, host: str, why: str) -> None:
        self.lost_count.append(host)

    def no_pipelining(self, host: str, why: str) -> None:
        self.one_by_one.append(host)

    def faulted(self, what: str, error: BaseException) -> None:
        self.errors.append(error)


class Peer:
    """A small SMTP server with replies that tests set: `answers[verb]` is bytes, or a function of the command line and its count.

    `verb` is GREETING, EHLO, HELO, MAIL, RCPT, DATA, DOT, RSET, QUIT, STARTTLS. CUT closes, HANG never answers. Bytes may
    hold several replies.
    """

    def __init__(self, features: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"), **answers) -> None:
        self.features = features
        self.answers = {name.upper(): answer for name, answer in answers.items()}
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.counts: dict[str, int] = {}
        self.delay = 0.0
        self.tls_context = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=8_000_000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _default(self, verb: str) -> bytes:
        if verb == "EHLO":
            lines = ["peer.example", *self.features]
            return b"".join(f"250{'-' if line is not lines[-1] else ' '}{line}\r\n".encode() for line in lines)
        return {
            "GREETING": b"220 peer.example ESMTP\r\n",
            "DATA": b"354 go\r\n",
            "DOT": b"250 2.0.0 taken\r\n",
            "QUIT": b"221 bye\r\n",
            "STARTTLS": b"220 go\r\n",
        }.get(verb, b"250 2.1.0 ok\r\n")

    def _answer(self, verb: str, line: str) -> bytes:
        self.counts[verb] = self.counts.get(verb, 0) + 1
        answer = self.answers.get(verb)
        if callable(answer):
            answer = answer(line, self.counts[verb])
        return self._default(verb) if answer is None else answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "GREETING", ""):
            return
        while line := (await reader.readline()).decode():
            self.commands.append(line.rstrip("\r\n"))
            verb = line.split()[0].upper()
            if not await self._say(writer, verb, line):
                return
            if verb == "DATA" and self.last.startswith(b"354"):
                content = await reader.readuntil(b"\r\n.\r\n") if (first := await reader.readexactly(3)) != b".\r\n" else b""
                self.messages.append(first + content)
                if not await self._say(writer, "DOT", line):
                    return
            if verb == "STARTTLS" and self.tls_context is not None and self.last.startswith(b"220"):
                await writer.start_tls(self.tls_context)
            if verb == "QUIT":
                return

    async def _say(self, writer: asyncio.StreamWriter, verb: str, line: str) -> bool:
        self.last = self._answer(verb, line)
        if self.last == HANG:
            await asyncio.Event().wait()
        if self.last.endswith(CUT):
            writer.write(self.last[: -len(CUT)])
            await writer.drain()
            return False
        if self.delay:
            await asyncio.sleep(self.delay)
        writer.write(self.last)
        await writer.drain()
        return True


def network(**known) -> Network:
    return Network("gateway.example", time.time, random.Random(1), sweep_interval=known.pop("sweep_interval", 0.01), **known)


def settings(**sending) -> Settings:
    provider = Provider(name="peer", connect_timeout=2.0, idle=0.2)
    return Settings(provider=[provider], sending=Sending(**sending))


PERMIT = Permit(7, Opening(Lane("default", "peer"), "route"), 0.0, 100)


def route_to(*ports_or_hosts, tls: RouteTls = RouteTls.NONE, port: int = 0) -> Route:
    """A route to one loopback port, or to named hosts with addresses and preference, all at `port`."""
    if len(ports_or_hosts) == 1 and isinstance(ports_or_hosts[0], int):
        return Route("route", "peer", (Host("peer.example", ("127.0.0.1",)),), ports_or_hosts[0], tls, True)
    return Route("route", "peer", tuple(ports_or_hosts), port, tls, True)


async def session(core: Core, route: Route, *, source: Source | None = None, net: Network | None = None, composer=None, **known) -> Watcher:
    """One session from start to end. Checks that it leaves no task behind."""
    watcher = Watcher()
    net = net or network()
    before = asyncio.all_tasks()
    contents = known.pop("contents", lambda message: None)
    limits = known.pop("limits", None) or settings(**known)
    source = source or Source(name="default")
    try:
        await run_session(PERMIT, route, source, core, composer or PlainComposer(), contents, limits, time.time, watcher, network=net)
    finally:
        assert len(core.ends) == 1
        left = {task for task in asyncio.all_tasks() - before if "gateway/" in repr(task.get_coro())}
        assert not left, left
        await until(lambda: net.sweeper.watched == 0)
    return watcher
