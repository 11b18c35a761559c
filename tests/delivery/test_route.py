"""The resolver's cache and the router, against a real name server on loopback."""

import asyncio
import contextlib

import dns.name
import pytest
import uvloop

from config.sending import Dns, Provider, RouteTls, Source, StaticRoute
from config.settings import Settings
from config.submission import Listener
from gateway.delivery.resolver import Missing, Mx, Records, Resolver, Trouble
from gateway.delivery.route import Route, Router, Unroutable
from mail.outcome import Category, Deferred, Failed, Fault
from sandbox.dns import NameServer, Zone
from sandbox.scenario import Name, Scenario

NAMES = [
    Name(name="two.example", ttl=100, records=["MX 20 mx2.two.example.", "MX 10 mx1.two.example."]),
    Name(name="mx1.two.example", records=["A 8.8.8.8", "AAAA 2a00:1450::8"]),
    Name(name="mx2.two.example", records=["A 8.8.4.4"]),
    Name(name="hosted-a.example", records=["MX 10 mx1.two.example.", "MX 20 mx2.two.example."]),
    Name(name="implicit.example", records=["A 9.9.9.9"]),
    Name(name="six.example", records=["AAAA 2a00:1450::9"]),
    Name(name="null.example", records=["MX 0 ."]),
    Name(name="empty.example", records=["TXT hello"]),
    Name(name="inside.example", records=["MX 10 mx.inside.example."]),
    Name(name="mx.inside.example", records=["A 10.0.0.1", "A 127.0.0.1"]),
    Name(name="half.example", records=["MX 10 mx.inside.example.", "MX 20 mx2.two.example."]),
    Name(name="ours.example", records=["MX 10 gateway.example.", "MX 20 mx2.two.example."]),
    Name(name="backup.example", records=["MX 10 mx1.two.example.", "MX 20 gateway.example.", "MX 30 mx2.two.example."]),
    Name(name="ouraddress.example", records=["MX 10 alias.example."]),
    Name(name="alias.example", records=["A 9.9.9.1"]),
    Name(name="broken.example", trouble="servfail"),
    Name(name="silent.example", trouble="hang"),
    Name(name="deadhost.example", records=["MX 10 gone.example."]),
    Name(name="sickhost.example", records=["MX 10 broken.example."]),
    Name(name="literal.example", records=["MX 10 8.8.8.8."]),
    Name(name="large.example", records=[f"MX {n} mx{n}.with-a-rather-long-name.large.example." for n in range(1, 41)]),
    *[Name(name=f"mx{n}.with-a-rather-long-name.large.example", records=["A 8.8.8.8"]) for n in range(1, 41)],
    Name(name="smart.example", records=["A 127.0.0.1"]),
    Name(name="cname.example", records=["CNAME two.example."]),
]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def named(**known):
    """A resolver for the zone, its clock, the zone, and what the resolver's observer heard."""
    zone = Zone(Scenario(provider=[], name=NAMES), {})
    server = NameServer(zone)
    port = await server.start()
    clock = Clock()
    heard: list[str] = []
    resolver = Resolver(Dns(servers=[f"127.0.0.1:{port}"], timeout=known.pop("timeout", 0.3), **known), clock, heard.append)
    try:
        yield resolver, clock, zone, heard
    finally:
        await resolver.close()
        await server.stop()


def configured(**known) -> Settings:
    return Settings(
        provider=[Provider(name="tworks", mx=[".two.example"], tls=RouteTls.REQUIRED)],
        listener=[Listener(address="9.9.9.1:2525")],
        **known,
    )


def route(domain: str, **known):
    async def find():
        async with named() as (resolver, clock, _, _):
            return await Router(configured(**known), resolver, "gateway.example", clock).route(domain)

    return asyncio.run(find())


def failed(domain: str, **known):
    found = route(domain, **known)
    assert isinstance(found, Unroutable), found
    outcome = found.outcome
    assert isinstance(outcome, Deferred | Failed)
    assert outcome.verdict.reply.synthetic
    return type(outcome), outcome.verdict.reply.enhanced, outcome.verdict.category, outcome.verdict.fault


# The resolver


def test_answers_are_remembered_for_their_time_and_asked_again_after_it() -> None:
    async def play() -> None:
        async with named() as (resolver, clock, zone, heard):
            found = await resolver.mx("two.example")
            assert found.answer == Records(mx=(Mx(10, "mx1.two.example"), Mx(20, "mx2.two.example")))
            assert found.until == clock.now + 100
            clock.now += 99
            await resolver.mx("two.example")
            assert zone.asked["two.example. MX"] == 1
            clock.now += 2
            await resolver.mx("two.example")
            assert zone.asked["two.example. MX"] == 2
            assert heard == ["asked", "hit", "asked"]

    asyncio.run(play())


def test_equal_questions_in_flight_are_asked_once_and_a_cancelled_asker_harms_nobody() -> None:
    async def play() -> None:
        async with named() as (resolver, _, zone, _):
            askers = [asyncio.create_task(resolver.mx("two.example")) for _ in range(50)]
            await asyncio.sleep(0)
            askers[0].cancel()
            answers = await asyncio.gather(*askers, return_exceptions=True)
            assert isinstance(answers[0], asyncio.CancelledError)
            assert all(not isinstance(answer, BaseException) for answer in answers[1:])
            assert zone.asked["two.example. MX"] == 1
            assert resolver.flying == 0

    asyncio.run(play())


def test_a_missing_name_is_remembered_too() -> None:
    async def play() -> None:
        async with named(negative_ttl=30) as (resolver, clock, zone, _):
            found = await resolver.mx("nowhere.example")
            assert isinstance(found.answer, Missing)
            assert found.until == clock.now + 30
            await resolver.mx("nowhere.example")
            assert zone.asked["nowhere.example. MX"] == 1

    asyncio.run(play())


def test_while_servers_fail_an_old_answer_is_used_until_it_is_too_old() -> None:
    async def play() -> None:
        async with named(stale=1000) as (resolver, clock, zone, heard):
            fresh = await resolver.mx("two.example")
            zone._trouble[dns.name.from_text("two.example")] = "servfail"
            clock.now += 200
            assert (await resolver.mx("two.example")).answer == fresh.answer
            assert heard[-1] == "stale"
            asked = zone.asked["two.example. MX"]
            assert (await resolver.mx("two.example")).answer == fresh.answer
            assert zone.asked["two.example. MX"] == asked, "a failing server is not asked for every message"
            clock.now += 1000
            assert isinstance((await resolver.mx("two.example")).answer, Trouble)

    asyncio.run(play())


@pytest.mark.parametrize("name", ["broken.example", "silent.example"])
def test_servers_that_fail_or_hang_are_trouble_in_bounded_time(name: str) -> None:
    async def play() -> None:
        async with named() as (resolver, _, _, _):
            async with asyncio.timeout(2):
                assert isinstance((await resolver.mx(name)).answer, Trouble)

    asyncio.run(play())


def test_the_cache_has_a_bound() -> None:
    async def play() -> None:
        async with named(cache_entries=100) as (resolver, _, _, _):
            await asyncio.gather(*(resolver.mx(f"n{number}.nowhere.example") for number in range(150)))
            assert resolver.fullness == (100, 100)

    asyncio.run(play())


def test_an_answer_too_large_for_a_datagram_comes_over_tcp() -> None:
    found = route("large.example")
    assert isinstance(found, Route)
    assert len(found.hosts) == 16


def test_with_no_server_that_answers_everything_is_trouble() -> None:
    async def play() -> None:
        resolver = Resolver(Dns(servers=["127.0.0.1:9"], timeout=0.1), Clock())
        assert isinstance((await resolver.mx("two.example")).answer, Trouble)

    asyncio.run(play())


# The router


def test_a_domain_goes_to_its_mx_in_order_of_preference() -> None:
    found = route("two.example")
    assert isinstance(found, Route)
    assert [(host.name, host.addresses, host.preference) for host in found.hosts] == [
        ("mx1.two.example", ("8.8.8.8",), 10),
        ("mx2.two.example", ("8.8.4.4",), 20),
    ]
    assert found.key == "mx1.two.example,mx2.two.example"
    assert (found.provider, found.tls, found.port) == ("tworks", RouteTls.REQUIRED, 25)


def test_ipv6_addresses_are_kept_only_where_a_source_has_one() -> None:
    found = route("two.example", source=[Source(name="default", address6="2a00:1450::77")])
    assert isinstance(found, Route)
    assert found.hosts[0].addresses == ("8.8.8.8", "2a00:1450::8")
    assert failed("six.example") == (Failed, "5.4.4", Category.ROUTING, Fault.RECEIVER)


def test_a_domain_without_mx_is_its_own_host() -> None:
    found = route("implicit.example")
    assert isinstance(found, Route)
    assert (found.key, found.hosts[0].addresses, found.provider) == ("implicit.example", ("9.9.9.9",), "implicit.example")


def test_a_cname_is_followed() -> None:
    found = route("cname.example")
    assert isinstance(found, Route)
    assert found.key == "mx1.two.example,mx2.two.example"


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("null.example", (Failed, "5.1.10", Category.BAD_DOMAIN, Fault.RECIPIENT)),
        ("nowhere.example", (Failed, "5.1.2", Category.BAD_DOMAIN, Fault.RECIPIENT)),
        ("empty.example", (Failed, "5.1.2", Category.BAD_DOMAIN, Fault.RECIPIENT)),
        ("inside.example", (Failed, "5.4.6", Category.ROUTING, Fault.RECEIVER)),
        ("ours.example", (Failed, "5.4.6", Category.LOOP, Fault.CONFIG)),
        ("ouraddress.example", (Failed, "5.4.6", Category.LOOP, Fault.CONFIG)),
        ("deadhost.example", (Failed, "5.4.4", Category.ROUTING, Fault.RECEIVER)),
        ("literal.example", (Failed, "5.4.4", Category.ROUTING, Fault.RECEIVER)),
        ("broken.example", (Deferred, "4.4.3", Category.ROUTING, Fault.NETWORK)),
        ("silent.example", (Deferred, "4.4.3", Category.ROUTING, Fault.NETWORK)),
        ("sickhost.example", (Deferred, "4.4.3", Category.ROUTING, Fault.NETWORK)),
        ("[192.0.2.1]", (Failed, "5.1.2", Category.ROUTING, Fault.RECIPIENT)),
    ],
)
def test_what_leads_nowhere_says_why(domain: str, expected: tuple) -> None:
    assert failed(domain) == expected


def test_a_refused_address_leaves_the_other_hosts() -> None:
    found = route("half.example")
    assert isinstance(found, Route)
    assert found.key == "mx2.two.example"


def test_only_hosts_preferred_to_ourselves_are_used() -> None:
    found = route("backup.example")
    assert isinstance(found, Route)
    assert found.key == "mx1.two.example"


def test_private_addresses_are_used_where_the_sandbox_allows_them() -> None:
    async def play() -> None:
        async with named() as (resolver, clock, _, _):
            settings = configured(dns=Dns(allow_private=True, port=2600))
            found = await Router(settings, resolver, "gateway.example", clock).route("inside.example")
            assert isinstance(found, Route)
            assert (found.hosts[0].addresses, found.port, found.loopback_ok) == (("10.0.0.1", "127.0.0.1"), 2600, True)

    asyncio.run(play())


def test_names_are_resolved_on_uvloop_too() -> None:
    async def play() -> None:
        async with named() as (resolver, clock, _, _):
            router = Router(configured(), resolver, "gateway.example", clock)
            assert isinstance(await router.route("two.example"), Route)
            assert isinstance(await router.route("large.example"), Route)

    uvloop.run(play())


def test_domains_with_the_same_hosts_share_one_route() -> None:
    async def play() -> None:
        async with named() as (resolver, clock, _, _):
            router = Router(configured(), resolver, "gateway.example", clock)
            assert await router.route("two.example") is await router.route("hosted-a.example")
            assert router.fullness[0] == 2

    asyncio.run(play())


def test_cached_tells_what_is_fresh_and_by_key_refreshes_what_is_old() -> None:
    async def play() -> None:
        async with named() as (resolver, clock, zone, _):
            router = Router(configured(), resolver, "gateway.example", clock)
            assert router.cached("two.example") is None
            router.prefetch("two.example")
            found = await router.route("two.example")
            assert isinstance(found, Route)
            assert router.cached("two.example") is found
            await asyncio.gather(*router._refreshing.values())
            clock.now += 150
            assert router.cached("two.example") is None
            assert router.by_key(found.key) is found
            assert router.by_key("unknown") is None
            await asyncio.gather(*router._refreshing.values())
            assert router.cached("two.example") is found
            assert zone.asked["two.example. MX"] == 2
            await router.close()

    asyncio.run(play())


STATICS = [
    StaticRoute(domain="*", host="smart.example", port=2600, provider="relay"),
    StaticRoute(domain="*.deep.example", host="192.0.2.1", tls=RouteTls.NONE),
    StaticRoute(domain="*.very.deep.example", host="192.0.2.2"),
    StaticRoute(domain="deep.example", host="[2001:db8::1]", port=26),
    StaticRoute(domain="astray.example", host="nowhere.example"),
    StaticRoute(domain="self.example", host="9.9.9.1", port=2525),
]


@pytest.mark.parametrize(
    ("domain", "key", "provider", "address"),
    [
        ("deep.example", "static:2001:db8::1:26", "smarthost", "2001:db8::1"),
        ("a.deep.example", "static:192.0.2.1:25:none", "smarthost", "192.0.2.1"),
        ("a.very.deep.example", "static:192.0.2.2:25", "smarthost", "192.0.2.2"),
        ("two.example", "static:smart.example:2600", "relay", "127.0.0.1"),
        ("nowhere.example", "static:smart.example:2600", "relay", "127.0.0.1"),
        ("[192.0.2.1]", "static:smart.example:2600", "relay", "127.0.0.1"),
    ],
)
def test_static_routes_go_before_mx_and_the_nearest_one_wins(domain: str, key: str, provider: str, address: str) -> None:
    found = route(domain, route=STATICS)
    assert isinstance(found, Route)
    assert (found.key, found.provider, found.hosts[0].addresses, found.loopback_ok) == (key, provider, (address,), True)


def test_static_routes_to_one_host_share_connections_only_where_they_want_the_same_tls() -> None:
    wanted = {"clear": RouteTls.NONE, "usual": RouteTls.OPPORTUNISTIC, "given": None, "strict": RouteTls.REQUIRED}
    statics = [StaticRoute(domain=f"{name}.example", host="192.0.2.1", tls=tls) for name, tls in wanted.items()]
    keys = {}
    for name in wanted:
        found = route(f"{name}.example", route=statics)
        assert isinstance(found, Route)
        keys[name] = found.key
    assert keys["usual"] == keys["given"]
    assert len(set(keys.values())) == 3


def test_a_static_route_that_leads_nowhere_or_to_us_waits_for_the_operator() -> None:
    assert failed("astray.example", route=STATICS) == (Deferred, "4.4.4", Category.ROUTING, Fault.CONFIG)
    assert failed("self.example", route=STATICS) == (Deferred, "4.4.6", Category.LOOP, Fault.CONFIG)
