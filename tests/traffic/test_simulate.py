"""A day of traffic in seconds: limits, shares, weights, latency and progress, seen from the outside."""

import random
from bisect import bisect_left
from collections import Counter, defaultdict

import pytest

from config.sending import Pool, Provider, Sending, Source
from config.settings import Settings
from gateway.calls import Lane
from gateway.spool.port import Hold
from gateway.traffic.controller import Controller, Report
from gateway.traffic.simulate import Handed, Receivers, Simulation
from mail.outcome import Category, Fault, Verdict
from tests.traffic.stage import NOW, REFUSED, key, settings

HOUR = 3600.0


def simulation(configured: Settings, receivers: Receivers | None = None) -> Simulation:
    return Simulation(Controller(configured, random.Random(5)), receivers or Receivers(), NOW)


def most_in_window(times: list[float], seconds: float) -> int:
    return max((bisect_left(times, first + seconds) - number for number, first in enumerate(times)), default=0)


def assert_within_rate(handed: list[Handed], rate: float, burst: int) -> None:
    by_lane: dict[Lane, list[float]] = defaultdict(list)
    for one in handed:
        by_lane[one.lane].append(one.at)
    for times in by_lane.values():
        for seconds in (0.5, 1.0, 10.0, 60.0, 600.0, 3600.0):
            assert most_in_window(times, seconds) <= burst + rate * seconds + 1


def test_a_day_with_every_kind_of_trouble_keeps_every_limit_and_loses_nothing() -> None:
    chance = random.Random(1)

    def reply(handed: Handed) -> Report:
        luck = chance.random()
        if luck < 0.0005:
            return Report(handed.item, False, Category.RATE_LIMITED, Fault.SENDER_IP, False, "too fast")
        if luck < 0.05:
            return Report(handed.item, False, Category.BAD_MAILBOX, Fault.RECIPIENT, False, "no such user")
        return Report(handed.item, True)

    def refuses(lane: Lane, route: str, now: float) -> Verdict | None:
        return REFUSED if route == "mx3" and (now - NOW) % 7200 < 3600 else None

    configured = Settings(
        provider=[
            Provider(name="p", connections=4, rate=0.1, burst=5, messages_per_connection=20),
            Provider(name="q", connections=2, rate=0.05, burst=2, messages_per_connection=5),
        ],
        source=[Source(name="s1"), Source(name="s2")],
        pool=[Pool(name="default", members={"s1": 1, "s2": 2})],
    )
    day = simulation(configured, Receivers(reply=reply, refuses_connection=refuses, message_seconds=lambda *_: 0.2 + chance.random()))
    controller = day.controller
    flows = 0
    for provider in ("p", "q"):
        for route in ("mx1", "mx2", "mx3"):
            for campaign, priority in (("a", "normal"), ("b", "low"), ("", "high")):
                flows += 1
                controller.add_flow(flows, key(campaign, route, priority, provider))
                day.add_backlog(flows, 60 if priority == "high" else 3000)
    day.at(NOW + 2 * HOUR, lambda: controller.hold(Hold(1, day.now, until=NOW + 3 * HOUR, campaign="a")))
    day.at(NOW + 4 * HOUR, lambda: controller.suspend(Lane("s1", "p"), NOW + 6 * HOUR, "by hand", day.now))
    day.run(NOW + 24 * HOUR)

    assert_within_rate([one for one in day.handed if one.lane.provider == "p"], 0.1, 5)
    assert_within_rate([one for one in day.handed if one.lane.provider == "q"], 0.05, 2)
    assert all(most <= (4 if lane.provider == "p" else 2) for lane, most in day.most_connections.items())
    assert len({one.item for one in day.handed}) == len(day.handed)
    gauges = controller.gauges()
    assert len(day.handed) + sum(day.backlog.values()) + gauges.waiting == 2 * 3 * 6060
    # It used most of what was allowed: pauses and holds cost some.
    assert len(day.handed) > 0.7 * (2 * 24 * HOUR * 0.15)
    held = [one for one in day.handed if controller.flows(day.now)[one.flow - 1].key.campaign == "a" and 2 * HOUR < one.at - NOW < 3 * HOUR]
    assert held == []
    suspended = [one for one in day.handed if one.lane == Lane("s1", "p") and 4 * HOUR < one.at - NOW < 6 * HOUR]
    assert suspended == []
    assert day.wakes < 3 * len(day.handed)


def test_an_hourly_quota_leaves_smoothly() -> None:
    day = simulation(settings(Provider(name="p", connections=10, rate=1.0, burst=1)))
    day.controller.add_flow(1, key())
    day.add_backlog(1, 4000)
    day.run(NOW + HOUR)
    assert 3590 <= len(day.handed) <= 3601
    assert most_in_window([one.at for one in day.handed], 1.0) <= 2


def test_a_fast_lane_fills_its_connections() -> None:
    day = simulation(settings(Provider(name="p", connections=5, rate=None, messages_per_connection=1000)))
    day.controller.add_flow(1, key())
    day.add_backlog(1, 100_000)
    day.run(NOW + 100)
    assert len(day.handed) > 0.95 * 5 * 100 / 0.2


@pytest.mark.parametrize("weights", [{"s1": 1, "s2": 1}, {"s1": 1, "s2": 4}, {"s1": 1, "s2": 2, "s3": 3}])
def test_sources_carry_by_weight(weights: dict[str, int]) -> None:
    day = simulation(settings(Provider(name="p", connections=4, rate=None, burst=5), sources=weights, weights=weights))
    day.controller.add_flow(1, key())
    day.controller.add_flow(2, key("d"))
    day.add_backlog(1, 50_000)
    day.add_backlog(2, 50_000)
    day.run(NOW + 300)
    carried = Counter(one.lane.source for one in day.handed)
    for source, weight in weights.items():
        assert carried[source] / len(day.handed) == pytest.approx(weight / sum(weights.values()), rel=0.05)
    # The heaviest lane was never kept waiting for the others.
    assert carried["s2" if "s3" not in weights else "s3"] > 0.85 * 4 * 300 / 0.2


def test_a_stuck_source_does_not_stop_its_pool() -> None:
    slow = Receivers(message_seconds=lambda lane, route, now: 600.0 if lane.source == "s1" else 0.2)
    day = simulation(settings(Provider(name="p", connections=4, rate=None, burst=5), sources=("s1", "s2")), slow)
    day.controller.add_flow(1, key())
    day.add_backlog(1, 100_000)
    day.run(NOW + 300)
    assert Counter(one.lane.source for one in day.handed)["s2"] > 0.9 * 4 * 300 / 0.2


def test_classes_share_a_lane_as_reserved_and_campaigns_share_equally() -> None:
    day = simulation(settings(Provider(name="p", connections=3, rate=5.0, burst=5)))
    names = [("r", "high"), ("a", "normal"), ("b", "normal"), ("z", "low")]
    for number, (campaign, priority) in enumerate(names, 1):
        day.controller.add_flow(number, key(campaign, priority=priority))
        day.add_backlog(number, 50_000)
    day.run(NOW + 2 * HOUR)
    counts = Counter(one.flow for one in day.handed)
    parts = [counts[number] / len(day.handed) for number in (1, 2, 3, 4)]
    assert parts == pytest.approx([0.5, 0.175, 0.175, 0.15], abs=0.01)


def test_password_resets_overtake_a_large_campaign_on_a_slow_lane() -> None:
    day = simulation(settings(Provider(name="p", connections=2, rate=0.5, burst=1)))
    controller = day.controller
    for number in range(1, 21):
        controller.add_flow(number, key("news", f"mx{number}"))
        day.add_backlog(number, 500)
    controller.add_flow(21, key("", "mxreset", "high"))
    for minute in range(1, 50):
        day.at(NOW + 60 * minute, lambda: day.add_backlog(21, 1))
    day.run(NOW + HOUR)
    waits = [one.waited for one in day.handed if one.flow == 21]
    assert len(waits) == 49
    assert max(waits) < 6.0
    routes = Counter(one.flow for one in day.handed if one.flow != 21)
    assert len(routes) == 20
    assert min(routes.values()) > 20


def test_many_routes_share_the_two_connections_of_a_lane_and_none_starves() -> None:
    day = simulation(settings(Provider(name="p", connections=2, rate=None)))
    for number in range(1, 41):
        day.controller.add_flow(number, key("news", f"mx{number}"))
        day.add_backlog(number, 5 if number > 2 else 100_000)
    day.run(NOW + 600)
    counts = Counter(one.flow for one in day.handed)
    assert all(counts[number] == 5 for number in range(3, 41))
    assert day.most_connections == {Lane("s1", "p"): 2}
    assert len(day.handed) > 0.7 * 2 * 600 / 0.2


def test_a_slow_lane_that_many_routes_want_opens_no_connection_in_vain() -> None:
    opened = 0

    def connect(lane: Lane, route: str, now: float) -> float:
        nonlocal opened
        opened += 1
        return 0.1

    day = simulation(settings(Provider(name="p", connections=10, rate=0.1, burst=1)), Receivers(connect_seconds=connect))
    for number in range(1, 51):
        day.controller.add_flow(number, key("news", f"mx{number}"))
        day.add_backlog(number, 100)
    day.run(NOW + HOUR)
    assert len(day.handed) >= 355
    assert opened <= 2 * len(day.handed)
    assert day.wakes < 5 * len(day.handed)


def test_a_queue_that_nobody_may_serve_wakes_nobody() -> None:
    day = simulation(settings())
    day.controller.add_flow(1, key())
    day.controller.suspend(Lane("s1", "p"), NOW + HOUR, "by hand", NOW)
    day.controller.add_flow(2, key("held"))
    day.controller.hold(Hold(1, NOW, campaign="held"))
    day.add_backlog(1, 100)
    day.run(NOW + HOUR - 1)
    assert day.wakes == 0
    day.run(NOW + 2 * HOUR)
    assert len(day.handed) == 100
    assert day.wakes < 40


def test_a_route_that_is_down_is_tried_rarely_and_its_neighbours_are_not_disturbed() -> None:
    tries = 0

    def refuses(lane: Lane, route: str, now: float) -> Verdict | None:
        nonlocal tries
        tries += route == "down"
        return REFUSED if route == "down" else None

    day = simulation(settings(Provider(name="p", connections=2, rate=None)), Receivers(refuses_connection=refuses))
    day.controller.add_flow(1, key("news", "down"))
    day.controller.add_flow(2, key("news", "up"))
    day.add_backlog(1, 500)
    day.add_backlog(2, 100_000)
    day.run(NOW + HOUR)
    assert 5 < tries < 15
    assert len(day.handed) > 0.9 * 2 * HOUR / 0.2


def test_windows_stay_within_their_bound_while_thousands_of_flows_have_backlogs() -> None:
    day = simulation(settings(Provider(name="p", connections=20, rate=None), sending=Sending(windows=500, connections=40)))
    most = 0
    for number in range(1, 2001):
        day.controller.add_flow(number, key(f"c{number}", f"mx{number % 50}"))
        day.add_backlog(number, 3)
        most = max(most, day.controller.gauges().waiting)
    day.run(NOW + 60)
    assert most <= 500
    assert day.handed
