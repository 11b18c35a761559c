"""The controller: permits, pulls, tokens, windows, holds, suspensions, and what survives a restart."""

import math
import random
import time

import msgspec
import pytest

from config.sending import Provider, Sending
from gateway.calls import Lane, Opening, Wait
from gateway.spool.port import Hold
from gateway.traffic.controller import Controller, Item, Report
from mail.outcome import Category, Fault
from tests.traffic.stage import LACKING, NOW, REFUSED, TOO_MANY, Stage, key, settings


def limited(rate: float, burst: int = 1, **more: object) -> Stage:
    provider: dict[str, object] = {"name": "p", "connections": 4, "rate": rate, "burst": burst}
    return Stage(settings(Provider.model_validate({**provider, **more})))


def rate_limited(number: int, synthetic: bool = False, fault: Fault = Fault.SENDER_IP) -> Report:
    return Report(number, False, Category.RATE_LIMITED, fault, synthetic, "4.7.28 too much mail from your IP")


# Permits and pulls


def test_what_is_offered_is_handed_out_once_and_in_order() -> None:
    stage = Stage()
    stage.flow(key(), 5)
    permit = stage.open()
    assert [item.id for item in stage.pull(permit, 3) + stage.pull(permit, 9)] == [1, 2, 3, 4, 5]
    assert stage.wait_for(permit).why == "idle"


def test_an_unknown_permit_is_told_to_close_and_its_reports_do_nothing() -> None:
    stage = Stage()
    assert stage.closes(99)
    stage.controller.report(99, [Report(1, True)], NOW)
    item = Item(1, 1, NOW, NOW)
    assert stage.controller.unused(99, [item], NOW) == [item]
    assert stage.close(99) == []


def test_a_connection_ends_after_its_messages() -> None:
    stage = Stage(settings(Provider(name="p", rate=None, messages_per_connection=3)))
    stage.flow(key(), 10)
    permit = stage.open()
    assert len(stage.pull(permit, 5)) == 3
    assert stage.closes(permit)


def test_a_connection_without_work_is_kept_for_the_idle_time_and_then_closed() -> None:
    stage = Stage(settings(Provider(name="p", rate=None, idle=5)))
    stage.flow(key())
    permit = stage.open()
    wait = stage.wait_for(permit)
    assert wait == Wait(NOW + 5, "idle")
    assert stage.controller.wake(NOW) == NOW + 5
    stage.now = NOW + 3
    assert stage.wait_for(permit).until == NOW + 5
    stage.now = NOW + 5
    stage.demand()
    assert stage.controller.ready() == [permit]
    assert stage.closes(permit)
    stage.close(permit)
    assert stage.controller.wake(stage.now) == math.inf


def test_work_that_comes_calls_exactly_one_idle_permit_for_each_message() -> None:
    stage = Stage()
    flow = stage.flow(key())
    permits = [stage.open(), stage.open(), stage.open()]
    for permit in permits:
        stage.wait_for(permit)
    stage.offer(flow, 2)
    assert stage.controller.ready() == permits[:2]
    stage.offer(flow, 1)
    assert stage.controller.ready() == permits[2:]
    assert stage.controller.ready() == []


def test_a_permit_is_renewed_and_a_late_one_is_not_punished() -> None:
    stage = Stage()
    stage.flow(key(), 2)
    permit = stage.open()
    stage.now += 60
    assert len(stage.pull(permit)) == 1
    assert stage.controller.permits(stage.now)[0].until == stage.now + 10


def test_never_more_connections_than_the_lane_allows() -> None:
    stage = Stage()
    stage.flow(key(), 100)
    for _ in range(4):
        stage.open()
    assert isinstance(stage.controller.open(Opening(Lane("s1", "p"), "mx"), NOW), Wait)


def test_never_more_connections_than_the_gateway_allows() -> None:
    stage = Stage(settings(sending=Sending(connections=2)))
    stage.flow(key(), 100)
    stage.flow(key(provider="q", route="mxq"), 100)
    assert len(stage.open_all()) == 2
    assert isinstance(stage.controller.open(Opening(Lane("s1", "p"), "mx"), NOW), Wait)


def test_nothing_is_opened_for_an_unknown_route_or_source() -> None:
    stage = Stage()
    stage.flow(key(), 1)
    assert isinstance(stage.controller.open(Opening(Lane("s1", "p"), "elsewhere"), NOW), Wait)
    assert isinstance(stage.controller.open(Opening(Lane("gone", "p"), "mx"), NOW), Wait)


def test_what_was_never_reported_is_given_to_the_caller_at_the_close() -> None:
    stage = Stage()
    stage.flow(key(), 3)
    permit = stage.open()
    first, second = stage.pull(permit, 2)
    stage.controller.report(permit, [Report(first.id, True)], NOW)
    assert stage.close(permit) == [second]
    assert stage.controller.gauges().out == 0


# Tokens


def test_each_message_takes_a_token_and_the_wait_names_the_time_of_the_next() -> None:
    stage = limited(rate=2.0, burst=3)
    stage.flow(key(), 10)
    permit = stage.open()
    assert len(stage.pull(permit, 9)) == 3
    wait = stage.wait_for(permit)
    assert wait.why == "rate"
    assert wait.until == pytest.approx(NOW + 0.5)
    stage.now = wait.until
    assert len(stage.pull(permit, 9)) == 1


def test_what_will_not_be_tried_is_gone_and_its_token_returns() -> None:
    stage = limited(rate=1.0, burst=2)
    stage.flow(key(), 3)
    permit = stage.open()
    first, second = stage.pull(permit, 2)
    stage.controller.untried(permit, first, NOW)
    stage.controller.untried(permit, first, NOW)
    stage.controller.untried(99, second, NOW)
    assert [item.id for item in stage.pull(permit, 2)] == [3]
    (view,) = stage.controller.lanes(NOW)
    assert (view.handed, view.tokens, view.refused) == (2, 0, 0)


def test_what_is_returned_unused_comes_first_again_and_its_token_with_it() -> None:
    stage = limited(rate=1.0, burst=2)
    stage.flow(key(), 3)
    permit = stage.open()
    items = stage.pull(permit, 2)
    assert stage.controller.unused(permit, items, NOW) == []
    assert [item.id for item in stage.pull(permit, 2)] == [1, 2]
    assert stage.controller.unused(permit, items[1:], NOW) == []
    assert stage.controller.unused(permit, items[1:], NOW) == items[1:]
    (view,) = stage.controller.lanes(NOW)
    assert view.handed == 1
    assert view.tokens == 1


def test_a_token_that_returns_calls_the_first_in_line() -> None:
    stage = limited(rate=1.0, burst=1)
    stage.flow(key(), 9)
    first, second, third = stage.open(), stage.open(), stage.open()
    items = stage.pull(first)
    assert [stage.wait_for(second).until, stage.wait_for(third).until] == pytest.approx([NOW + 1, NOW + 2])
    stage.controller.unused(first, items, NOW)
    assert stage.controller.ready() == [second]
    assert stage.wait_for(first).until == pytest.approx(NOW + 2)
    assert stage.pull(second)


def test_a_newcomer_leaves_the_token_to_who_stands_in_line() -> None:
    stage = limited(rate=1.0, burst=1)
    stage.flow(key(), 9)
    first, second, third = stage.open(), stage.open(), stage.open()
    stage.pull(first)
    stage.wait_for(second)
    stage.now += 1
    assert stage.wait_for(third).until == pytest.approx(NOW + 2)
    assert stage.pull(second)


def test_who_does_not_come_in_time_loses_its_place() -> None:
    stage = limited(rate=1.0, burst=1)
    stage.flow(key(), 9)
    first, second, third = stage.open(), stage.open(), stage.open()
    stage.pull(first)
    stage.wait_for(second)
    stage.now += 4
    assert stage.pull(third)


def test_better_work_takes_the_next_token_though_worse_work_waits_longer() -> None:
    stage = limited(rate=1.0, burst=1)
    stage.flow(key("news", "mx1"), 9)
    resets = stage.flow(key("", "mx2", "high"))
    news = [stage.open(route="mx1"), stage.open(route="mx1")]
    reset = stage.open(route="mx2")
    stage.pull(news[0])
    stage.wait_for(reset)
    assert stage.wait_for(news[0]).until == pytest.approx(NOW + 1)
    assert stage.wait_for(news[1]).until == pytest.approx(NOW + 2)
    stage.offer(resets)
    assert stage.controller.ready() == [reset]
    assert stage.wait_for(reset).until == pytest.approx(NOW + 1)
    stage.now += 1
    assert stage.wait_for(news[0]).until > stage.now
    assert [item.flow for item in stage.pull(reset)] == [resets]


def test_better_work_on_the_same_route_improves_the_place_of_a_waiting_permit() -> None:
    stage = limited(rate=1.0, burst=1)
    stage.flow(key("news", "mx1"), 9)
    stage.flow(key("news", "mx2"), 9)
    resets = stage.flow(key("", "mx2", "high"))
    first, second = stage.open(route="mx1"), stage.open(route="mx2")
    stage.pull(first)
    stage.wait_for(first)
    assert stage.wait_for(second).until == pytest.approx(NOW + 2)
    stage.offer(resets)
    assert stage.controller.ready() == [second]
    assert stage.wait_for(second).until == pytest.approx(NOW + 1)


def test_a_long_wait_for_a_token_ends_the_connection() -> None:
    stage = limited(rate=1 / 3600, burst=1)
    stage.flow(key(), 2)
    permit = stage.open()
    assert stage.pull(permit)
    assert stage.closes(permit)


def test_an_unknown_provider_has_the_default_limits_and_its_own_lanes() -> None:
    configured = settings()
    configured = configured.model_copy(update={"default_provider": Provider(name="default", connections=1, rate=1.0, burst=1)})
    stage = Stage(configured)
    stage.flow(key(provider="mx.one", route="mx.one"), 8)
    stage.flow(key(provider="mx.two", route="mx.two"), 8)
    assert sorted(opening.lane.provider for opening in stage.demand()) == ["mx.one", "mx.two"]
    for permit in stage.open_all():
        assert len(stage.pull(permit, 5)) == 1


def test_limits_survive_an_orderly_restart_and_a_crash() -> None:
    stage = limited(rate=0.01, burst=5)
    stage.flow(key(), 9)
    assert len(stage.pull(stage.open(), 3)) == 3
    for horizon, left in ((0.0, 2), (30.0, 0)):
        again = limited(rate=0.01, burst=5)
        again.controller.restore(stage.controller.export(NOW, horizon), NOW + 1)
        again.now = NOW + 1
        again.flow(key(), 9)
        assert len(again.pull(again.open(), 9)) == left


# Windows


def test_windows_are_bounded_and_what_does_not_fit_is_refused() -> None:
    stage = Stage(settings(sending=Sending(window=10)))
    flow = stage.flow(key())
    assert stage.controller.room(flow) == 10
    assert stage.offer(flow, 15) == 10
    assert stage.controller.room(flow) == 0
    assert stage.controller.room(99) == 0
    assert not stage.controller.offer(Item(1, 99, NOW, NOW), NOW)


def test_what_is_not_due_is_not_taken() -> None:
    stage = Stage()
    flow = stage.flow(key())
    assert not stage.controller.offer(Item(1, flow, NOW + 86_400, NOW + 60), NOW)


def test_many_full_flows_leave_room_for_a_new_one_and_most_for_the_best_class() -> None:
    stage = Stage(settings(sending=Sending(window=200, windows=1000)))
    for number in range(300):
        stage.offer(stage.flow(key(f"c{number}", priority="low")), 200)
    assert stage.controller.gauges().waiting <= 900
    assert stage.offer(stage.flow(key("normal")), 5) >= 1
    assert stage.offer(stage.flow(key("high", priority="high")), 5) == 5
    for number in range(1000):
        stage.offer(stage.flow(key(f"h{number}", priority="high")), 200)
    assert stage.controller.gauges().waiting == 1000


def test_withdrawing_empties_a_window_and_only_then_a_flow_is_dropped() -> None:
    stage = Stage()
    flow = stage.flow(key(), 3)
    with pytest.raises(ValueError, match="3 deliveries"):
        stage.controller.drop_flow(flow)
    assert [item.id for item in stage.controller.withdraw(flow)] == [1, 2, 3]
    assert stage.demand() == []
    stage.controller.drop_flow(flow)
    stage.controller.drop_flow(flow)
    assert stage.controller.withdraw(flow) == []
    assert stage.controller.flows(NOW) == []


def test_a_dropped_flow_ends_idle_connections_and_its_returned_items_are_the_callers() -> None:
    stage = Stage()
    flow = stage.flow(key(), 1)
    busy, idle = stage.open(), stage.open()
    items = stage.pull(busy)
    stage.wait_for(idle)
    stage.controller.drop_flow(flow)
    assert stage.controller.ready() == [idle]
    assert stage.closes(idle)
    assert stage.controller.unused(busy, items, NOW) == items
    for permit in (busy, idle):
        stage.close(permit)
    stage.now += 3600
    stage.demand()
    assert stage.controller.lanes(stage.now) == []
    gauges = stage.controller.gauges()
    assert (gauges.connections, gauges.waiting, gauges.out, gauges.flows, gauges.lanes, gauges.timers) == (0, 0, 0, 0, 0, 0)


# Holds


@pytest.mark.parametrize(
    ("hold", "served"),
    [
        (Hold(1, NOW, campaign="one"), {2}),
        (Hold(1, NOW, campaign="one", account="acme"), {2}),
        (Hold(1, NOW, campaign="one", account="other"), {1, 2}),
        (Hold(1, NOW, account="acme"), set()),
        (Hold(1, NOW, stream="news"), set()),
        (Hold(1, NOW, provider="p"), set()),
        (Hold(1, NOW, provider="q"), {1, 2}),
        (Hold(1, NOW, domain="example.com"), {1, 2}),
        (Hold(1, NOW, source="s2"), {1, 2}),
        (Hold(1, NOW), {1, 2}),
    ],
)
def test_a_hold_stops_the_flows_that_match_every_field_it_names(hold: Hold, served: set[int]) -> None:
    stage = Stage()
    stage.flow(key("one"), 3)
    stage.flow(key("two"), 3)
    permit = stage.open()
    stage.controller.hold(hold)
    assert {item.flow for item in stage.pull(permit, 9)} == served
    stage.controller.unhold(hold.id)
    assert {item.flow for item in stage.pull(permit, 9)} == {1, 2} - served
    stage.controller.unhold(hold.id)


def test_a_held_flow_has_no_room_and_a_new_flow_is_held_from_its_start() -> None:
    stage = Stage()
    stage.controller.hold(Hold(1, NOW, campaign="c"))
    flow = stage.flow(key("c"))
    assert stage.controller.room(flow) == 0
    wait = stage.controller.blocked(flow, NOW)
    assert wait is not None
    assert wait.why == "held"
    stage.controller.unhold(1)
    assert stage.controller.room(flow) > 0


def test_two_holds_on_one_flow_must_both_go() -> None:
    stage = Stage()
    stage.flow(key("c"), 3)
    stage.controller.hold(Hold(1, NOW, campaign="c"))
    stage.controller.hold(Hold(2, NOW, account="acme"))
    stage.controller.unhold(1)
    assert stage.demand() == []
    stage.controller.unhold(2)
    assert stage.demand() != []


def test_a_hold_with_an_end_ends_by_itself() -> None:
    stage = Stage()
    stage.flow(key("c"), 3)
    stage.controller.hold(Hold(1, NOW, until=NOW + 60, campaign="c"))
    assert stage.demand() == []
    assert stage.controller.wake(NOW) == NOW + 60
    stage.now += 60
    assert stage.demand() != []


def test_work_released_from_a_hold_calls_idle_permits() -> None:
    stage = Stage()
    stage.flow(key("c"), 3)
    permit = stage.open()
    stage.controller.hold(Hold(1, NOW, campaign="c"))
    stage.wait_for(permit)
    stage.controller.unhold(1)
    assert stage.controller.ready() == [permit]


def test_a_held_source_closes_its_connections_and_opens_none_until_it_is_released() -> None:
    stage = Stage(settings(sources=("s1", "s2")))
    stage.flow(key("c", only="s1"), 3)
    other = stage.open("s2")
    idle = stage.open("s1")
    stage.pull(idle, 9)
    stage.wait_for(idle)
    stage.controller.hold(Hold(1, NOW, source="s1"))
    assert stage.controller.ready() == [idle]
    assert stage.closes(idle)
    stage.close(idle)
    stage.offer(1, 1)
    assert stage.demand() == []
    assert not stage.closes(other)
    stage.controller.unhold(1)
    assert [opening.lane.source for opening in stage.demand()] == ["s1"]


def test_holding_a_campaign_of_20000_flows_takes_less_than_100_ms() -> None:
    stage = Stage(settings(sending=Sending(windows=100_000)))
    for number in range(20_000):
        stage.controller.add_flow(number + 1, key("c", f"mx{number % 2000}"))
        stage.offer(number + 1)
    times = []
    for step in (lambda: stage.controller.hold(Hold(1, NOW, campaign="c")), lambda: stage.controller.unhold(1)):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    assert max(times) < 0.1, times


# Suspensions


def test_a_suspended_lane_closes_its_connections_and_opens_again_by_itself() -> None:
    stage = Stage()
    flow = stage.flow(key(), 3)
    permit = stage.open()
    stage.controller.suspend(Lane("s1", "p"), NOW + 60, "by hand", NOW)
    assert stage.closes(permit)
    stage.close(permit)
    assert stage.demand() == []
    assert stage.controller.wake(NOW) == NOW + 60
    assert stage.controller.blocked(flow, NOW) == Wait(NOW + 60, "by hand")
    assert stage.controller.open(Opening(Lane("s1", "p"), "mx"), NOW) == Wait(NOW + 60, "by hand")
    stage.now += 60
    assert len(stage.demand()) == 1
    assert stage.controller.blocked(flow, stage.now) is None


def test_a_resumed_lane_opens_at_once() -> None:
    stage = Stage()
    stage.flow(key(), 3)
    stage.controller.suspend(Lane("s1", "p"), math.inf, "by hand", NOW)
    assert stage.demand() == []
    assert stage.controller.wake(NOW) < math.inf
    stage.controller.resume(Lane("s1", "p"))
    stage.controller.resume(Lane("s1", "nowhere"))
    assert len(stage.demand()) == 1


def test_a_delivery_waits_for_the_earliest_of_its_lanes() -> None:
    stage = Stage(settings(sources=("s1", "s2")))
    flow = stage.flow(key(), 3)
    stage.controller.suspend(Lane("s1", "p"), NOW + 60, "one", NOW)
    stage.controller.suspend(Lane("s2", "p"), NOW + 30, "two", NOW)
    assert stage.demand() == []
    assert stage.controller.wake(NOW) == NOW + 30
    assert stage.controller.blocked(flow, NOW) == Wait(NOW + 30, "two")


def test_a_rate_reply_pauses_the_lane_with_growing_jittered_pauses_that_end() -> None:
    stage = Stage()
    stage.flow(key(), 100)
    lengths = []
    for _ in range(8):
        (permit,) = stage.open_all()[:1]
        (item,) = stage.pull(permit)
        stage.controller.report(permit, [rate_limited(item.id)], stage.now)
        (view,) = stage.controller.lanes(stage.now)
        lengths.append(view.suspended_until - stage.now)
        assert view.cause is not None
        assert "4.7.28" in view.cause.text
        assert view.allowed == 1
        for open_permit in stage.controller.permits(stage.now):
            assert stage.closes(open_permit.id)
            stage.close(open_permit.id)
        assert stage.demand() == []
        stage.now = stage.controller.wake(stage.now)
    assert 30 <= lengths[0] <= 60
    assert 60 <= lengths[1] <= 120
    assert 900 <= lengths[-1] <= 1800


def test_after_a_pause_one_connection_proves_the_lane_and_then_the_others_return() -> None:
    stage = Stage()
    stage.flow(key(), 40)
    permit = stage.open()
    first, second = stage.pull(permit, 2)
    stage.controller.report(permit, [rate_limited(first.id), rate_limited(second.id)], NOW)
    stage.close(permit)
    stage.demand()
    stage.now = stage.controller.wake(NOW)
    (prover,) = stage.open_all()
    (item,) = stage.pull(prover)
    assert stage.demand() == []
    stage.controller.report(prover, [Report(item.id, True)], stage.now)
    assert len(stage.open_all()) == 3


@pytest.mark.parametrize(
    "report",
    [
        rate_limited(1, synthetic=True),
        rate_limited(1, fault=Fault.RECIPIENT),
        Report(1, False, Category.GREYLISTED, Fault.RECEIVER, False, "4.2.0"),
        Report(1, False, Category.BAD_MAILBOX, Fault.RECIPIENT, False, "5.1.1"),
        Report(1, False, Category.NETWORK, Fault.NETWORK, True, "timeout"),
    ],
)
def test_refusals_that_are_not_about_us_and_our_own_replies_pause_nothing(report: Report) -> None:
    stage = Stage()
    stage.flow(key(), 3)
    permit = stage.open()
    stage.pull(permit)
    stage.controller.report(permit, [report], NOW)
    assert stage.pull(permit)


# Routes that cannot be reached


def fail_once(stage: Stage, route: str = "mx") -> None:
    permit = stage.open(route=route)
    stage.close(permit, REFUSED)


def test_a_route_that_cannot_be_reached_pauses_after_three_failures_and_other_routes_go_on() -> None:
    stage = Stage()
    flow = stage.flow(key(), 30)
    stage.flow(key(route="mx2"), 1)
    for _ in range(3):
        assert "mx" in {opening.route for opening in stage.demand()}
        fail_once(stage)
    assert {opening.route for opening in stage.demand()} == {"mx2"}
    wait = stage.controller.blocked(flow, NOW)
    assert wait is not None
    assert NOW + 30 <= wait.until <= NOW + 60
    stage.now = wait.until
    assert [opening.route for opening in stage.demand()].count("mx") == 1


def test_pauses_of_a_route_grow_to_a_bound_and_one_good_reply_forgets_them() -> None:
    stage = Stage()
    flow = stage.flow(key(), 30)
    lengths = []
    for _ in range(12):
        while (wait := stage.controller.blocked(flow, stage.now)) is None:
            fail_once(stage)
        lengths.append(wait.until - stage.now)
        stage.now = wait.until
    assert lengths[-1] <= 3600
    assert lengths[-1] >= 1800
    permit = stage.open()
    (item,) = stage.pull(permit)
    assert stage.demand() == []
    stage.controller.report(permit, [Report(item.id, False, Category.BAD_MAILBOX, Fault.RECIPIENT, False, "5.1.1")], stage.now)
    assert len(stage.open_all()) == 3
    fail_once_more = stage.controller.permits(stage.now)[-1].id
    stage.close(fail_once_more, REFUSED)
    assert stage.controller.blocked(flow, stage.now) is None


def test_failures_of_connections_that_were_under_way_count_as_one_pause() -> None:
    stage = Stage()
    flow = stage.flow(key(), 30)
    permits = [stage.open() for _ in range(4)]
    for permit in permits:
        stage.close(permit, REFUSED)
    wait = stage.controller.blocked(flow, NOW)
    assert wait is not None
    assert wait.until <= NOW + 60


def test_a_greeting_that_speaks_of_our_ip_pauses_the_lane_and_not_the_route() -> None:
    stage = Stage()
    stage.flow(key(), 1)
    stage.flow(key(route="mx2"), 1)
    stage.close(stage.open(), TOO_MANY)
    assert stage.demand() == []
    (view,) = stage.controller.lanes(NOW)
    assert view.suspended_until > NOW
    assert "too many connections" in view.why


def test_a_source_that_the_machine_does_not_have_rests_at_once_and_other_sources_go_on() -> None:
    stage = Stage(settings(sources=("s1", "s2")))
    stage.flow(key(), 40)
    stage.close(stage.open("s1"), LACKING)
    stage.close(stage.open("s2"))
    assert {opening.lane.source for opening in stage.demand()} == {"s2"}
    view = next(view for view in stage.controller.lanes(NOW) if view.lane.source == "s1")
    assert NOW + 60 <= view.suspended_until <= NOW + 120
    assert "cannot send from it" in view.why
    stage.now = view.suspended_until
    again = [opening for opening in stage.demand() if opening.lane.source == "s1"]
    assert len(again) == 1, "one connection finds out whether the address is back"
    (item,) = stage.pull(stage.open("s1"))
    permit = next(view.id for view in stage.controller.permits(stage.now) if view.lane.source == "s1")
    stage.controller.report(permit, [Report(item.id, True)], stage.now)
    assert next(view for view in stage.controller.lanes(stage.now) if view.lane.source == "s1").allowed == 4


# Weights


def test_a_source_ahead_of_its_weight_is_passed_over_while_another_has_room() -> None:
    stage = Stage(settings(Provider(name="p", rate=None, burst=5), sources=("s1", "s2")))
    stage.flow(key(), 100)
    first, second = stage.open("s1"), stage.open("s2")
    assert len(stage.pull(first, 50)) == 5
    assert stage.wait_for(first).why == "weight"
    assert len(stage.pull(second)) == 1
    assert stage.controller.ready() == [first]
    assert len(stage.pull(first, 50)) == 1


def test_a_source_ahead_of_its_weight_is_served_when_no_other_has_room() -> None:
    stage = Stage(settings(Provider(name="p", rate=None, burst=5), sources=("s1", "s2")))
    stage.flow(key(), 100)
    first = stage.open("s1")
    stage.controller.suspend(Lane("s2", "p"), NOW + 60, "by hand", NOW)
    assert len(stage.pull(first, 50)) == 50
    stage.now += 60
    second = stage.open("s2")
    assert stage.wait_for(first).why == "weight"
    assert len(stage.pull(second, 50)) <= 12


def test_a_source_that_makes_no_progress_is_not_waited_for() -> None:
    stage = Stage(settings(Provider(name="p", rate=None, burst=5, idle=60), sources=("s1", "s2")))
    stage.flow(key(), 100)
    first = stage.open("s1")
    stage.open("s2")
    assert len(stage.pull(first, 50)) == 5
    wait = stage.wait_for(first)
    assert wait.until <= NOW + 1
    stage.now += 3
    assert len(stage.pull(first, 50)) == 50


# Configuration


def test_new_settings_hold_at_once() -> None:
    stage = Stage(settings(sources=("s1", "s2")))
    stage.flow(key(), 100)
    one, two = stage.open("s1"), stage.open("s2")
    stage.pull(one)
    stage.controller.reconfigure(settings(Provider(name="p", connections=1, rate=5.0, burst=2), sources=("s2",)), NOW)
    assert stage.closes(one)
    assert len(stage.pull(two, 10)) == 2
    stage.close(one)
    assert isinstance(stage.controller.open(Opening(Lane("s2", "p"), "mx"), NOW), Wait)
    assert isinstance(stage.controller.open(Opening(Lane("s1", "p"), "mx"), NOW), Wait)


def test_a_flow_whose_sources_are_all_excluded_waits_and_says_so() -> None:
    stage = Stage()
    flow = stage.flow(key(without=("s1",)), 1)
    assert stage.controller.eligible(key(without=("s1",))) == ()
    assert stage.demand() == []
    wait = stage.controller.blocked(flow, NOW)
    assert wait is not None
    assert "excluded" in wait.why


def test_views_can_be_sent() -> None:
    stage = limited(rate=1.0)
    stage.flow(key(), 3)
    permit = stage.open()
    stage.pull(permit)
    controller = stage.controller
    assert msgspec.json.encode([controller.lanes(NOW), controller.flows(NOW), controller.permits(NOW), controller.gauges()])


def test_the_same_seed_gives_the_same_decisions() -> None:
    def pauses() -> list[float]:
        controller = Controller(settings(), random.Random(3))
        controller.add_flow(1, key())
        permit = controller.open(Opening(Lane("s1", "p"), "mx"), NOW)
        assert not isinstance(permit, Wait)
        controller.closed(permit.id, TOO_MANY, "mx", NOW)
        return [view.suspended_until for view in controller.lanes(NOW)]

    assert pauses() == pauses()
