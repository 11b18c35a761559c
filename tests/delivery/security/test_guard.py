"""What is published about TLS as the router sees it: names of routes, DNSSEC, records that change, domains that gain and lose a policy."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from config.settings import Settings
from gateway.delivery.resolver import Records, Resolver
from gateway.delivery.route import Route, Router
from gateway.delivery.security.dane import Tlsa
from gateway.delivery.security.levels import Demand
from sandbox.scenario import Name, PolicyHost, Scenario
from tests.delivery.security.internet import SmallInternet, small_internet

PROVIDER = {"name": "host", "mx": [".host.test"], "tls": "verified"}
PIN, OTHER = "TLSA 3 1 1 " + "ab" * 32, "TLSA 3 1 1 " + "cd" * 32


def policy(domain: str, mx: str = "*.host.test", mode: str = "enforce", **fields) -> PolicyHost:
    return PolicyHost(domain=domain, policy=f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n", **fields)


HOSTS = ["MX 10 mx1.host.test.", "MX 20 mx2.host.test."]
DOMAINS = ["plain.test", "also.test", "sts.test", "one.test", "none.test", "testing.test", "signed.test"]
SCENARIO = Scenario(
    name=[
        *(Name(name=domain, records=HOSTS) for domain in DOMAINS),
        Name(name="mx1.host.test", records=["A 127.0.0.1"]),
        Name(name="mx2.host.test", records=["A 127.0.0.2"]),
        Name(name="dane.test", records=["MX 10 mx.dane.test."]),
        Name(name="mx.dane.test", records=["A 127.0.0.3"]),
        Name(name="_25._tcp.mx.dane.test", records=[PIN]),
        Name(name="alias.dane.test", records=["MX 10 also.dane.test."]),
        Name(name="also.dane.test", records=["CNAME mx.dane.test."]),
        Name(name="half.dane.test", records=["MX 10 mx.half.test."]),
        Name(name="mx.half.test", records=["A 127.0.0.4"]),
        Name(name="_25._tcp.mx.half.test", records=[PIN]),
        Name(name="loose.test", records=["MX 10 mx.dane.test."]),
    ],
    signed=["dane.test", "signed.test"],
)
POLICIES = (
    policy("sts.test"),
    policy("one.test", "mx2.host.test"),
    policy("none.test", "mx.elsewhere.test"),
    policy("testing.test", mode="testing"),
)


class Stage:
    def __init__(self, place: SmallInternet) -> None:
        self.place = place
        self.settings = Settings.model_validate({"dns": place.dns.model_dump(), "sending": {"tls": place.trust.model_dump()}})
        self.router = self.made()

    def made(self) -> Router:
        return Router(self.settings, self.place.resolver, "gateway.test", lambda: self.place.now, self.place.restarted())

    async def route(self, domain: str) -> Route:
        found = await self.router.route(domain)
        assert isinstance(found, Route)
        return found

    async def again(self, domain: str) -> Route:
        """The route once the answers of before are old."""
        self.place.now += 4000.0
        return await self.route(domain)


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def stage() -> None:
        async with small_internet(*POLICIES, scenario=SCENARIO) as place:
            await story(Stage(place))

    asyncio.run(stage())


PLAIN = "mx1.host.test,mx2.host.test"


@pytest.mark.parametrize(
    ("domain", "key", "proven"),
    [
        ("plain.test", PLAIN, False),
        ("sts.test", f"{PLAIN};sts", True),
        ("one.test", f"{PLAIN};sts(mx2.host.test)", True),
        ("none.test", f"{PLAIN};sts()", True),
        ("testing.test", f"{PLAIN};sts-testing", True),
        ("signed.test", PLAIN, True),
        ("dane.test", "mx.dane.test;dane", True),
        ("alias.dane.test", "also.dane.test;dane", True),
        ("half.dane.test", "mx.half.test", True),
        ("loose.test", "mx.dane.test", False),
    ],
)
def test_the_name_of_a_route_says_what_is_asked_there(domain: str, key: str, proven: bool) -> None:
    async def story(stage: Stage) -> None:
        route = await stage.route(domain)
        assert (route.key, route.proven) == (key, proven)

    play(story)


def test_domains_without_a_policy_share_one_route_whatever_their_neighbours_publish() -> None:
    async def story(stage: Stage) -> None:
        plain = await stage.route("plain.test")
        for domain in ("sts.test", "one.test", "none.test", "signed.test"):
            await stage.route(domain)
        assert await stage.route("also.test") is plain
        assert stage.router.by_key(PLAIN) is plain
        assert stage.router.guarded.keys() == {"sts.test", "one.test", "none.test"}

    play(story)


def test_an_alias_is_asked_for_under_its_own_name_first() -> None:
    async def story(stage: Stage) -> None:
        route = await stage.route("alias.dane.test")
        dane = route.hosts[0].dane
        assert dane is not None
        assert (dane.base, dane.records) == ("mx.dane.test", (Tlsa(3, 1, 1, b"\xab" * 32),))

    play(story)


def test_a_resolver_that_is_not_trusted_gives_no_dane_and_is_not_asked_for_it() -> None:
    async def story(stage: Stage) -> None:
        distrusted = Resolver(stage.place.dns.model_copy(update={"validating": "no"}), lambda: stage.place.now)
        router = Router(stage.settings, distrusted, "gateway.test", lambda: stage.place.now, stage.place.policies)
        route = await router.route("dane.test")
        assert isinstance(route, Route)
        assert (route.key, route.proven) == ("mx.dane.test", False)
        assert not any(question.endswith("TLSA") for question in stage.place.zone.asked)

    play(story)


def test_records_that_changed_since_the_route_was_made_are_those_that_count() -> None:
    async def story(stage: Stage) -> None:
        route = await stage.route("dane.test")
        stage.place.say(Name(name="_25._tcp.mx.dane.test", records=[OTHER]))
        armed = await stage.router.armed(route)
        assert armed.hosts[0].dane is not None
        assert armed.hosts[0].dane.records == (Tlsa(3, 1, 1, b"\xcd" * 32),)
        assert armed.key == route.key

    play(story)


@pytest.mark.parametrize("name", ["_25._tcp.mx.dane.test", "mx.dane.test"])
def test_answers_that_fail_when_a_connection_is_opened_shut_the_host(name: str) -> None:
    """An attacker who makes a lookup fail must not win a connection without DANE."""

    async def story(stage: Stage) -> None:
        route = await stage.route("dane.test")
        stage.place.say(Name(name=name, trouble="servfail"))
        armed = await stage.router.armed(route)
        assert armed.hosts[0].dane is not None
        assert armed.hosts[0].dane.trouble

    play(story)


def test_an_old_tlsa_answer_is_not_used_while_the_servers_fail() -> None:
    async def story(stage: Stage) -> None:
        await stage.route("dane.test")
        stage.place.zone.replace(Name(name="_25._tcp.mx.dane.test", trouble="servfail"))
        route = await stage.again("dane.test")
        assert route.hosts[0].dane is not None
        assert route.hosts[0].dane.trouble
        assert route.hosts[0].addresses == ("127.0.0.3",)

    play(story)


def test_a_policy_that_comes_and_goes_is_noticed_when_the_domain_is_routed_anew() -> None:
    async def story(stage: Stage) -> None:
        await stage.route("also.test")
        assert "also.test" not in stage.router.guarded
        stage.place.publish(policy("also.test"))
        assert (await stage.again("also.test")).key == f"{PLAIN};sts"
        assert stage.router.guarded["also.test"] == f"{PLAIN};sts"
        stage.place.publish(policy("also.test", mode="none", id="2"))
        assert (await stage.again("also.test")).key == PLAIN
        assert "also.test" not in stage.router.guarded

    play(story)


def test_after_a_restart_domains_with_a_policy_are_guarded_before_they_are_routed() -> None:
    async def story(stage: Stage) -> None:
        await stage.route("sts.test")
        assert stage.made().guarded == {"sts.test": ""}

    play(story)


def test_a_name_with_a_demand_is_the_same_route_with_the_demand() -> None:
    async def story(stage: Stage) -> None:
        route = await stage.route("sts.test")
        found = stage.router.by_key(f"{route.key}!requiretls")
        assert found is not None
        assert (found.key, found.demand, found.hosts) == (route.key, Demand.REQUIRETLS, route.hosts)
        assert stage.router.by_key("mx.unknown.test!requiretls") is None

    play(story)


def test_records_beyond_all_measure_are_cut_and_never_become_absent() -> None:
    async def story(stage: Stage) -> None:
        long = "TLSA 3 0 0 " + "ab" * 20_000
        stage.place.say(Name(name="_25._tcp.mx.dane.test", records=[long, *(f"TLSA 3 1 1 {number:064x}" for number in range(40))]))
        dane = (await stage.route("dane.test")).hosts[0].dane
        assert dane is not None
        assert len(dane.records) == 16
        assert max(len(record.data) for record in dane.records) <= 8192
        texts = ['TXT "v=STSv1; id=1;" "' + "x" * 250 + '"', *(f'TXT "{letter * 255}" "{letter * 255}"' for letter in "abcdefghij")]
        stage.place.say(Name(name="_mta-sts.long.test", records=texts))
        found = (await stage.place.resolver.texts("_mta-sts.long.test")).answer
        assert isinstance(found, Records)
        assert [text[:19] for text in found.texts] == ["v=STSv1; id=1;xxxxx"]

    play(story)


def test_tls_that_a_provider_needs_since_a_reload_holds_for_routes_that_are_known() -> None:
    async def story(stage: Stage) -> None:
        known = [(await stage.route(domain)).key for domain in ("plain.test", "sts.test")]
        tables = stage.settings.model_dump()
        for changed, level in (
            ({"default_provider": {"name": "other", "tls": "required"}}, "required"),
            ({"provider": [PROVIDER]}, "verified"),
        ):
            stage.router.reconfigure(Settings.model_validate(tables | changed))
            assert [route.tls.value for key in known if (route := stage.router.by_key(key)) is not None] == [level] * 2

    play(story)


@pytest.mark.parametrize("name", ["mta-sts.late.test", "_mta-sts.late.test"])
def test_a_policy_that_cannot_be_had_leaves_doubt_for_five_minutes_and_not_for_the_time_of_the_mx(name: str) -> None:
    async def story(stage: Stage) -> None:
        stage.place.say(Name(name="late.test", records=HOSTS))
        stage.place.publish(policy("late.test"))
        stage.place.say(Name(name=name, trouble="servfail"))
        route = await stage.route("late.test")
        assert (route.key, route.proven, route.doubted) == (PLAIN, False, True)
        assert stage.router.by_key(PLAIN) == route
        assert not (await stage.route("plain.test")).doubted
        stage.place.publish(policy("late.test"))
        stage.place.now += 301.0
        route = await stage.route("late.test")
        assert (route.key, route.proven, route.doubted) == (f"{PLAIN};sts", True, False)

    play(story)
