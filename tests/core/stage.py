"""A core over a real spool in a folder, without network: routes are as told, and connections are coroutines that answer as told."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from config.settings import Settings
from gateway.calls import AttemptFacts, Committed, Message, Permit, Refused, Settle, Settlement, Submission
from gateway.core.core import Core, Ports
from gateway.core.engine import Engine, Session
from gateway.delivery.route import Host, Route, Routing, Unroutable
from gateway.spool.port import LedgerEntry, Queued, Selection
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.writer import ThreadWriter
from gateway.traffic.controller import Controller
from mail.address import Address
from mail.event import Event, unseal
from mail.outcome import Delivered, Outcome
from mail.reply import Reply

OK = Delivered(Reply(250, "taken", "2.0.0"))
CONTENT = b"Subject: x\r\n\r\nhello\r\n"


class Silent:
    """Watches and says nothing; suppresses nobody."""

    def reason(self, account: str, stream: str, recipient: Address) -> str | None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class Routes:
    """A router that knows what it is told; every other domain has a route of its own, known at once unless `slow`."""

    def __init__(self) -> None:
        self.told: dict[str, Routing] = {}
        self.slow = False
        self.asked: list[str] = []
        self.guarded: dict[str, str] = {}

    def _routing(self, domain: str) -> Routing:
        return self.told.get(domain) or Route(f"mx.{domain}", domain, (Host(f"mx.{domain}", ("192.0.2.1",)),))

    async def route(self, domain: str) -> Routing:
        self.asked.append(domain)
        await asyncio.sleep(0)
        return self._routing(domain)

    def cached(self, domain: str) -> Routing | None:
        return None if self.slow else self._routing(domain)

    def by_key(self, key: str) -> Route | None:
        return None


class Stage:
    """One core. `outcome` says what becomes of each attempt; `open` whether connections take work at all."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.model_validate({"spool": {"minimum_free": 0}})
        self.now = time.time
        self.routes = Routes()
        self.outcome: Callable[[int], Outcome] = lambda delivery: OK
        self.tried: list[int] = []
        self.bugs: list[BaseException] = []
        self.stale: list[int] = []
        self.ahead = 0.0
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.spool = SqliteSpool(folder, self.settings.spool, 30 * 86_400.0)
        self.controller = Controller(self.settings, random.Random(7))
        self.writer = ThreadWriter(self.spool)
        observer = Silent()
        observer.stale = self.stale.extend  # type: ignore[attr-defined]
        self.core = Core(
            self.settings,
            Ports(
                spool=self.spool,
                writer=self.writer,
                controller=self.controller,
                router=self.routes,  # type: ignore[arg-type]
                observer=observer,
                suppression=Silent(),
                return_path=lambda delivery, message, now: f"b+{delivery}@gateway.test",
                session=self._session,
                open_reader=self.spool.reader,
                space_left=lambda: True,
                clock=self.clock,
                monotonic=time.monotonic,
                random=random.Random(7),
                on_broken=self.bugs.append,
                on_full=lambda full: None,
                on_damaged=lambda deliveries: None,
                on_outbox=lambda trouble: None,
                on_bug=self.bugs.append,
            ),
            folder,
            "gateway.test",
        )

    def clock(self) -> float:
        """Now, and as far ahead as the test has gone."""
        return time.time() + self.ahead

    def _session(self, engine: Engine) -> Session:
        async def session(permit: Permit) -> None:
            while True:
                handout = await engine.next(permit.id, 1)
                for assignment in handout.assignments:
                    self.tried.append(assignment.delivery)
                    facts = AttemptFacts(self.clock(), self.clock(), permit.opening.lane, permit.opening.route)
                    engine.settle(Settle(permit.id, [Settlement(assignment.delivery, self.outcome(assignment.delivery), facts)]))
                if handout.close:
                    return

        return session

    async def send(self, *recipients: str, campaign: str = "spring") -> list[int]:
        """Hand a message in; the identities of its deliveries."""
        message = Message(
            account="shop",
            stream="default",
            sender=Address("news@shop.test", "shop.test"),
            from_domain="shop.test",
            received_at=self.clock(),
            size=len(CONTENT),
            campaign=campaign,
        )
        addresses = [Address(recipient, recipient.rpartition("@")[2]) for recipient in recipients]
        answer: Committed | Refused = await self.core.accept(Submission(message, addresses, CONTENT))
        assert isinstance(answer, Committed), answer
        return answer.deliveries

    def queued(self, **selection: Any) -> list[Queued]:
        """What is in the queue on disk."""
        return self.spool.find(Selection(**selection), 0, 1000)

    def ended(self, delivery: int) -> LedgerEntry | None:
        """The row of a delivery that ended."""
        return self.spool.sent(delivery)

    def events(self) -> list[Event]:
        """Everything told, in order."""
        path = self.folder / "events.ndjson"
        return [unseal(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    async def until(self, done: Callable[[], object], what: str = "it") -> None:
        """Wait until something is so."""
        async with asyncio.timeout(30):
            while not done():
                assert not self.bugs, self.bugs
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop in order."""
        clean = await self.core.close(grace=1.0)
        await self.writer.close()
        self.spool.close(clean)


@contextlib.asynccontextmanager
async def running(folder: Path, settings: Settings | None = None, *, deliver: bool = True) -> AsyncIterator[Stage]:
    """A core at work."""
    stage = Stage(folder, settings)
    stage.core.start(deliver=deliver)
    try:
        yield stage
    finally:
        await stage.close()
    assert stage.bugs == []


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scene to its end."""
    asyncio.run(scene())


def unroutable(outcome: Outcome) -> Unroutable:
    """No way there."""
    return Unroutable(outcome)
