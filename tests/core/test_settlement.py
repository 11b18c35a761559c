"""What each action of the refusal table makes of a delivery: the change for the spool and the event, decided together."""

import random
from typing import Any

import msgspec
import pytest

from config.settings import Settings
from gateway.calls import AttemptFacts, Lane, Message, Settlement
from gateway.core.flows import FlowRegistry, Streams
from gateway.core.held import Held
from gateway.core.settlement import EXCLUSION, SAME_SOURCE_GRACE, Settled, Settler
from gateway.spool.lifecycle import State
from gateway.spool.port import UNROUTED, FlowKey, NewFlow
from mail.address import Address
from mail.event import Event, EventKind, unseal
from mail.identity import to_text
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Outcome, Phase, Unsure, Verdict
from mail.reply import Reply

NOW = 1_800_000_000.0
DELIVERY = 12_345_678_901_234
SETTINGS = Settings.model_validate(
    {
        "source": [{"name": "one"}, {"name": "two"}, {"name": "three"}],
        "pool": [{"name": "default", "members": {"one": 1, "two": 1, "three": 1}}],
        "stream": [{"name": "default", "retry": {"jitter": 0}}, {"name": "careful", "unsure": "fail"}],
    }
)
KEY = FlowKey("google", "mx.google.test", "default", "shop", "default", "spring")


class Desk:
    """A settler, and one delivery on it."""

    def __init__(self, key: FlowKey | None = KEY, stream: str = "default", **known: Any) -> None:
        self.flows = FlowRegistry([NewFlow(1, KEY)], lambda flow: None)
        self.settler = Settler(Streams(SETTINGS), self.flows, random.Random(1), "node-1")
        message = Message(
            account="shop",
            stream=stream,
            sender=Address("news@shop.test", "shop.test"),
            from_domain="shop.test",
            received_at=NOW - 60,
            size=1000,
            id=7,
            campaign="spring",
            message_id="<7@shop.test>",
        )
        flow = UNROUTED if key is None else self.flows.number(key)
        self.held = Held(DELIVERY, message, Address("zoe@gmail.test", "gmail.test"), "b+1@gateway.test", flow, NOW + 259_140.0, **known)

    def settle(self, outcome: Outcome, source: str = "one") -> Settled:
        facts = AttemptFacts(NOW - 1, NOW, Lane(source, "google"), "mx.google.test", "mx.google.test", "192.0.2.1:25", "TLSv1.3 X")
        return self.settler.settle(self.held, Settlement(DELIVERY, outcome, facts), NOW)

    def key(self, settled: Settled) -> FlowKey:
        return self.flows.key(settled.change.flow)


def refused(code: int, category: Category, fault: Fault, text: str = "no") -> Outcome:
    verdict = Verdict(Reply(code, text, f"{code // 100}.7.1"), category, fault, "a-rule", Phase.RCPT)
    return Failed(verdict) if code >= 500 else Deferred(verdict)


LOST = Unsure(Verdict(Reply(451, "lost", "4.4.2", synthetic=True), Category.NETWORK, Fault.NETWORK, "unsure", Phase.DOT))


def event_of(settled: Settled) -> Event:
    return unseal(settled.change.events[0])


def test_a_delivery_ends_with_an_event_that_has_all_the_facts() -> None:
    settled = Desk(attempts=2).settle(Delivered(Reply(250, "taken", "2.0.0")))
    assert (settled.change.state, settled.change.attempts, settled.next_due) == (State.DELIVERED, 3, 0.0)
    event = event_of(settled)
    name = to_text(DELIVERY)
    assert (event.id, event.delivery, event.kind, event.attempt) == (f"{name}.3", name, EventKind.DELIVERED, 3)
    assert (event.account, event.stream, event.campaign, event.message_id) == ("shop", "default", "spring", "<7@shop.test>")
    assert (event.provider, event.source, event.host, event.code, event.enhanced) == ("google", "one", "mx.google.test", 250, "2.0.0")
    assert not event.duplicate_possible


@pytest.mark.parametrize(
    ("category", "fault", "hard"),
    [
        (Category.BAD_MAILBOX, Fault.RECIPIENT, True),
        (Category.MOVED, Fault.RECIPIENT, True),
        (Category.INACTIVE_MAILBOX, Fault.RECIPIENT, False),
        (Category.MAILBOX_FULL, Fault.RECIPIENT, False),
        (Category.CONTENT, Fault.CONTENT, False),
        (Category.POLICY, Fault.UNKNOWN, False),
    ],
)
def test_a_permanent_refusal_fails_and_only_a_dead_address_is_suppressed(category: Category, fault: Fault, hard: bool) -> None:
    settled = Desk().settle(refused(550, category, fault))
    event = event_of(settled)
    assert (settled.change.state, settled.became, event.kind) == (State.FAILED, EventKind.BOUNCED, EventKind.BOUNCED)
    assert (event.hard, event.suppression_proposed) == (hard, hard)
    assert settled.counted_by_breaker == (category in (Category.CONTENT, Category.POLICY))


def test_a_deferral_uses_a_step_and_keeps_the_flow() -> None:
    delays = []
    for steps in range(4):
        settled = Desk(steps=steps, attempts=steps).settle(refused(452, Category.MAILBOX_FULL, Fault.RECIPIENT))
        change = settled.change
        assert (change.state, change.steps, change.attempts, change.flow) == (State.QUEUED, steps + 1, steps + 1, -1)
        assert event_of(settled).next_attempt_at == change.due == settled.next_due
        delays.append(change.due - NOW)
    assert delays == [300.0, 600.0, 1200.0, 2400.0]


def test_a_host_out_of_reach_loses_its_route() -> None:
    settled = Desk().settle(refused(451, Category.NETWORK, Fault.NETWORK))
    assert (settled.change.flow, settled.change.steps, settled.change.unleased) == (UNROUTED, 1, False)


def test_a_delivery_that_never_had_a_route_is_deferred_unleased() -> None:
    settled = Desk(key=None).settle(refused(451, Category.ROUTING, Fault.NETWORK))
    assert (settled.change.unleased, settled.change.flow, settled.change.steps) == (True, -1, 1)


@pytest.mark.parametrize("category", [Category.RATE_LIMITED, Category.IP_REPUTATION])
def test_a_lane_that_must_slow_down_costs_no_step(category: Category) -> None:
    change = Desk(steps=3).settle(refused(421, category, Fault.SENDER_IP)).change
    assert (change.state, change.steps, change.flow, change.sources_tried) == (State.QUEUED, 3, -1, 0)
    assert NOW + 60 <= change.due <= NOW + 61


def test_greylisting_binds_to_the_source_until_an_hour_after_the_retry() -> None:
    desk = Desk(key=msgspec.structs.replace(KEY, without=("three",)))
    settled = desk.settle(refused(451, Category.GREYLISTED, Fault.RECEIVER), source="two")
    assert settled.change.due == NOW + 300
    assert desk.key(settled) == msgspec.structs.replace(KEY, only="two")
    assert settled.change.eligible_until == settled.change.due + SAME_SOURCE_GRACE


@pytest.mark.parametrize("category", [Category.RATE_LIMITED, Category.IP_REPUTATION])
def test_an_ip_that_is_refused_is_excluded_and_another_source_tries_at_once(category: Category) -> None:
    desk = Desk(key=msgspec.structs.replace(KEY, only="two"))
    settled = desk.settle(refused(550, category, Fault.SENDER_IP), source="two")
    assert desk.key(settled) == msgspec.structs.replace(KEY, without=("two",))
    change = settled.change
    assert (change.due, change.steps, change.sources_tried, change.eligible_until) == (NOW, 0, 1, NOW + EXCLUSION)
    assert event_of(settled).kind is EventKind.DEFERRED


@pytest.mark.parametrize(
    ("key", "tried"),
    [(KEY, 2), (msgspec.structs.replace(KEY, without=("two", "three")), 1), (msgspec.structs.replace(KEY, pool="gone"), 0)],
)
def test_after_two_changes_or_with_no_source_left_it_fails_as_our_fault(key: FlowKey, tried: int) -> None:
    settled = Desk(key=key, sources_tried=tried).settle(refused(550, Category.IP_REPUTATION, Fault.UNKNOWN))
    event = event_of(settled)
    assert (settled.change.state, event.fault, event.hard, event.suppression_proposed) == (State.FAILED, "sender-ip", False, False)


def test_a_lost_reply_is_retried_once_and_marks_every_later_event() -> None:
    first = Desk().settle(LOST)
    assert (first.change.state, first.change.unsure, first.change.due) == (State.QUEUED, 1, NOW + 900)
    assert event_of(first).duplicate_possible
    assert event_of(Desk(unsure=1).settle(Delivered(Reply(250, "taken")))).duplicate_possible
    second = Desk(unsure=1).settle(LOST)
    assert (second.change.state, event_of(second).suppression_proposed) == (State.FAILED, False)
    assert Desk(stream="careful").settle(LOST).change.state is State.FAILED


def test_at_the_end_of_its_life_a_deferral_expires_with_the_last_reply() -> None:
    desk = Desk(steps=9)
    desk.held.expires = NOW + 10
    desk.held.message = msgspec.structs.replace(desk.held.message, received_at=NOW - 259_190.0)
    settled = desk.settle(refused(452, Category.MAILBOX_FULL, Fault.RECIPIENT, "over quota"))
    event = event_of(settled)
    assert (settled.change.state, settled.became, event.kind) == (State.EXPIRED, EventKind.EXPIRED, EventKind.EXPIRED)
    assert (event.category, event.diagnostic, event.suppression_proposed, event.hard) == ("mailbox-full", "over quota", False, False)


def test_ends_without_an_attempt_have_an_id_of_their_own() -> None:
    desk = Desk(attempts=3)
    for settled, kind, state in (
        (desk.settler.expire(desk.held, NOW), EventKind.EXPIRED, State.EXPIRED),
        (desk.settler.cancel(desk.held, "wrong price", NOW), EventKind.CANCELLED, State.CANCELLED),
    ):
        event = event_of(settled)
        assert (event.id, event.kind, settled.change.state) == (f"{to_text(DELIVERY)}.x", kind, state)
        assert not event.suppression_proposed
