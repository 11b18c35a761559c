"""The controller under any sequence of calls: connections within limits, items neither lost nor doubled, tokens conserved, no busy loop."""

import random
from collections import defaultdict

import hypothesis.strategies as st
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from config.sending import Pool, Provider, Sending, Source
from config.settings import Settings
from gateway.calls import Lane, Permit
from gateway.spool.port import Hold
from gateway.traffic.controller import Controller, Item, Report
from gateway.traffic.fair import RANKS
from mail.outcome import Category, Fault
from tests.traffic.stage import NOW, REFUSED, TOO_MANY, key

RATE, BURST = 2.0, 3
KEYS = [
    key("a", "mx1"),
    key("b", "mx1", "low"),
    key("", "mx2", "high"),
    key("a", "mx2", only="s2"),
    key("a", "mx1", without=("s1",)),
    key("a", "mxq", provider="q"),
    key("b", "mxq", "high", provider="q"),
]


def configuration(connections: int) -> Settings:
    return Settings(
        provider=[Provider(name="p", connections=connections, rate=RATE, burst=BURST, messages_per_connection=7, idle=3)],
        default_provider=Provider(name="default", connections=2, rate=None, messages_per_connection=5, idle=0),
        source=[Source(name="s1"), Source(name="s2")],
        pool=[Pool(name="default", members={"s1": 1, "s2": 2})],
        sending=Sending(connections=5, window=8, windows=100),
    )


class Machine(RuleBasedStateMachine):
    """A model beside the controller: where each item is, and when each message that was not returned left."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.now = NOW
        self.connections = 3
        self.controller = Controller(configuration(3), random.Random(seed))
        self.waiting: dict[int, int] = {}
        self.out: dict[int, dict[int, Item]] = {}
        self.lanes: dict[int, Lane] = {}
        self.left: dict[Lane, list[float]] = defaultdict(list)
        self.flows: set[int] = set()
        self.items = 0
        self.ended: set[int] = set()

    @rule(number=st.integers(0, len(KEYS) - 1))
    def add_flow(self, number: int) -> None:
        self.controller.add_flow(number, KEYS[number])
        self.flows.add(number)

    @rule(number=st.integers(0, len(KEYS) - 1))
    def drop_flow(self, number: int) -> None:
        for item in self.controller.withdraw(number):
            assert self.waiting.pop(item.id) == number
            self.ended.add(item.id)
        self.controller.drop_flow(number)
        self.flows.discard(number)

    @rule(number=st.integers(0, len(KEYS) - 1), count=st.integers(1, 6), urgent=st.floats(0, 100))
    def offer(self, number: int, count: int, urgent: float) -> None:
        for _ in range(count):
            self.items += 1
            room = self.controller.room(number)
            if self.controller.offer(Item(self.items, number, self.now + urgent, self.now), self.now):
                assert room > 0
                self.waiting[self.items] = number

    @rule(part=st.integers(1, 10))
    def open_some(self, part: int) -> None:
        for opening in self.controller.demand(self.now)[:part]:
            permit = self.controller.open(opening, self.now)
            if isinstance(permit, Permit):
                self.out[permit.id] = {}
                self.lanes[permit.id] = permit.opening.lane

    @precondition(lambda self: self.out)
    @rule(data=st.data(), n=st.integers(1, 4))
    def pull(self, data: st.DataObject, n: int) -> None:
        self.ask(data.draw(st.sampled_from(sorted(self.out))), n)

    @rule()
    def answer_the_ready(self) -> None:
        for permit in self.controller.ready():
            self.ask(permit, 2)

    def ask(self, permit: int, n: int) -> None:
        items, wait, close = self.controller.next(permit, n, self.now)
        assert len(items) <= n
        assert bool(items) + (wait is not None) + close == 1
        for item in items:
            number = self.waiting.pop(item.id)
            flow_key = KEYS[number]
            source = self.lanes[permit].source
            assert flow_key.provider == self.lanes[permit].provider
            assert source not in flow_key.without
            assert flow_key.only in ("", source)
            self.out[permit][item.id] = item
            self.left[self.lanes[permit]].append(self.now)
        if wait is not None:
            assert wait.until > self.now
        if close:
            self.end(permit, None)

    @precondition(lambda self: any(self.out.values()))
    @rule(data=st.data(), kind=st.sampled_from(["good", "good", "good", "rate", "user", "timeout"]))
    def report(self, data: st.DataObject, kind: str) -> None:
        permit = data.draw(st.sampled_from(sorted(number for number, items in self.out.items() if items)))
        number = min(self.out[permit])
        reports = {
            "good": Report(number, True),
            "rate": Report(number, False, Category.RATE_LIMITED, Fault.SENDER_IP, False, "slow down"),
            "user": Report(number, False, Category.BAD_MAILBOX, Fault.RECIPIENT, False, "unknown"),
            "timeout": Report(number, False, Category.NETWORK, Fault.NETWORK, True, "timeout"),
        }
        self.controller.report(permit, [reports[kind]], self.now)
        del self.out[permit][number]
        self.ended.add(number)

    @precondition(lambda self: any(self.out.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        permit = data.draw(st.sampled_from(sorted(number for number, items in self.out.items() if items)))
        items = list(self.out[permit].values())
        homeless = self.controller.unused(permit, items, self.now)
        assert all(item.flow not in self.flows for item in homeless)
        self.out[permit].clear()
        for item in items:
            # Given back as never taken: the last ones of this lane.
            self.left[self.lanes[permit]].pop()
            if item in homeless:
                self.ended.add(item.id)
            else:
                self.waiting[item.id] = item.flow

    @precondition(lambda self: self.out)
    @rule(data=st.data(), trouble=st.sampled_from([None, None, REFUSED, TOO_MANY]))
    def close(self, data: st.DataObject, trouble: object) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.out))), trouble)

    def end(self, permit: int, trouble: object) -> None:
        left = self.controller.closed(permit, trouble, "mx", self.now)  # type: ignore[arg-type]
        assert {item.id for item in left} == set(self.out[permit])
        self.ended.update(self.out.pop(permit))

    @rule(number=st.integers(1, 3), which=st.sampled_from(["campaign", "source", "provider"]), seconds=st.sampled_from([0.0, 30.0]))
    def hold(self, number: int, which: str, seconds: float) -> None:
        value = {"campaign": "a", "source": "s1", "provider": "p"}[which]
        until = self.now + seconds if seconds else 0.0
        self.controller.hold(Hold(number, self.now, until, **{which: value}))

    @rule(number=st.integers(1, 3))
    def unhold(self, number: int) -> None:
        self.controller.unhold(number)

    @rule(source=st.sampled_from(["s1", "s2"]), provider=st.sampled_from(["p", "q"]), seconds=st.floats(0, 60))
    def suspend(self, source: str, provider: str, seconds: float) -> None:
        self.controller.suspend(Lane(source, provider), self.now + seconds, "test", self.now)

    @rule(source=st.sampled_from(["s1", "s2"]), provider=st.sampled_from(["p", "q"]))
    def resume(self, source: str, provider: str) -> None:
        self.controller.resume(Lane(source, provider))

    @rule(connections=st.integers(1, 4))
    def reconfigure(self, connections: int) -> None:
        self.connections = max(self.connections, connections)
        self.controller.reconfigure(configuration(connections), self.now)

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(steps=st.integers(1, 10))
    def the_engine_runs(self, steps: int) -> None:
        for _ in range(steps):
            for _ in range(100):
                openings = self.controller.demand(self.now)
                self.open_some(100)
                ready = self.controller.ready()
                for permit in ready:
                    self.ask(permit, 1)
                if not openings and not ready:
                    break
            else:
                raise AssertionError("the engine never comes to rest")
            wake = self.controller.wake(self.now)
            assert wake > self.now
            if wake > self.now + 4000:
                return
            self.now = wake

    @invariant()
    def items_are_neither_lost_nor_doubled(self) -> None:
        if not hasattr(self, "controller"):
            return
        gauges = self.controller.gauges()
        assert gauges.waiting == len(self.waiting)
        assert gauges.out == sum(len(items) for items in self.out.values())
        assert {view.number: view.waiting for view in self.controller.flows(self.now) if view.waiting} == _count(self.waiting)
        assert gauges.waiting <= 100

    @invariant()
    def connections_stay_within_every_limit(self) -> None:
        if not hasattr(self, "controller"):
            return
        assert self.controller.gauges().connections == len(self.out) <= 5
        for view in self.controller.lanes(self.now):
            assert view.connections <= (self.connections if view.lane.provider == "p" else 2)

    @invariant()
    def tokens_are_conserved(self) -> None:
        if not hasattr(self, "controller"):
            return
        for lane, times in self.left.items():
            if lane.provider != "p":
                continue
            for first in range(max(0, len(times) - 30), len(times)):
                assert len(times) - first <= BURST + RATE * (times[-1] - times[first]) + 0.01
            for view in self.controller.lanes(self.now):
                if view.lane == lane:
                    assert view.tokens is not None
                    assert 0 <= view.tokens <= BURST

    def teardown(self) -> None:
        """In the end everything that may be served is served, and nothing is left but what is accounted for."""
        if not hasattr(self, "controller"):
            return
        assert self.ended.isdisjoint(self.waiting)
        for number in (1, 2, 3):
            self.controller.unhold(number)
        for _ in range(3000):
            if not self.waiting:
                break
            while openings := self.controller.demand(self.now):
                before = len(self.out)
                self.open_some(100)
                assert len(self.out) > before, openings
            for permit in self.controller.ready():
                self.ask(permit, 1)
            for permit, items in list(self.out.items()):
                self.controller.report(permit, [Report(number, True) for number in items], self.now)
                self.ended.update(items)
                items.clear()
                if self.controller.permits(self.now) and permit in self.out:
                    self.ask(permit, 1)
            self.now = min(max(self.controller.wake(self.now), self.now), self.now + 60)
        assert not self.waiting
        assert len(self.ended) + sum(len(items) for items in self.out.values()) <= self.items


def _count(waiting: dict[int, int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for flow in waiting.values():
        counts[flow] = counts.get(flow, 0) + 1
    return counts


assert set(RANKS) == {"high", "normal", "low"}
TestMachine = Machine.TestCase
TestMachine.settings = hypothesis_settings(max_examples=60, stateful_step_count=50, deadline=None)
