"""Mail whose domain's TLS policy became known after it was routed, and mail that demands TLS itself: under which route it leaves."""

from pathlib import Path

import msgspec
import pytest

from config.sending import Stream
from gateway.calls import Message
from gateway.core.acceptance import flow_key
from gateway.delivery.route import Host, Route, Routing
from gateway.delivery.security.levels import Security
from gateway.delivery.security.sts_policy import Mode
from gateway.spool.port import UNROUTED
from mail.address import Address
from mail.event import EventKind
from mail.outcome import Category, Deferred, Fault, Phase, Verdict
from mail.reply import Reply
from tests.core.stage import Stage, play, running

HOSTS = (Host("mx.a.test", ("192.0.2.1",)),)
PLAIN = Route("mx.a.test", "a.test", HOSTS)
HELD_TO = Route("mx.a.test;sts", "a.test", HOSTS, security=Security(Mode.ENFORCE, ("mx.a.test",)), proven=True)
UNTRUSTED = Deferred(
    Verdict(Reply(451, "not trusted", "4.7.5", synthetic=True), Category.TLS, Fault.RECEIVER, "tls-not-trusted", Phase.STARTTLS)
)


def learns(stage: Stage) -> None:
    """The router remembers the domain without a policy, and finds one when it is asked."""
    stage.routes.told["a.test"] = PLAIN
    stage.routes.guarded["a.test"] = ""

    async def route(domain: str) -> Routing:
        stage.routes.asked.append(domain)
        stage.routes.told[domain] = HELD_TO
        stage.routes.guarded[domain] = HELD_TO.key
        return HELD_TO

    stage.routes.route = route  # type: ignore[method-assign]


def test_mail_that_was_routed_before_its_domains_policy_was_known_is_routed_anew(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            learns(stage)
            deliveries = await stage.send(*(f"u{number}@a.test" for number in range(20)), "x@b.test")
            await stage.until(lambda: stage.queued() == [])
            assert sorted(stage.tried) == deliveries
            assert stage.core.flows.of_route(HELD_TO.key)
            assert set(stage.routes.asked) == {"a.test"}
            assert stage.stale == []
        attempts = [event.attempt for event in stage.events() if event.kind is EventKind.DELIVERED]
        assert attempts == [1] * 21

    play(scene)


def test_after_a_failure_of_tls_the_route_is_asked_for_anew(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.outcome = lambda delivery: UNTRUSTED
            await stage.send("u@a.test")
            await stage.until(lambda: [queued for queued in stage.queued() if queued.attempts == 1])
            assert stage.queued()[0].flow == UNROUTED

    play(scene)


MESSAGE = Message("shop", "default", Address("n@shop.test", "shop.test"), "shop.test", 0.0, 10)


@pytest.mark.parametrize(
    ("message", "stream", "route", "key"),
    [
        ({}, {}, HELD_TO, "mx.a.test;sts"),
        ({"requiretls": True}, {}, HELD_TO, "mx.a.test;sts!requiretls"),
        ({"requiretls": True}, {}, PLAIN, "mx.a.test!requiretls-unproven"),
        ({"tls_relaxed": True}, {}, HELD_TO, "mx.a.test;sts!relaxed"),
        ({}, {"tls": "verified"}, PLAIN, "mx.a.test!verified"),
        ({"tls_relaxed": True}, {"tls": "required"}, PLAIN, "mx.a.test!required"),
    ],
)
def test_what_mail_demands_is_part_of_its_flow(message, stream, route: Route, key: str) -> None:
    known = msgspec.structs.replace(MESSAGE, **message)
    assert flow_key(known, Stream(name="default", **stream), route).route == key
