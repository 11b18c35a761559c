"""Demand: which connections are worth opening, and who must end so that others get a turn."""

import math
import time
from collections import Counter

from config.sending import Provider, Sending
from gateway.calls import Lane, Permit
from gateway.traffic.controller import Report
from gateway.traffic.demand import AT_ONCE
from tests.traffic.stage import NOW, Stage, key, settings


def two_connections(**more: object) -> Stage:
    provider = Provider.model_validate({"name": "p", "connections": 2, "rate": None, **more})
    return Stage(settings(provider))


def test_without_work_nothing_is_opened_and_nobody_is_woken() -> None:
    stage = Stage()
    stage.flow(key())
    assert stage.demand() == []
    assert stage.controller.wake(NOW) == math.inf


def test_connections_grow_with_the_backlog_up_to_the_limit() -> None:
    stage = Stage(settings(Provider(name="p", connections=10, rate=None)))
    flow = stage.flow(key())
    opened = []
    for more in (1, 3, 1, 7, 100):
        stage.offer(flow, more)
        stage.open_all()
        opened.append(stage.controller.gauges().connections)
    assert opened == [1, 1, 2, 3, 10]


def test_what_is_not_opened_is_named_again_and_what_is_opened_is_not() -> None:
    stage = Stage()
    stage.flow(key(), 8)
    assert stage.demand() == stage.demand()
    assert len(stage.open_all()) == 2
    assert stage.demand() == []


def test_a_rate_limited_lane_opens_no_more_connections_than_it_has_tokens() -> None:
    stage = Stage(settings(Provider(name="p", connections=10, rate=1.0, burst=2)))
    stage.flow(key(), 100)
    permits = stage.open_all()
    assert len(permits) == 2
    for permit in permits:
        stage.pull(permit)
    assert stage.demand() == []


def test_high_class_work_that_finds_every_connection_busy_gets_one_more() -> None:
    stage = Stage()
    resets = stage.flow(key("", priority="high"), 1)
    (permit,) = stage.open_all()
    stage.pull(permit)
    stage.offer(resets)
    assert len(stage.open_all()) == 1
    stage.offer(resets)
    assert stage.demand() == []


def test_each_eligibility_gets_a_connection_of_a_source_that_may_carry_it() -> None:
    stage = Stage(settings(sources=("s1", "s2", "s3")))
    stage.flow(key("any"), 1)
    stage.flow(key("pinned", only="s3"), 1)
    stage.flow(key("excluded", without=("s1", "s3")), 1)
    sources = {opening.lane.source for opening in stage.demand()}
    assert {"s2", "s3"} <= sources
    stage.open_all()
    assert stage.controller.gauges().connections <= 3


def test_connections_are_spread_over_the_pool_by_weight() -> None:
    stage = Stage(settings(Provider(name="p", connections=20, rate=None), sources=("s1", "s2"), weights={"s1": 1, "s2": 3}))
    stage.flow(key(), 64)
    sources = Counter(opening.lane.source for opening in stage.demand())
    assert sources == {"s1": 4, "s2": 12}


def test_one_call_names_a_bounded_number_and_says_that_there_are_more() -> None:
    stage = Stage(settings(Provider(name="p", connections=500, rate=None), sending=Sending(window=2000)))
    stage.flow(key(), 1000)
    assert len(stage.demand()) == AT_ONCE
    assert stage.controller.wake(NOW) == NOW
    assert len(stage.open_all()) == 250
    assert stage.controller.wake(NOW) == math.inf


def test_an_idle_connection_gives_its_place_to_another_route_at_once() -> None:
    stage = two_connections()
    stage.flow(key(route="mx1"), 2)
    idle = [stage.open(route="mx1"), stage.open(route="mx1")]
    stage.pull(idle[0], 2)
    for permit in idle:
        stage.wait_for(permit)
    stage.flow(key(route="mx2", priority="high"), 1)
    assert stage.demand() == []
    (recalled,) = stage.controller.ready()
    assert stage.closes(recalled)
    stage.close(recalled)
    assert [opening.route for opening in stage.demand()] == ["mx2"]


def test_a_password_reset_gets_a_place_within_seconds_where_newsletters_hold_both_connections() -> None:
    stage = two_connections()
    stage.flow(key("news", "mx1"), 100)
    busy = stage.open_all()
    for permit in busy:
        stage.pull(permit)
    stage.flow(key("", "mx2", "high"), 1)
    assert stage.demand() == []
    recalled = [view.id for view in stage.controller.permits(NOW) if view.recalled]
    assert len(recalled) == 1
    stage.now += 0.5
    assert stage.closes(recalled[0])
    stage.close(recalled[0])
    assert [opening.route for opening in stage.demand()] == ["mx2"]


def test_equal_work_waits_for_the_slice_of_the_longest_holder() -> None:
    stage = two_connections()
    stage.flow(key("news", "mx1"), 200)
    for permit in stage.open_all():
        stage.pull(permit)
    stage.flow(key("news", "mx2"), 1)
    assert stage.demand() == []
    times = []
    while not any(view.recalled for view in stage.controller.permits(stage.now)):
        following = stage.controller.wake(stage.now)
        assert following > stage.now
        times.append(following)
        stage.now = following
        stage.demand()
    assert stage.now == NOW + 10
    assert len(times) <= 3


def test_worse_work_waits_but_is_not_starved_by_better_routes() -> None:
    stage = two_connections()
    for number in range(30):
        stage.flow(key("resets", f"mx{number}", "high"), 6)
    stage.flow(key("bulk", "mxbulk", "low"), 1)
    served_at = None
    while served_at is None and stage.now < NOW + 300:
        for opening in stage.demand():
            permit = stage.controller.open(opening, stage.now)
            if isinstance(permit, Permit) and opening.route == "mxbulk":
                served_at = stage.now
        for view in stage.controller.permits(stage.now):
            items, wait, close = stage.next(view.id)
            if close:
                stage.close(view.id)
            for item in items:
                stage.controller.report(view.id, [Report(item.id, True)], stage.now)
                stage.offer(item.flow)
            assert wait is None
        stage.now += 0.5
    assert served_at is not None
    # Every route of the better class had its slice before; none gets a second one first.
    assert served_at - NOW < 10 * 30 / 2 + 40


def test_when_all_connections_of_the_gateway_are_taken_an_idle_one_makes_room() -> None:
    stage = Stage(settings(sending=Sending(connections=2)))
    stage.flow(key(), 8)
    first, second = stage.open_all()
    stage.pull(first)
    while stage.pull(second):
        pass
    stage.flow(key(provider="q", route="mxq"), 1)
    assert stage.demand() == []
    stage.now += 1.5
    assert stage.demand() == []
    (recalled,) = stage.controller.ready()
    assert stage.closes(recalled)
    stage.close(recalled)
    assert [opening.lane for opening in stage.demand()] == [Lane("s1", "q")]


def test_one_starving_provider_has_one_permit_recalled_however_often_it_is_asked_for() -> None:
    stage = Stage(settings(sending=Sending(connections=4)))
    stage.flow(key(), 100)
    for permit in stage.open_all():
        stage.pull(permit)
    stage.flow(key("", "mxq", "high", "q"), 1)
    for _ in range(10):
        stage.now += 1
        assert stage.demand() == []
    assert sum(1 for view in stage.controller.permits(stage.now) if view.recalled) == 1


def test_demand_is_cheap_with_20000_flows_on_5000_blocked_routes() -> None:
    stage = Stage(settings(Provider(name="p", connections=5, rate=None), sending=Sending(windows=100_000)))
    for number in range(20_000):
        stage.controller.add_flow(number + 1, key(f"c{number}", f"mx{number % 5000}"))
        stage.offer(number + 1)
    permits = stage.open_all()
    assert len(permits) == 5
    begin = time.process_time()
    for _ in range(200):
        stage.now += 0.01
        stage.demand()
    assert (time.process_time() - begin) / 200 < 0.002
    begin = time.process_time()
    for _ in range(200):
        stage.now += 0.2
        permit = permits.pop(0)
        while stage.pull(permit):
            pass
        stage.close(permit)
        permits += stage.open_all()
    assert len({view.route for view in stage.controller.permits(stage.now)}) == 5
    assert (time.process_time() - begin) / 200 < 0.01


def test_a_destination_with_thousands_of_providers_and_few_places_stays_cheap() -> None:
    stage = Stage(settings(sending=Sending(connections=50, windows=100_000)))
    for number in range(5000):
        stage.controller.add_flow(number + 1, key("c", f"mx{number}", provider=f"mx{number}"))
        stage.offer(number + 1)
    assert len(stage.open_all()) == 50
    begin = time.process_time()
    for _ in range(200):
        stage.now += 0.01
        stage.demand()
    assert (time.process_time() - begin) / 200 < 0.002
