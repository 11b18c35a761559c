"""Fairness on one route: classes, turns, deadlines, eligibility."""

from collections import Counter

from gateway.spool.port import FlowKey
from gateway.traffic.eligibility import Eligibility
from gateway.traffic.fair import CREDIT, Classes, Flow, Item, RouteQueue


def both(eligibility: Eligibility) -> tuple[str, ...]:
    if eligibility.only:
        return (eligibility.only,)
    return tuple(name for name in ("s1", "s2") if name not in eligibility.without)


class Bench:
    """A queue with flows by campaign, and a pull as the controller makes it."""

    def __init__(self) -> None:
        self.queue = RouteQueue("p", "mx")
        self.flows: dict[int, Flow] = {}
        self.classes = Classes()
        self.items = 0

    def flow(
        self, campaign: str, count: int = 0, priority: str = "normal", only: str = "", without: tuple[str, ...] = (), stream: str = "news"
    ) -> Flow:
        key = FlowKey("p", "mx", "default", "acme", stream, campaign, priority, only, without)
        flow = self.flows[len(self.flows) + 1] = self.queue.add(len(self.flows) + 1, key, both)
        for _ in range(count):
            self.put(flow)
        return flow

    def put(self, flow: Flow, deadline: float = 1e9, due: float = 0.0, returned: bool = False) -> int:
        self.items += 1
        self.queue.put(flow, Item(self.items, flow.number, deadline, due), returned)
        return self.items

    def pull(self, source: str = "s1") -> Item | None:
        ranks = self.queue.ranks(source)
        if not ranks:
            return None
        rank = self.classes.choose(ranks)
        buckets = [bucket for bucket in self.queue.by_source[rank].get(source, ()) if bucket.waiting]
        firsts = [(lot.share.time, bucket.first(), bucket) for bucket in buckets if (lot := bucket.first()) is not None]
        _, lot, bucket = min(firsts, key=lambda first: first[0])
        assert lot is not None
        item = self.queue.take(lot, bucket)
        self.classes.served(rank, ranks)
        return item

    def pulled(self, times: int, source: str = "s1") -> Counter[str]:
        names: Counter[str] = Counter()
        for _ in range(times):
            item = self.pull(source)
            if item is not None:
                names[self.flows[item.flow].key.campaign] += 1
        return names


def test_campaigns_take_turns_whatever_their_size() -> None:
    bench = Bench()
    bench.flow("large", 900)
    bench.flow("small", 50)
    bench.flow("middle", 200)
    counts = bench.pulled(150)
    assert counts == {"large": 50, "small": 50, "middle": 50}
    assert bench.pulled(2000) == {"large": 850, "middle": 150}


def test_two_flows_of_one_campaign_share_its_turns() -> None:
    bench = Bench()
    bench.flow("one", 100, stream="news")
    bench.flow("one", 100, stream="offers")
    bench.flow("two", 100)
    assert bench.pulled(100) == {"one": 50, "two": 50}


def test_absence_earns_no_turns() -> None:
    bench = Bench()
    bench.flow("steady", 500)
    late = bench.flow("late")
    bench.pulled(300)
    for _ in range(100):
        bench.put(late)
    assert bench.pulled(20) == {"steady": 10, "late": 10}


def test_within_a_campaign_the_earliest_deadline_and_then_the_earliest_due_goes_first() -> None:
    bench = Bench()
    first, second = bench.flow("one", stream="news"), bench.flow("one", stream="offers")
    expected = {
        bench.put(first, 300.0, 1.0): 4,
        bench.put(second, 200.0, 2.0): 3,
        bench.put(first, 200.0, 1.0): 2,
        bench.put(second, 100.0, 9.0): 1,
    }
    order = [item.id for _ in range(4) if (item := bench.pull()) is not None]
    assert [expected[number] for number in order] == [1, 2, 3, 4]


def test_what_comes_back_stands_before_its_equals() -> None:
    bench = Bench()
    flow = bench.flow("one")
    bench.put(flow)
    back = bench.put(flow, returned=True)
    item = bench.pull()
    assert item is not None
    assert item.id == back


def test_a_source_sees_only_what_it_may_carry() -> None:
    bench = Bench()
    bench.flow("pinned", 5, only="s2")
    bench.flow("excluded", 5, without=("s2",))
    bench.flow("any", 5)
    assert bench.pulled(100, "s1") == {"excluded": 5, "any": 5}
    assert bench.pulled(100, "s2") == {"pinned": 5}
    assert bench.pulled(100, "s3") == {}


def test_one_campaign_in_two_eligibilities_gets_the_turns_of_one() -> None:
    bench = Bench()
    bench.flow("one", 100)
    bench.flow("one", 100, without=("s2",))
    bench.flow("two", 100)
    assert bench.pulled(100) == {"one": 50, "two": 50}


def test_a_password_reset_goes_before_every_newsletter() -> None:
    bench = Bench()
    bench.flow("newsletter", 500)
    bench.flow("bulk", 500, "low")
    bench.pulled(50)
    bench.flow("reset", int(CREDIT), "high")
    assert bench.pulled(int(CREDIT)) == {"reset": int(CREDIT)}


def test_classes_that_always_have_work_get_their_reserved_shares() -> None:
    bench = Bench()
    for campaign, priority in (("h", "high"), ("n", "normal"), ("l", "low")):
        bench.flow(campaign, 20_000, priority)
    bench.pulled(2000)
    counts = bench.pulled(10_000)
    assert abs(counts["h"] - 5000) < 150
    assert abs(counts["n"] - 3500) < 150
    assert abs(counts["l"] - 1500) < 150


def test_two_classes_share_what_the_third_leaves() -> None:
    bench = Bench()
    bench.flow("h", 20_000, "high")
    bench.flow("l", 20_000, "low")
    bench.pulled(2000)
    counts = bench.pulled(6500)
    assert abs(counts["h"] - 5000) < 150


def test_a_class_that_ran_alone_has_its_credit_when_the_others_come() -> None:
    bench = Bench()
    bench.flow("h", 20_000, "high")
    bench.pulled(5000)
    bench.flow("l", 100, "low")
    assert bench.pulled(int(CREDIT)) == {"h": int(CREDIT)}


def test_a_held_flow_is_not_served_and_keeps_its_window() -> None:
    bench = Bench()
    held = bench.flow("held", 10)
    bench.flow("free", 3)
    held.holds = 1
    bench.queue.suspend(held)
    bench.put(held)
    assert bench.queue.waiting == 3
    assert bench.pulled(100) == {"free": 3}
    held.holds = 0
    bench.queue.restore(held)
    assert bench.pulled(100) == {"held": 11}


def test_clearing_gives_the_items_in_the_order_of_service_and_forgets_the_flow_leaves_nothing() -> None:
    bench = Bench()
    flow = bench.flow("one")
    late, early = bench.put(flow, 200.0), bench.put(flow, 100.0)
    assert [item.id for item in bench.queue.clear(flow)] == [early, late]
    assert bench.queue.waiting == 0
    bench.queue.remove(flow)
    assert not bench.queue.buckets
    assert bench.pull() is None


def test_sources_that_change_are_seen_at_once() -> None:
    bench = Bench()
    bench.flow("any", 5)
    bench.queue.resolve(lambda eligibility: ("s9",))
    assert bench.pulled(10, "s1") == {}
    assert bench.pulled(10, "s9") == {"any": 5}
