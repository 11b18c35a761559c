"""The sandbox's zones are really signed: a validator we did not write agrees, and bogus ones fail at it."""

import asyncio

import dns.asyncquery
import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from sandbox.scenario import Mailboxes, Scenario
from sandbox.world import Sandbox

SCENARIO = Scenario(
    provider=[Mailboxes(name=name, domains=[f"{name}.test"], mx=[f"mx.{name}.test"]) for name in ("signed", "plain", "bogus")],
    signed=["signed.test"],
    bogus=["bogus.test"],
)


def ask(*questions: tuple[str, str], flags: int = dns.flags.RD, dnssec: bool = True) -> list[dns.message.Message]:
    """Answers of the sandbox's name server."""

    async def play() -> list[dns.message.Message]:
        sandbox = Sandbox(SCENARIO)
        addresses = await sandbox.start()
        host, _, port = addresses.dns.partition(":")
        try:
            found = []
            for name, kind in questions:
                query = dns.message.make_query(name, kind, want_dnssec=dnssec, flags=flags)
                found.append(await dns.asyncquery.udp(query, host, port=int(port), timeout=5))
            return found
        finally:
            await sandbox.stop()

    return asyncio.run(play())


def validate(answer: dns.message.Message, keys: dns.message.Message) -> None:
    """As dnspython validates it, with the zone's published keys; raises ValidationFailure."""
    records, signature = answer.answer[0], answer.answer[1]
    dns.dnssec.validate(records, signature, {keys.answer[0].name: keys.answer[0]})


@pytest.mark.parametrize("question", [("signed.test", "MX"), ("mx.signed.test", "A")])
def test_a_signed_answer_validates_and_says_so(question: tuple[str, str]) -> None:
    answer, keys = ask(question, ("signed.test", "DNSKEY"))
    assert answer.flags & dns.flags.AD
    validate(answer, keys)


def test_the_keys_are_signed_by_themselves() -> None:
    (keys,) = ask(("signed.test", "DNSKEY"))
    validate(keys, keys)


def test_a_bogus_answer_is_servfail_and_fails_validation_when_asked_for_without_check() -> None:
    (refused,) = ask(("bogus.test", "MX"))
    assert refused.rcode() == dns.rcode.SERVFAIL
    answer, keys = ask(("bogus.test", "MX"), ("bogus.test", "DNSKEY"), flags=dns.flags.RD | dns.flags.CD)
    assert not answer.flags & dns.flags.AD
    with pytest.raises(dns.exception.ValidationFailure):
        validate(answer, keys)


def test_an_unsigned_answer_says_nothing_of_security() -> None:
    (answer,) = ask(("plain.test", "MX"))
    assert not answer.flags & dns.flags.AD
    assert [records.rdtype for records in answer.answer] == [dns.rdatatype.MX]


def test_ad_is_given_to_who_asks_for_it_without_signatures() -> None:
    (answer,) = ask(("signed.test", "MX"), flags=dns.flags.RD | dns.flags.AD, dnssec=False)
    assert answer.flags & dns.flags.AD
    assert len(answer.answer) == 1
    (silent,) = ask(("signed.test", "MX"), dnssec=False)
    assert not silent.flags & dns.flags.AD
