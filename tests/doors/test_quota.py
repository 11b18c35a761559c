"""An account's quota at the door: 4yz before the message comes, recipients one by one, and nothing asked of accounts without one."""

import asyncio

from config.submission import Account
from gateway.traffic.quota import Quota, Shortage
from tests.doors.house import House, opened, settings_of

MESSAGE = "From: a@example.com\n\ntext\n.\n"


def bucket(house: House, quota: Quota) -> list[tuple[str, int]]:
    """The house's core asks this quota; what it was asked."""
    asked: list[tuple[str, int]] = []

    def shortage(account: str, recipients: int) -> Shortage | None:
        asked.append((account, recipients))
        return quota.shortage(recipients, house.now)

    house.door.shortage = shortage
    return asked


def test_mail_beyond_the_quota_is_refused_before_it_comes_and_welcome_later() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", message_rate=1.0, message_burst=1)])) as house:
            quota = Quota(1.0, 1, None, 1)
            bucket(house, quota)
            peer = await house.connect()
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("250")
            quota.take(1, house.now)
            assert (await peer.say("RSET\n")).startswith("250")
            refused = await peer.say("MAIL FROM:<a@example.com>\n")
            assert refused == "451 4.7.1 this account has used up its messages for now; try again in 1 second"
            assert house.notebook.of("refused") == [("default", "MAIL", "quota-messages", 451)]
            house.now += 1
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("250")

    asyncio.run(story())


def test_recipients_within_the_quota_get_their_message_and_the_rest_are_refused_for_now() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", recipient_rate=1.0, recipient_burst=2)])) as house:
            asked = bucket(house, Quota(None, 1, 1.0, 2))
            peer = await house.connect()
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("250")
            replies = [await peer.say(f"RCPT TO:<{name}@example.net>\n") for name in "abcd"]
            assert [reply[:9] for reply in replies] == ["250 2.1.5", "250 2.1.5", "451 4.7.1", "451 4.7.1"]
            assert (await peer.say("DATA\n")).startswith("354")
            assert (await peer.say(MESSAGE)).startswith("250")
            assert [address.text for address in house.core.taken[0].recipients] == ["a@example.net", "b@example.net"]
            assert asked == [("default", 1), ("default", 1), ("default", 2), ("default", 3), ("default", 3)]

    asyncio.run(story())


def test_an_account_without_a_quota_is_not_asked_about() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            asked = bucket(house, Quota(1.0, 1, 1.0, 1))
            peer = await house.connect()
            peer.send("MAIL FROM:<a@example.com>\nRCPT TO:<b@example.net>\nDATA\n")
            assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
            assert (await peer.say(MESSAGE)).startswith("250")
            assert asked == []

    asyncio.run(story())
