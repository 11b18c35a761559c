"""The name server, asked by dnspython over UDP and TCP."""

import asyncio

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from sandbox.dns import Zone
from sandbox.scenario import Scenario
from sandbox.world import Sandbox

SCENARIO = Scenario.model_validate(
    {
        "provider": [{"name": "alpha", "domains": ["alpha.test", "*.alpha.test"], "mx": ["mx1.alpha.test", "mx2.alpha.test"]}],
        "name": [
            {"name": "null.test", "records": ["MX 0 ."]},
            {"name": "implicit.test", "records": ["A 127.0.0.9", "TXT v=spf1"]},
            {"name": "alias.test", "records": ["CNAME alpha.test."]},
            {"name": "broken.test", "trouble": "servfail"},
            {"name": "closed.test", "trouble": "refused"},
            {"name": "silent.test", "trouble": "hang"},
            {"name": "long.test", "records": ["A 127.0.0.9"], "trouble": "truncate"},
            {"name": "many.test", "records": [f"TXT {number:0200}" for number in range(20)]},
        ],
    }
)


def _ask(name: str, kind: str, tcp: bool = False, timeout: float = 5) -> dns.message.Message:
    async def run() -> dns.message.Message:
        sandbox = Sandbox(SCENARIO)
        host, _, port = (await sandbox.start()).dns.rpartition(":")
        try:
            query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
            ask = dns.query.tcp if tcp else dns.query.udp
            return await asyncio.to_thread(ask, query, host, timeout, int(port))
        finally:
            await sandbox.stop()

    return asyncio.run(run())


def _texts(message: dns.message.Message) -> list[str]:
    return sorted(line for rrset in message.answer for line in rrset.to_text().split("\n"))


def test_a_providers_domains_have_mx_and_its_hosts_addresses() -> None:
    assert _texts(_ask("alpha.test", "MX")) == ["alpha.test. 300 IN MX 10 mx1.alpha.test.", "alpha.test. 300 IN MX 20 mx2.alpha.test."]
    assert _texts(_ask("mx2.alpha.test", "A", tcp=True)) == ["mx2.alpha.test. 300 IN A 127.0.0.11"]
    assert _texts(_ask("a.b.alpha.test", "MX"))[0] == "a.b.alpha.test. 300 IN MX 10 mx1.alpha.test."


def test_names_of_the_scenario_answer_as_it_says() -> None:
    assert _texts(_ask("null.test", "MX")) == ["null.test. 300 IN MX 0 ."]
    assert _texts(_ask("implicit.test", "MX")) == []
    assert _texts(_ask("implicit.test", "TXT")) == ['implicit.test. 300 IN TXT "v=spf1"']
    assert "alias.test. 300 IN CNAME alpha.test." in _texts(_ask("alias.test", "MX"))
    assert "alpha.test. 300 IN MX 10 mx1.alpha.test." in _texts(_ask("alias.test", "MX"))


def test_unknown_names_do_not_exist_and_say_for_how_long() -> None:
    response = _ask("nowhere.test", "MX")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.ttl for rrset in response.authority] == [5]
    assert _ask("implicit.test", "MX").rcode() == dns.rcode.NOERROR


def test_trouble_is_servfail_refused_or_silence() -> None:
    assert _ask("broken.test", "MX").rcode() == dns.rcode.SERVFAIL
    assert _ask("closed.test", "MX").rcode() == dns.rcode.REFUSED
    with pytest.raises(dns.exception.Timeout):
        _ask("silent.test", "MX", timeout=0.2)


def test_what_does_not_fit_is_truncated_over_udp_and_whole_over_tcp() -> None:
    for name, kind in (("long.test", "A"), ("many.test", "TXT")):
        assert _ask(name, kind).flags & dns.flags.TC
        assert not _ask(name, kind, tcp=True).flags & dns.flags.TC
    assert len(_texts(_ask("many.test", "TXT", tcp=True))) == 20


def test_a_record_that_cannot_be_read_is_named() -> None:
    scenario = Scenario.model_validate({"name": [{"name": "bad.test", "records": ["A 300.1.1.1"]}]})
    with pytest.raises(ValueError, match=r"bad\.test.*A 300"):
        Zone(scenario, {})
