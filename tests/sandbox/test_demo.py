"""The demo's campaign: the same every time, over all providers, and a client that tells what was taken and what was not."""

import asyncio
import email
import email.policy
from collections import Counter

from sandbox.demo import SENDER, newsletter, recipients, send
from sandbox.scenario import Scenario, shipped
from sandbox.world import Sandbox


def test_recipients_are_different_always_the_same_and_spread_by_weight() -> None:
    scenario = shipped("demo")
    to = recipients(scenario, 3000)
    assert to == recipients(scenario, 3000)
    assert len(set(to)) == 3000
    domains = Counter(recipient.rpartition("@")[2] for recipient in to)
    google = sum(domains[domain] for domain in scenario.provider[0].domains)
    total = sum(each.weight for each in scenario.provider) + sum(scenario.elsewhere.values())
    assert abs(google / 3000 - scenario.provider[0].weight / total) < 0.03
    assert all(domain.endswith(".test") for domain in domains)


def test_a_newsletter_is_whole_in_two_languages_and_of_a_real_ones_size() -> None:
    for number in range(6):
        content = newsletter(number, "camille.martin.1@gmail.test")
        assert 5_000 <= len(content) <= 10_500
        assert max(len(line) for line in content.split(b"\r\n")) <= 998
        assert b"\n" not in content.replace(b"\r\n", b"")
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert message.defects == []
        assert message["To"] == "Camille <camille.martin.1@gmail.test>"
        parts = [part.get_content() for part in message.iter_parts()]
        assert len(parts) == 2
        assert "Camille" in parts[0]
        assert "Épinal" in parts[1]
        assert ("automne" in message["Subject"]) == bool(number % 3)


def test_the_client_hands_in_every_message_and_tells_refusals() -> None:
    scenario = Scenario.model_validate(
        {"provider": [{"name": "p", "domains": ["p.test"], "temper": [{"kind": "unknown-user", "recipients": ["no@*"]}]}]}
    )
    sandbox, calls = Sandbox(scenario), []

    async def run() -> None:
        addresses = await sandbox.start()
        to = [*(f"u{number}@p.test" for number in range(20)), "no@p.test"]
        sent = await send(addresses.providers["p"], addresses.smtp_port, to, connections=3, progress=lambda: calls.append(1))
        await sandbox.stop()
        assert sorted(sent.accepted) == sorted(to[:-1])
        assert [recipient for recipient, _ in sent.refused] == ["no@p.test"]

    asyncio.run(run())
    assert len(calls) == 21
    assert {message.sender for message in sandbox.messages()} == {SENDER}
    assert sandbox.counts()["p"].accepted == 20
