"""MTA-STS policies over time: found, kept through failures and restarts, refreshed, replaced and ended. The test holds the clock."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.delivery.security.sts_policies import REFRESH_SECONDS, REFRESHED_AT_ONCE, RETRY_SECONDS
from gateway.delivery.security.sts_policy import Mode, Policy
from sandbox.scenario import PolicyHost
from tests.delivery.security.internet import ENFORCE, SmallInternet, small_internet

TESTING = ENFORCE.replace("enforce", "testing")
GOOD = PolicyHost(domain="a.test", policy=ENFORCE)
DEAD = PolicyHost(domain="a.test", policy=ENFORCE, listening=False)
MONTH = ENFORCE.replace("86400", "2592000")
DAY = 86_400.0


def play(story: Callable[[SmallInternet], Awaitable[None]], *hosts: PolicyHost, **trust: Any) -> None:
    async def stage() -> None:
        async with small_internet(*hosts, **trust) as place:
            await story(place)

    asyncio.run(stage())


def mode(policy: Policy | None) -> Mode | None:
    return None if policy is None else policy.mode


def test_a_policy_is_fetched_once_and_then_known() -> None:
    async def story(place: SmallInternet) -> None:
        found = await asyncio.gather(*(place.policies.of("a.test") for _ in range(20)))
        assert {mode(policy) for policy in found} == {Mode.ENFORCE}
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE
        assert place.server.asked["a.test"] == 1
        assert place.observer.results == [("a.test", "ok")]

    play(story, GOOD)


def test_a_domain_without_a_record_is_not_asked_for_a_policy() -> None:
    async def story(place: SmallInternet) -> None:
        assert await place.policies.of("a.test") is None
        assert place.server.asked["a.test"] == 0

    play(story, PolicyHost(domain="a.test", policy=ENFORCE, id=""))


def test_switched_off_nobody_is_asked() -> None:
    async def story(place: SmallInternet) -> None:
        assert await place.policies.of("a.test") is None
        assert place.zone.asked == {}

    play(story, GOOD, mta_sts=False)


def test_a_restart_keeps_enforcement_when_record_and_host_are_gone() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.publish(PolicyHost(domain="a.test", id="", listening=False))
        restarted = place.restarted()
        assert restarted.domains() == ["a.test"]
        assert mode(await restarted.of("a.test")) is Mode.ENFORCE

    play(story, GOOD)


def test_a_policy_ends_with_its_age_and_not_before() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.publish(PolicyHost(domain="a.test", id="", listening=False))
        place.now += DAY - 1
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE
        place.now += 2
        assert await place.policies.of("a.test") is None
        assert place.notes == {}

    play(story, GOOD)


def test_a_new_id_brings_the_new_policy_and_a_failing_host_leaves_the_old_one() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.publish(PolicyHost(domain="a.test", policy=TESTING, id="2", trouble="garbage"))
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE
        place.publish(PolicyHost(domain="a.test", policy=TESTING, id="2"))
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE  # not asked again so soon
        place.now += RETRY_SECONDS + 1
        assert mode(await place.policies.of("a.test")) is Mode.TESTING
        assert place.observer.results == [("a.test", "ok"), ("a.test", "sts-policy-invalid"), ("a.test", "ok")]

    play(story, GOOD)


def test_a_policy_that_says_none_ends_enforcement() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.publish(PolicyHost(domain="a.test", policy=ENFORCE.replace("enforce", "none"), id="2"))
        assert await place.policies.of("a.test") is None
        assert place.policies.domains() == []

    play(story, GOOD)


def test_a_first_policy_that_cannot_be_had_is_tried_again_after_five_minutes() -> None:
    async def story(place: SmallInternet) -> None:
        assert await place.policies.of("a.test") is None
        place.publish(GOOD)
        assert await place.policies.of("a.test") is None
        place.now += RETRY_SECONDS + 1
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE

    play(story, DEAD)


@pytest.mark.parametrize(
    ("trouble", "result"),
    [
        ("hang", "sts-policy-fetch-error"),
        ("too-long", "sts-policy-fetch-error"),
        ("redirect", "sts-policy-fetch-error"),
        ("missing", "sts-policy-fetch-error"),
        ("html", "sts-policy-invalid"),
        ("garbage", "sts-policy-invalid"),
    ],
)
def test_every_way_to_answer_badly_is_told_and_gives_no_policy(trouble, result: str) -> None:
    async def story(place: SmallInternet) -> None:
        assert await place.policies.of("a.test") is None
        assert place.observer.results == [("a.test", result)]

    play(story, PolicyHost(domain="a.test", policy=ENFORCE, trouble=trouble), policy_timeout=0.3)


def test_what_is_in_use_is_refreshed_daily_and_what_is_not_ends() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.now += REFRESH_SECONDS + 1
        await place.policies.of("a.test")
        await place.policies.tend()
        assert place.server.asked["a.test"] == 2
        place.now += 31 * DAY
        await place.policies.tend()
        assert (place.server.asked["a.test"], place.policies.domains()) == (2, [])

    play(story, PolicyHost(domain="a.test", policy=MONTH))


def test_a_refresh_that_fails_changes_nothing() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        place.publish(DEAD)
        place.now += DAY / 2 + 1
        await place.policies.tend()
        assert mode(await place.policies.of("a.test")) is Mode.ENFORCE

    play(story, GOOD)


def test_dead_hosts_do_not_keep_others_from_being_refreshed() -> None:
    dead = [PolicyHost(domain=f"d{number}.test", policy=MONTH) for number in range(REFRESHED_AT_ONCE)]

    async def story(place: SmallInternet) -> None:
        for host in (*dead, GOOD):
            await place.policies.of(host.domain)
            place.now += 1
        for host in dead:
            place.publish(host.model_copy(update={"trouble": "missing"}))
        place.now += REFRESH_SECONDS
        for _ in range(2):
            await place.policies.tend()
        assert [place.server.asked[host.domain] for host in (*dead, GOOD)] == [2] * (len(dead) + 1)

    play(story, *dead, PolicyHost(domain="a.test", policy=MONTH))


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    hosts = [PolicyHost(domain=f"d{number}.test", policy=ENFORCE) for number in range(12)]

    async def story(place: SmallInternet) -> None:
        for host in hosts:
            place.now += 1
            assert mode(await place.policies.of(host.domain)) is Mode.ENFORCE
        assert place.policies.fullness == (10, 10)
        assert set(place.policies.domains()) == {host.domain for host in hosts[2:]}
        assert set(place.restarted().domains()) == {host.domain for host in hosts[2:]}

    play(story, *hosts, policies=10)


def test_a_damaged_note_is_told_and_its_policies_are_found_anew() -> None:
    async def story(place: SmallInternet) -> None:
        await place.policies.of("a.test")
        (key,) = place.notes
        for damage in (b"\xff\xff", place.notes[key][:-3], msgspec.msgpack.encode([1, 2])):
            place.notes[key] = damage
            restarted = place.restarted()
            assert mode(await restarted.of("a.test")) is Mode.ENFORCE
        assert len(place.observer.damaged) == 3

    play(story, GOOD)
