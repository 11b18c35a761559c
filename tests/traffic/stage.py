"""What the tests of traffic share: settings in a line, and a controller with its clock."""

import random
from collections.abc import Iterable

from config.sending import Pool, Provider, Sending, Source
from config.settings import Settings
from gateway.calls import Lane, Opening, Permit, Wait
from gateway.spool.port import FlowKey
from gateway.traffic.controller import Controller, Item
from mail.outcome import Category, Fault, Phase, Verdict
from mail.reply import Reply

NOW = 1_700_000_000.0
REFUSED = Verdict(Reply(421, "connection refused", "4.4.1", synthetic=True), Category.NETWORK, Fault.NETWORK, phase=Phase.CONNECT)
TOO_MANY = Verdict(Reply(421, "too many connections from your IP", "4.7.0"), Category.RATE_LIMITED, Fault.SENDER_IP, phase=Phase.BANNER)

LACKING = Verdict(
    Reply(451, "this machine cannot send from it", "4.3.5", synthetic=True), Category.NETWORK, Fault.CONFIG, phase=Phase.CONNECT
)


def settings(
    provider: Provider | None = None,
    sources: Iterable[str] = ("s1",),
    weights: dict[str, int] | None = None,
    sending: Sending | None = None,
) -> Settings:
    names = list(sources)
    return Settings(
        provider=[provider or Provider(name="p", connections=4, rate=None)],
        source=[Source(name=name) for name in names],
        pool=[Pool(name="default", members=weights or dict.fromkeys(names, 1))],
        sending=sending or Sending(),
    )


def key(campaign: str = "c", route: str = "mx", priority: str = "normal", provider: str = "p", **more: object) -> FlowKey:
    fields: dict[str, object] = {
        "provider": provider,
        "route": route,
        "pool": "default",
        "account": "acme",
        "stream": "news",
        "campaign": campaign,
        "priority": priority,
    }
    return FlowKey(**{**fields, **more})  # type: ignore[arg-type]


class Stage:
    """A controller, its clock, and the short names of what a test does often."""

    def __init__(self, configured: Settings | None = None) -> None:
        self.controller = Controller(configured or settings(), random.Random(7))
        self.now = NOW
        self.flows = 0
        self.items = 0

    def flow(self, flow_key: FlowKey, count: int = 0) -> int:
        self.flows += 1
        self.controller.add_flow(self.flows, flow_key)
        assert self.offer(self.flows, count) == count
        return self.flows

    def offer(self, flow: int, count: int = 1) -> int:
        taken = 0
        for _ in range(count):
            self.items += 1
            taken += self.controller.offer(Item(self.items, flow, self.now + 86_400, self.now), self.now)
        return taken

    def demand(self) -> list[Opening]:
        return self.controller.demand(self.now)

    def open_all(self) -> list[int]:
        """Open what is wanted until nothing more is; the permits' numbers."""
        permits = []
        while openings := self.demand():
            for opening in openings:
                permit = self.controller.open(opening, self.now)
                assert isinstance(permit, Permit)
                permits.append(permit.id)
        return permits

    def open(self, source: str = "s1", route: str = "mx") -> int:
        permit = self.controller.open(Opening(Lane(source, "p"), route), self.now)
        assert isinstance(permit, Permit)
        return permit.id

    def next(self, permit: int, n: int = 1) -> tuple[list[Item], Wait | None, bool]:
        return self.controller.next(permit, n, self.now)

    def pull(self, permit: int, n: int = 1) -> list[Item]:
        items, _, _ = self.next(permit, n)
        return items

    def wait_for(self, permit: int) -> Wait:
        items, wait, close = self.next(permit)
        assert not items
        assert not close
        assert wait is not None
        return wait

    def closes(self, permit: int) -> bool:
        return self.next(permit) == ([], None, True)

    def close(self, permit: int, trouble: Verdict | None = None) -> list[Item]:
        return self.controller.closed(permit, trouble, "mx.example", self.now)
