"""Failed logins: slower each time, unheard after too many, forgotten by themselves, and never at the cost of somebody else."""

import asyncio
import base64

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.submission import Account, Listener, Logins
from gateway.doors.logins import TOO_MANY_WAIT, Delays, FailedLogins
from mail.reply import Reply
from tests.doors.house import PASSWORD, PASSWORD_HASH, House, opened, settings_of

NOW = 1_750_000_000.0
WRONG = Reply(535, "no", "5.7.8")


def table(**changes: object) -> FailedLogins:
    return FailedLogins(Logins.model_validate({"failures": 4, "expiry": 40, "delay": 1, "longest_delay": 5, **changes}))


def test_each_failure_waits_longer_until_the_address_is_not_heard() -> None:
    logins = table()
    failures = [logins.failed("192.0.2.1", NOW) for _ in range(4)]
    assert [failure.delay for failure in failures] == [1, 2, 4, 5]
    assert [failure.last for failure in failures] == [False, False, False, True]
    assert logins.blocked("192.0.2.1", NOW) == 10
    assert logins.blocked("192.0.2.2", NOW) == 0


def test_failures_are_forgotten_one_after_the_other() -> None:
    logins = table()
    for _ in range(4):
        logins.failed("192.0.2.1", NOW)
    assert logins.blocked("192.0.2.1", NOW + 9.9) > 0
    assert logins.blocked("192.0.2.1", NOW + 10) == 0
    assert logins.failed("192.0.2.1", NOW + 10).last
    assert logins.failed("192.0.2.1", NOW + 100).count == 1


def test_a_client_of_ipv6_counts_with_its_network() -> None:
    logins = table()
    for number in range(4):
        logins.failed(f"2001:db8:0:1::{number}", NOW)
    assert logins.blocked("2001:db8:0:1:ffff::1", NOW) > 0
    assert logins.blocked("2001:db8:0:2::1", NOW) == 0
    assert len(logins) == 1


def test_the_table_is_bounded_and_forgets_the_oldest_first() -> None:
    logins = table(addresses=3)
    for number in range(4):
        for _ in range(4):
            logins.failed(f"192.0.2.{number}", NOW + number)
    assert len(logins) == 3
    assert [logins.blocked(f"192.0.2.{number}", NOW + 4) > 0 for number in range(4)] == [False, True, True, True]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2)), max_size=80))
def test_no_address_gets_more_guesses_than_the_failures_and_their_expiry_allow(story: list[tuple[float, int]]) -> None:
    logins, now = table(), NOW
    guesses: dict[int, list[float]] = {}
    for pause, number in story:
        now += pause
        if logins.blocked(f"192.0.2.{number}", now) <= 0:
            logins.failed(f"192.0.2.{number}", now)
            guesses.setdefault(number, []).append(now)
    for times in guesses.values():
        for first, begin in enumerate(times):
            for last, end in enumerate(times[first:], 1):
                assert last <= 4 + (end - begin) / 10 + 1e-3


def test_only_so_many_answers_wait_at_a_time() -> None:
    async def story() -> None:
        gate = asyncio.Event()

        async def pause(seconds: float) -> None:
            await gate.wait()

        delays = Delays(pause, most=2)
        waiting = [asyncio.create_task(delays.wait(1, WRONG)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await delays.wait(1, WRONG) == TOO_MANY_WAIT
        gate.set()
        assert await asyncio.gather(*waiting) == [WRONG, WRONG]
        assert await delays.wait(1, WRONG) == WRONG

    asyncio.run(story())


async def guess(house: House, password: str, address: str = "127.0.0.1", opening: str = "") -> str:
    """One login on a connection of its own; its reply."""
    peer = await house.connect(greet=False, address=address)
    if opening:
        peer.send(opening)
    await peer.reply()
    await peer.say("EHLO x\n")
    reply = await peer.say("AUTH PLAIN " + base64.b64encode(f"\0default\0{password}".encode()).decode() + "\n")
    peer.writer.close()
    return reply


def test_an_address_that_guesses_is_not_heard_for_a_while_and_others_are() -> None:
    async def story() -> None:
        settings = settings_of(accounts=[Account(name="default", password=PASSWORD_HASH)])
        settings = settings.model_copy(update={"logins": Logins(failures=3, expiry=30)})
        async with opened(settings) as house:
            assert [(await guess(house, "wrong"))[:3] for _ in range(3)] == ["535", "535", "535"]
            assert house.notebook.of("logins blocked") == [("127.0.0.1", 3, 10)]
            refused = await guess(house, PASSWORD)
            assert refused == "421 4.7.0 too many failed logins from this address; try again in 10 seconds"
            assert house.notebook.of("refused")[-1] == ("default", "AUTH", "login-blocked", 421)
            assert (await guess(house, PASSWORD, "127.0.0.2")).startswith("235")
            house.now += 10
            assert (await guess(house, PASSWORD)).startswith("235")
            assert house.paused == [0.5, 1.0, 2.0]

    asyncio.run(story())


def test_a_good_login_forgets_no_failure() -> None:
    async def story() -> None:
        settings = settings_of(accounts=[Account(name="default", password=PASSWORD_HASH)])
        async with opened(settings.model_copy(update={"logins": Logins(failures=2)})) as house:
            assert (await guess(house, "wrong")).startswith("535")
            assert (await guess(house, PASSWORD)).startswith("235")
            assert (await guess(house, "wrong")).startswith("535")
            assert (await guess(house, PASSWORD)).startswith("421")

    asyncio.run(story())


def test_behind_a_proxy_the_guesser_is_not_the_proxy() -> None:
    async def story() -> None:
        listener = Listener(address="127.0.0.1:0", proxy_networks=["127.0.0.1/32"], trusted_networks=["192.0.2.0/24"])
        settings = settings_of(listener, [Account(name="default", password=PASSWORD_HASH)])
        async with opened(settings.model_copy(update={"logins": Logins(failures=1)})) as house:
            header = "PROXY TCP4 192.0.2.{} 198.51.100.1 1 25\n"
            assert (await guess(house, "wrong", opening=header.format(7))).startswith("535")
            assert (await guess(house, PASSWORD, opening=header.format(7))).startswith("421")
            assert (await guess(house, PASSWORD, opening=header.format(8))).startswith("235")

    asyncio.run(story())


def test_no_line_about_a_failed_login_holds_what_was_typed() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", password=PASSWORD_HASH)])) as house:
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=house.port)
            await client.connect()
            for name, password in (("default", "hunter2"), ("hunter2", "default")):
                with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                    await client.auth_plain(name, password)
            assert [fact[0] for fact in house.notebook.of("refused")] == ["default", ""]
            assert "hunter2" not in str(house.notebook.facts)
            await client.quit()

    asyncio.run(story())
