"""Who a client is, what it owns, and its password."""

import asyncio
import ipaddress
from pathlib import Path

import pytest

from config.sending import Domain
from config.settings import Settings
from config.submission import Account, Listener
from gateway.doors import accounts
from gateway.doors.accounts import Accounts, Authenticator, Domains, KnownAccount, address_from, networks_of
from tests.doors.house import PASSWORD, PASSWORD_HASH


@pytest.mark.parametrize(
    ("patterns", "domain", "owned"),
    [
        (["example.com"], "example.com", True),
        (["Example.COM"], "example.com", True),
        (["example.com"], "sub.example.com", False),
        (["example.com"], "badexample.com", False),
        (["*.example.com"], "sub.example.com", True),
        (["*.example.com"], "a.b.example.com", True),
        ([".example.com"], "example.com", True),
        (["*.example.com"], "badexample.com", False),
        (["*"], "configured.example", True),
        (["*"], "sub.configured.example", False),
        (["*"], "sub.wide.example", True),
        (["*"], "example.com", False),
        (["any"], "whatever.example", True),
        ([], "configured.example", False),
        (["bücher.example"], "xn--bcher-kva.example", True),
        (["example.com"], "", False),
    ],
)
def test_an_account_owns_what_its_patterns_name(patterns: list[str], domain: str, owned: bool) -> None:
    assert (domain in Domains(patterns, ["configured.example", "*.wide.example"])) == owned


def test_a_client_is_its_own_network_first_then_the_listeners_then_nobody() -> None:
    settings = Settings(
        account=[Account(name="default"), Account(name="wide", networks=["10.0.0.0/8"]), Account(name="one", networks=["10.1.0.0/16"])]
    )
    known = Accounts(settings)
    listener = Listener(trusted_networks=["10.0.0.0/8", "192.0.2.0/24"])
    trusted = networks_of(listener.trusted_networks)
    names = {"10.1.2.3": "one", "10.2.3.4": "wide", "192.0.2.5": "default", "198.51.100.1": None}
    for text, name in names.items():
        found = known.at(ipaddress.ip_address(text), listener, trusted)
        assert (found.name if found else None) == name
    nobody = listener.model_copy(update={"trusted_account": None})
    assert known.at(ipaddress.ip_address("192.0.2.5"), nobody, trusted) is None


def test_mapped_and_scoped_addresses_are_what_they_stand_for() -> None:
    assert str(address_from("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(address_from("fe80::1%eth0")) == "fe80::1"
    with pytest.raises(ValueError):
        address_from("nonsense")


def test_passwords_come_from_the_file_or_from_nowhere(tmp_path: Path) -> None:
    (tmp_path / "hash").write_text(PASSWORD_HASH + "\n")
    settings = Settings(
        account=[
            Account(name="default"),
            Account(name="a", password_file=tmp_path / "hash"),
            Account(name="b", password_file=tmp_path / "none"),
        ],
        domain=[Domain(name="example.com")],
    )
    known = Accounts(settings)
    first, second = known.named("a"), known.named("b")
    assert first is not None
    assert second is not None
    assert first.password == PASSWORD_HASH
    assert second.password is None
    assert len(known.problems) == 1
    assert PASSWORD_HASH not in repr(first)


def person(password: str | None) -> KnownAccount:
    return KnownAccount("app", Domains([], []), "default", 1, 1, 1, password)


def test_only_the_right_password_of_an_account_that_has_one_logs_in() -> None:
    async def story() -> None:
        authenticator = Authenticator()
        assert await authenticator.check(person(PASSWORD_HASH), PASSWORD) == "yes"
        assert await authenticator.check(person(PASSWORD_HASH), "wrong") == "no"
        assert await authenticator.check(person(None), "") == "no"
        assert await authenticator.check(None, PASSWORD) == "no"
        assert await authenticator.check(person("nonsense"), PASSWORD) == "no"
        authenticator.close()

    asyncio.run(story())


def test_a_good_login_is_checked_once_until_the_hash_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []

    def verify(password: str, stored: str) -> bool:
        checks.append(stored)
        return password == PASSWORD

    monkeypatch.setattr(accounts, "verify_password", verify)

    async def story() -> None:
        authenticator = Authenticator(remembered=2)
        for stored in ("old", "old", "new", "new", "third", "old"):
            assert await authenticator.check(person(stored), PASSWORD) == "yes"
        assert await authenticator.check(person("old"), "wrong") == "no"
        assert checks == ["old", "new", "third", "old", "old"]
        authenticator.close()

    asyncio.run(story())


def test_checks_that_wait_are_bounded() -> None:
    async def story() -> None:
        authenticator = Authenticator(threads=1, waiting=2)
        found = await asyncio.gather(*(authenticator.check(person(PASSWORD_HASH), f"wrong {n}") for n in range(4)))
        assert sorted(found) == ["busy", "busy", "no", "no"]
        assert await authenticator.check(person(PASSWORD_HASH), PASSWORD) == "yes"
        authenticator.close()

    asyncio.run(story())
