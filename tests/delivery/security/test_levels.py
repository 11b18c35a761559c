"""The table that decides how TLS must be, row by row."""

import pytest

from config.sending import RouteTls
from gateway.delivery.security.dane import Dane, Tlsa
from gateway.delivery.security.demand import demand_of, demanded, tag, undemanded
from gateway.delivery.security.levels import Demand, Security, Shut, Way, Ways, ways
from gateway.delivery.security.result import Result
from gateway.delivery.security.sts_policy import Mode

HOST = "mx.test"
NONE, FREE, REQUIRED, VERIFIED = RouteTls
CLEAR, ENCRYPTED, CERTIFICATE, DANE = Way
PINNED = Dane(HOST, (Tlsa(3, 1, 1, b"x" * 32),))
UNUSABLE = Dane(HOST)
BOGUS = Dane(HOST, trouble="bogus")
ENFORCE, TESTING = Security(Mode.ENFORCE, (HOST,)), Security(Mode.TESTING, (HOST,))
OTHERS, TRIED = Security(Mode.ENFORCE, ("else.test",)), Security(Mode.TESTING, ("else.test",))
SIGNED = Security(dane=True)
NOTHING, RELAXED, REQUIRETLS = Demand.NOTHING, Demand.RELAXED, Demand.REQUIRETLS

ROWS = [
    # configured, demand, published, DANE: ways, asked by
    (FREE, NOTHING, None, None, (ENCRYPTED, CLEAR), ""),
    (NONE, NOTHING, None, None, (CLEAR,), ""),
    (NONE, NOTHING, ENFORCE, PINNED, (CLEAR,), ""),
    (REQUIRED, NOTHING, None, None, (ENCRYPTED,), "required"),
    (VERIFIED, NOTHING, None, None, (CERTIFICATE,), "verified"),
    (FREE, Demand.REQUIRED, None, None, (ENCRYPTED,), "required"),
    (FREE, Demand.VERIFIED, None, None, (CERTIFICATE,), "verified"),
    (VERIFIED, Demand.REQUIRED, None, None, (CERTIFICATE,), "verified"),
    (FREE, NOTHING, ENFORCE, None, (CERTIFICATE,), "mta-sts"),
    (FREE, NOTHING, TESTING, None, (CERTIFICATE, ENCRYPTED, CLEAR), "mta-sts-testing"),
    (FREE, NOTHING, TRIED, None, (ENCRYPTED, CLEAR), "mta-sts-testing"),
    (REQUIRED, NOTHING, TESTING, None, (CERTIFICATE, ENCRYPTED), "mta-sts-testing"),
    (VERIFIED, NOTHING, TESTING, None, (CERTIFICATE,), "mta-sts-testing"),
    (VERIFIED, NOTHING, TRIED, None, (CERTIFICATE,), "mta-sts-testing"),
    (FREE, NOTHING, SIGNED, PINNED, (DANE,), "dane"),
    (VERIFIED, NOTHING, SIGNED, PINNED, (DANE,), "dane"),
    (FREE, NOTHING, OTHERS, PINNED, (DANE,), "dane"),
    (FREE, NOTHING, SIGNED, UNUSABLE, (ENCRYPTED,), "dane-unusable"),
    (VERIFIED, NOTHING, SIGNED, UNUSABLE, (CERTIFICATE,), "dane-unusable"),
    (FREE, NOTHING, ENFORCE, UNUSABLE, (CERTIFICATE,), "mta-sts"),
    (FREE, NOTHING, SIGNED, None, (ENCRYPTED, CLEAR), ""),
    (FREE, RELAXED, ENFORCE, BOGUS, (ENCRYPTED, CLEAR), ""),
    (REQUIRED, RELAXED, ENFORCE, PINNED, (ENCRYPTED,), "required"),
    (FREE, REQUIRETLS, None, None, (CERTIFICATE,), "requiretls"),
    (FREE, REQUIRETLS, ENFORCE, None, (CERTIFICATE,), "requiretls"),
    (FREE, REQUIRETLS, SIGNED, PINNED, (DANE,), "requiretls"),
    (FREE, REQUIRETLS, SIGNED, UNUSABLE, (CERTIFICATE,), "requiretls"),
]

SHUT = [
    (FREE, NOTHING, OTHERS, None, Result.VALIDATION, False),
    (FREE, NOTHING, SIGNED, BOGUS, Result.DNSSEC_INVALID, False),
    (FREE, NOTHING, ENFORCE, BOGUS, Result.DNSSEC_INVALID, False),
    (FREE, REQUIRETLS, SIGNED, BOGUS, Result.DNSSEC_INVALID, False),
    (FREE, REQUIRETLS, OTHERS, None, Result.VALIDATION, True),
    (FREE, REQUIRETLS, TRIED, None, Result.VALIDATION, True),
    (FREE, Demand.UNPROVEN, None, None, Result.VALIDATION, True),
    (FREE, Demand.DOUBTED, None, None, Result.VALIDATION, False),
    (NONE, REQUIRETLS, SIGNED, PINNED, Result.NO_STARTTLS, True),
]


@pytest.mark.parametrize(("tls", "demand", "security", "dane", "expected", "policy"), ROWS)
def test_ways(tls: RouteTls, demand: Demand, security: Security | None, dane: Dane | None, expected: tuple[Way, ...], policy: str) -> None:
    found = ways(tls, demand, security, HOST, dane)
    assert isinstance(found, Ways)
    assert (found.ways, found.policy) == (expected, policy)


@pytest.mark.parametrize(("tls", "demand", "security", "dane", "result", "lasting"), SHUT)
def test_hosts_that_must_not_be_used(
    tls: RouteTls, demand: Demand, security: Security | None, dane: Dane | None, result: Result, lasting: bool
) -> None:
    found = ways(tls, demand, security, HOST, dane)
    assert isinstance(found, Shut)
    assert (found.result, found.lasting) == (result, lasting)


def test_no_combination_sends_in_the_clear_what_somebody_wanted_secured() -> None:
    for tls in RouteTls:
        for demand in Demand:
            for security in (None, ENFORCE, TESTING, OTHERS, TRIED, SIGNED):
                for dane in (None, PINNED, UNUSABLE, BOGUS):
                    found = ways(tls, demand, security, HOST, dane)
                    if not isinstance(found, Ways) or CLEAR not in found.ways:
                        continue
                    assert demand in (NOTHING, RELAXED)
                    assert tls in (NONE, FREE)
                    if tls is FREE and demand is NOTHING and security is not None:
                        assert security.mode is not Mode.ENFORCE
                        assert dane is None


def test_the_name_of_a_route_says_what_is_asked() -> None:
    hosts = ["mx.test", "my.test"]
    assert tag(Security(), hosts) == ""
    assert tag(Security(Mode.ENFORCE, ("mx.test", "my.test")), hosts) == ";sts"
    assert tag(Security(Mode.ENFORCE, ("my.test",)), hosts) == ";sts(my.test)"
    assert tag(Security(Mode.ENFORCE), hosts) == ";sts()"
    assert tag(Security(Mode.TESTING, ("my.test", "mx.test"), dane=True), hosts) == ";dane,sts-testing"


def test_demands_come_and_go_in_the_name() -> None:
    for demand in Demand:
        assert undemanded(demanded("mx.test;sts", demand)) == ("mx.test;sts", demand)
    assert undemanded("static:mx.test:25:required") == ("static:mx.test:25:required", NOTHING)
    assert undemanded("odd!name") == ("odd!name", NOTHING)


def test_requiretls_goes_before_the_header_field_and_both_before_nothing() -> None:
    assert demand_of(None, True, True, True) is REQUIRETLS
    assert demand_of("verified", True, False, False) is Demand.UNPROVEN
    assert demand_of(None, True, False, False, True) is Demand.DOUBTED
    assert demand_of(None, True, False, True, True) is REQUIRETLS
    assert demand_of(None, False, True, False) is RELAXED
    assert demand_of("required", False, True, False) is Demand.REQUIRED
    assert demand_of(None, False, False, True) is NOTHING
