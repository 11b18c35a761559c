"""MTA-STS, DANE and REQUIRETLS, case by case, end to end: a real client, a gateway in a process of its own, and a fake Internet with signed
zones, policy hosts and mailbox providers that show every kind of certificate.

One gateway serves all cases at once. Each case is a domain with an MX host of its own; the hosted ones share one MX host, so that one
domain's broken policy stands beside domains without any. What must be told is the RFCs'; what arrived is the providers' word.
"""

import smtplib
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from mail.event import Event, EventKind
from sandbox.certificate import self_signed
from sandbox.scenario import Mailboxes, Name, PolicyHost, Scenario
from sandbox.world import Sandbox, SandboxAddresses
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet_of, letter, serving

DELIVERED, DEFERRED, BOUNCED = EventKind.DELIVERED, EventKind.DEFERRED, EventKind.BOUNCED


class Ends(NamedTuple):
    """How a case ends: the first word about it after `accepted`, what asked, what came of it, and the rule or code that decided."""

    kind: EventKind
    policy: str = ""
    result: str = ""
    rule: str = ""
    enhanced: str = ""


class Case(NamedTuple):
    """One domain. `provider` and `policy` are fields of sandbox.scenario; the provider's MX host is `mx.DOMAIN`."""

    ends: Ends
    provider: Mapping[str, object] = {}
    policy: Mapping[str, object] | None = None
    signed: bool = False
    bogus: str = ""
    """The zone below the domain that is bogus ("." for the domain itself)."""
    names: tuple[Name, ...] = ()
    requiretls: bool = False
    relaxed: bool = False
    stream: str = ""


def sts(mode: str, mx: str = "*.{domain}", **fields: object) -> dict[str, object]:
    return {"policy": f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n", **fields}


GOOD, EXPIRED, WRONG, ALONE, UNTRUSTED = ({"certificate": kind} for kind in ("good", "expired", "wrong-name", "self-signed", "untrusted"))
NO_TLS = {"starttls": False}
OPPORTUNISTIC = Ends(DELIVERED)
BY_NAME = Ends(DELIVERED, "mta-sts", "certificate")
BY_DANE = Ends(DELIVERED, "dane", "dane")
NOT_TRUSTED = Ends(DEFERRED, "mta-sts", "failed", "tls-not-trusted", "4.7.5")
TRIED = Ends(DELIVERED, "mta-sts-testing", "encrypted")
BAD_DANE = Ends(DEFERRED, "dane", "failed", "tls-not-trusted", "4.7.5")
RETURNED = Ends(BOUNCED, "requiretls", "failed", "requiretls-no-trusted-tls", "5.7.10")
ASKED = Ends(DELIVERED, "requiretls", "certificate")
OFFERS = {"requiretls": True}

CASES = {
    # MTA-STS, RFC 8461
    "sts-good": Case(BY_NAME, GOOD, sts("enforce")),
    "sts-chunked": Case(BY_NAME, GOOD, sts("enforce", trouble="chunked")),
    "sts-exact-name": Case(BY_NAME, GOOD, sts("enforce", "mx.{domain}")),
    "sts-expired": Case(NOT_TRUSTED, EXPIRED, sts("enforce")),
    "sts-wrong-name": Case(NOT_TRUSTED, WRONG, sts("enforce")),
    "sts-self-signed": Case(NOT_TRUSTED, ALONE, sts("enforce")),
    "sts-untrusted": Case(NOT_TRUSTED, UNTRUSTED, sts("enforce")),
    "sts-mismatched": Case(Ends(DEFERRED, "mta-sts", "failed", "tls-policy", "4.7.5"), GOOD, sts("enforce", "mx.elsewhere.test")),
    "sts-downgraded": Case(Ends(DEFERRED, "mta-sts", "failed", "tls-not-offered", "4.7.4"), NO_TLS, sts("enforce")),
    "sts-testing": Case(Ends(DELIVERED, "mta-sts-testing", "certificate"), GOOD, sts("testing")),
    "sts-testing-expired": Case(TRIED, EXPIRED, sts("testing")),
    "sts-testing-mismatched": Case(TRIED, GOOD, sts("testing", "mx.elsewhere.test")),
    "sts-testing-downgraded": Case(Ends(DELIVERED, "mta-sts-testing", "clear"), NO_TLS, sts("testing")),
    "sts-none": Case(OPPORTUNISTIC, ALONE, sts("none")),
    "sts-unannounced": Case(OPPORTUNISTIC, ALONE, sts("enforce", id="")),
    "sts-unreachable": Case(OPPORTUNISTIC, ALONE, sts("enforce", listening=False)),
    "sts-host-expired": Case(OPPORTUNISTIC, ALONE, sts("enforce", certificate="expired")),
    "sts-host-wrong-name": Case(OPPORTUNISTIC, ALONE, sts("enforce", certificate="wrong-name")),
    "sts-host-unsigned": Case(OPPORTUNISTIC, ALONE, sts("enforce", certificate="self-signed")),
    "sts-host-hangs": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="hang")),
    "sts-policy-too-long": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="too-long")),
    "sts-policy-elsewhere": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="redirect")),
    "sts-policy-missing": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="missing")),
    "sts-policy-html": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="html")),
    "sts-policy-garbage": Case(OPPORTUNISTIC, ALONE, sts("enforce", trouble="garbage")),
    # DANE, RFC 7672
    "dane-key": Case(BY_DANE, {**ALONE, "tlsa": "key"}, signed=True),
    "dane-issuer": Case(BY_DANE, {**GOOD, "tlsa": "issuer"}, signed=True),
    "dane-key-expired": Case(BY_DANE, {**EXPIRED, "tlsa": "key"}, signed=True),
    "dane-issuer-expired": Case(BAD_DANE, {**EXPIRED, "tlsa": "issuer"}, signed=True),
    "dane-issuer-wrong-name": Case(BAD_DANE, {**WRONG, "tlsa": "issuer"}, signed=True),
    "dane-mismatched": Case(BAD_DANE, {**GOOD, "tlsa": "wrong"}, signed=True),
    "dane-mismatched-sts-good": Case(BAD_DANE, {**GOOD, "tlsa": "wrong"}, sts("enforce"), signed=True),
    "dane-good-sts-mismatched": Case(BY_DANE, {**ALONE, "tlsa": "key"}, sts("enforce", "mx.elsewhere.test"), signed=True),
    "dane-downgraded": Case(Ends(DEFERRED, "dane", "failed", "tls-not-offered"), {**NO_TLS, "tlsa": "key"}, signed=True),
    "dane-unsigned": Case(OPPORTUNISTIC, {**ALONE, "tlsa": "wrong"}),
    "dane-absent": Case(OPPORTUNISTIC, ALONE, signed=True),
    "dane-unusable": Case(Ends(DELIVERED, "dane-unusable", "encrypted"), {**ALONE, "tlsa": "unusable"}, signed=True),
    "dane-unusable-downgraded": Case(
        Ends(DEFERRED, "dane-unusable", "failed", "tls-not-offered"), {**NO_TLS, "tlsa": "unusable"}, signed=True
    ),
    "dane-bogus": Case(Ends(DEFERRED, "dane", "failed", "tls-policy", "4.7.5"), {**ALONE, "tlsa": "key"}, signed=True, bogus="_tcp.mx"),
    "dane-unreachable": Case(
        Ends(DEFERRED, "dane", "failed", "tls-policy"),
        ALONE,
        signed=True,
        names=(Name(name="*._tcp.mx.dane-unreachable.test", trouble="servfail"),),
    ),
    "dane-bogus-mx": Case(Ends(DEFERRED, rule="dns-trouble"), {**ALONE, "tlsa": "key"}, bogus="."),
    # REQUIRETLS, RFC 8689
    "requiretls-sts": Case(ASKED, {**GOOD, **OFFERS}, sts("enforce"), requiretls=True),
    "requiretls-sts-testing": Case(ASKED, {**GOOD, **OFFERS}, sts("testing"), requiretls=True),
    "requiretls-dane": Case(Ends(DELIVERED, "requiretls", "dane"), {**ALONE, **OFFERS, "tlsa": "key"}, signed=True, requiretls=True),
    "requiretls-signed-mx": Case(ASKED, {**GOOD, **OFFERS}, signed=True, requiretls=True),
    "requiretls-unsigned": Case(RETURNED, {**GOOD, **OFFERS}, requiretls=True),
    "requiretls-sts-unreachable": Case(
        Ends(DEFERRED, "requiretls", "failed", "tls-policy"), {**GOOD, **OFFERS}, sts("enforce", listening=False), requiretls=True
    ),
    "requiretls-expired": Case(RETURNED, {**EXPIRED, **OFFERS}, sts("enforce"), requiretls=True),
    "requiretls-wrong-name": Case(RETURNED, {**WRONG, **OFFERS}, sts("testing"), requiretls=True),
    "requiretls-mismatched": Case(RETURNED, {**GOOD, **OFFERS}, sts("enforce", "mx.elsewhere.test"), requiretls=True),
    "requiretls-dane-mismatched": Case(RETURNED, {**ALONE, **OFFERS, "tlsa": "wrong"}, signed=True, requiretls=True),
    "requiretls-downgraded": Case(RETURNED, NO_TLS, sts("enforce"), requiretls=True),
    "requiretls-not-offered": Case(Ends(BOUNCED, rule="requiretls-not-offered", enhanced="5.7.30"), GOOD, sts("enforce"), requiretls=True),
    "requiretls-bogus": Case(
        Ends(DEFERRED, "requiretls", "failed", "tls-policy"),
        {**ALONE, **OFFERS, "tlsa": "key"},
        signed=True,
        bogus="_tcp.mx",
        requiretls=True,
    ),
    "requiretls-unreachable": Case(Ends(DEFERRED, rule="connect"), {**GOOD, **OFFERS, "listening": False}, sts("enforce"), requiretls=True),
    "relaxed-sts-expired": Case(OPPORTUNISTIC, EXPIRED, sts("enforce"), relaxed=True),
    "relaxed-sts-mismatched": Case(OPPORTUNISTIC, GOOD, sts("enforce", "mx.elsewhere.test"), relaxed=True),
    "relaxed-dane-mismatched": Case(OPPORTUNISTIC, {**ALONE, "tlsa": "wrong"}, signed=True, relaxed=True),
    "relaxed-downgraded": Case(OPPORTUNISTIC, NO_TLS, sts("enforce"), relaxed=True),
    # Two hosts of which the preferred one fails what is asked
    "spare-sts": Case(BY_NAME, policy=sts("enforce", "*.spare.test")),
    "spare-requiretls": Case(ASKED, policy=sts("enforce", "*.spare.test"), requiretls=True),
    # What the operator asks for
    "stream-verified": Case(Ends(DELIVERED, "verified", "certificate"), GOOD, stream="verified"),
    "stream-verified-self-signed": Case(Ends(DEFERRED, "verified", "failed", "tls-not-trusted"), ALONE, stream="verified"),
    "stream-required": Case(Ends(DELIVERED, "required", "encrypted"), ALONE, stream="required"),
    "stream-required-downgraded": Case(Ends(DEFERRED, "required", "failed", "tls-not-offered"), NO_TLS, stream="required"),
    "provider-verified-untrusted": Case(Ends(DEFERRED, "verified", "failed", "tls-not-trusted"), UNTRUSTED),
    "provider-none-sts": Case(OPPORTUNISTIC, NO_TLS, sts("enforce")),
    # Domains at one MX host, whose certificate is signed by nobody
    "hosted-plain": Case(OPPORTUNISTIC),
    "hosted-enforced": Case(NOT_TRUSTED, policy=sts("enforce", "mx.hosting.test")),
    "hosted-mismatched": Case(Ends(DEFERRED, "mta-sts", "failed", "tls-policy"), policy=sts("enforce", "mx.elsewhere.test")),
    "hosted-testing": Case(TRIED, policy=sts("testing", "mx.hosting.test")),
    "hosted-policy-hangs": Case(OPPORTUNISTIC, policy=sts("enforce", trouble="hang")),
    "hosted-signed": Case(OPPORTUNISTIC, signed=True),
    "hosted-plain-too": Case(OPPORTUNISTIC),
}

CONFIGURATION = (
    GROUND.replace(
        'address = "127.0.0.1:{port}"', 'address = "127.0.0.1:{port}"\ntls = "starttls"\ncertificate = "door.pem"\nkey = "door.key"'
    )
    + OPEN_ACCOUNT
    + """
[[stream]]
name = "default"
retry.first = "60s"
[[stream]]
name = "verified"
tls = "verified"
retry.first = "60s"
[[stream]]
name = "required"
tls = "required"
retry.first = "60s"
[[provider]]
name = "choosy"
mx = ["mx.provider-verified-untrusted.test"]
tls = "verified"
[[provider]]
name = "careless"
mx = ["mx.provider-none-sts.test"]
tls = "none"
[sending.tls]
authorities = "authority.pem"
policy_port = {policy}
policy_timeout = "2s"
"""
)


def scenario() -> Scenario:
    """The fake Internet of all cases."""
    hosted = [f"{name}.test" for name in CASES if name.startswith("hosted-")]
    spared = [f"{name}.test" for name in CASES if name.startswith("spare-")]
    providers = [
        Mailboxes(name="hosting", domains=hosted, mx=["mx.hosting.test"]),
        Mailboxes(name="spare-first", domains=spared, mx=["mx1.spare.test"], certificate="expired", requiretls=True),
        Mailboxes(name="spare-second", domains=spared, mx=["mx2.spare.test"], certificate="good", requiretls=True),
    ]
    policies: list[PolicyHost] = []
    signed: list[str] = []
    bogus: list[str] = []
    names = [Name(name=domain, records=["MX 10 mx1.spare.test.", "MX 20 mx2.spare.test."]) for domain in spared]
    for name, case in CASES.items():
        domain = f"{name}.test"
        if domain not in (*hosted, *spared):
            providers.append(Mailboxes.model_validate({"name": name, "domains": [domain], "mx": [f"mx.{domain}"], **case.provider}))
        if case.policy is not None:
            policy = {**case.policy, "policy": str(case.policy["policy"]).replace("{domain}", domain)}
            policies.append(PolicyHost.model_validate({"domain": domain, **policy}))
        signed += [domain] if case.signed else []
        bogus += [domain if case.bogus == "." else f"{case.bogus}.{domain}"] if case.bogus else []
        names += case.names
    return Scenario(provider=providers, name=names, policy=policies, signed=signed, bogus=bogus)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, House]]:
    """The Internet and the gateway, all messages sent."""
    place: Path = tmp_path_factory.mktemp("tls")
    with internet_of(scenario()) as (sandbox, addresses):
        house = prepared(place, addresses)
        with serving(house):
            client = house.client()
            client.starttls(context=ssl._create_unverified_context())
            client.ehlo()
            assert client.has_extn("requiretls")
            for name, case in CASES.items():
                send(client, name, case)
            client.quit()
            yield sandbox, house


def prepared(place: Path, addresses: SandboxAddresses) -> House:
    """A gateway that trusts the sandbox's authority, with TLS at its door."""
    door = self_signed(["gateway.test"])
    (place / "door.pem").write_bytes(door.pem)
    (place / "door.key").write_bytes(door.key)
    (place / "authority.pem").write_text(addresses.authority)
    return House(place, addresses, CONFIGURATION.replace("{policy}", str(addresses.policy_port)))


def send(client: smtplib.SMTP, name: str, case: Case) -> None:
    recipient = f"user@{name}.test"
    content = letter(recipient, stream=case.stream)
    if case.relaxed:
        content = b"TLS-Required: No\r\n" + content
    client.sendmail("news@shop.test", [recipient], content, ["REQUIRETLS"] if case.requiretls else [])


def first_word(house: House, name: str) -> Event:
    return first_of(house, f"user@{name}.test")


def first_of(house: House, recipient: str) -> Event:
    """The first event about a recipient after `accepted`."""
    return house.seen(recipient, lambda history: len(history) > 1)[1]


@pytest.mark.parametrize("name", CASES)
def test_case_ends_as_the_standards_say(fake: tuple[Sandbox, House], name: str) -> None:
    sandbox, house = fake
    case = CASES[name]
    event = first_word(house, name)
    assert (event.kind, event.tls_policy, event.tls_result) == case.ends[:3], event
    if case.ends.rule:
        assert event.rule == case.ends.rule
    if case.ends.enhanced:
        assert event.enhanced == case.ends.enhanced
    if event.kind is not DELIVERED and event.rule not in ("dns-trouble", "connect"):
        assert event.category == "tls"
    arrived = [message for message in sandbox.messages() if f"user@{name}.test" in message.recipients]
    assert len(arrived) == (event.kind is DELIVERED)
    for message in arrived:
        assert message.tls is (event.tls_result != "clear" and event.tls != "")
        assert message.requiretls is case.requiretls


def test_one_domains_broken_policy_leaves_the_others_at_its_mx_alone(fake: tuple[Sandbox, House]) -> None:
    """The plain domains share one route with those whose policy could not be had, and none with the ones that are held to theirs."""
    _, house = fake
    words = {name: first_word(house, name) for name in CASES if name.startswith("hosted-")}
    delivered = {name for name, event in words.items() if event.kind is DELIVERED}
    assert delivered == {"hosted-plain", "hosted-plain-too", "hosted-testing", "hosted-policy-hangs", "hosted-signed"}
    assert words["hosted-policy-hangs"].at > max(words[name].at for name in ("hosted-plain", "hosted-plain-too", "hosted-signed"))
    assert {event.host for event in words.values()} == {"mx.hosting.test"}
    assert {event.provider for event in words.values()} == {"hosting.test"}


def test_a_host_that_fails_is_told_of_although_the_next_one_takes_the_mail(fake: tuple[Sandbox, House]) -> None:
    _, house = fake
    assert first_word(house, "spare-sts").host == "mx2.spare.test"
    line = house.until(lambda: [line for line in house.logged("attempt") if line["recipient"] == "user@spare-sts.test"], "its line")[0]
    assert [told.split(":")[0] for told in line["tls_failures"]] == ["mx1.spare.test certificate-expired"]


def test_zones_are_signed_and_what_dnssec_says_is_heard(fake: tuple[Sandbox, House]) -> None:
    """TLSA records are asked for where MX and address are secure, and nowhere else."""
    sandbox, _ = fake
    asked = {question.split(" ")[0] for question in sandbox.asked() if question.endswith(" TLSA")}
    assert any("._tcp.mx.dane-key.test." in name for name in asked)
    assert not any("unsigned" in name or "hosting" in name for name in asked)


def test_the_log_and_the_metrics_say_how_tls_was_verified(fake: tuple[Sandbox, House]) -> None:
    _, house = fake
    first_word(house, "sts-expired")
    lines = house.until(
        lambda: [line for line in house.logged("attempt") if line["recipient"] == "user@sts-expired.test"], "the attempt's line"
    )
    assert lines[0]["tls_policy"] == "mta-sts"
    assert lines[0]["tls_failures"][0].startswith("mx.sts-expired.test certificate-expired")
    assert any(line["domain"] == "sts-host-expired.test" for line in house.logged("MTA-STS policy not fetched"))
    page = house.metrics()
    assert 'mailwright_tls_sessions_total{policy="dane",provider="dane-key.test",result="dane"} 1.0' in page
    assert 'mailwright_tls_failures_total{policy="mta-sts",result="certificate-host-mismatch"} 1.0' in page
    assert 'mailwright_mta_sts_fetches_total{result="sts-webpki-invalid"} 3.0' in page
    assert not house.complaints()


def test_a_restart_keeps_enforcement_when_the_policy_can_no_longer_be_had(tmp_path: Path) -> None:
    """Killed after it learned a policy, started when announcement and policy host are gone: mail of before and of after waits."""
    bad = Mailboxes(name="kept", domains=["kept.test"], mx=["mx.kept.test"])
    policy = PolicyHost(domain="kept.test", policy="version: STSv1\nmode: enforce\nmx: mx.kept.test\nmax_age: 86400\n")
    with internet_of(Scenario(provider=[bad], policy=[policy])) as (sandbox, addresses):
        house = prepared(tmp_path, addresses)
        with serving(house):
            with house.client() as client:
                client.sendmail("news@shop.test", ["before@kept.test"], letter("before@kept.test"))
            assert first_of(house, "before@kept.test").rule == "tls-not-trusted"
            sandbox.publish(PolicyHost(domain="kept.test", id="", listening=False))
            house.kill()
            house.start()
            with house.client() as client:
                client.sendmail("news@shop.test", ["after@kept.test"], letter("after@kept.test"))
            event = first_of(house, "after@kept.test")
            assert (event.kind, event.tls_policy, event.rule) == (DEFERRED, "mta-sts", "tls-not-trusted")
            house.call("queue.retry", domain="kept.test", dry_run=False)
            house.seen("before@kept.test", lambda history: len(history) > 2)
            assert sandbox.messages() == []
            assert sandbox.fetched() == {"kept.test": 1}
