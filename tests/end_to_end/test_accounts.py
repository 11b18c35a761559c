"""Who may send as whom, through the whole gateway: a refused message is neither signed, nor queued, nor told as an event.

Accounts are told apart by the address they come from, so that no password is in the way.
"""

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.compose.generate import generate
from mail.event import EventKind
from sandbox.scenario import Mailboxes
from sandbox.world import Sandbox
from tests.end_to_end.house import GROUND, House, internet, letter, serving

SHOP, BANK, STRANGER = "127.7.21.1", "127.7.22.1", "127.7.23.1"

ACCOUNTS = """
trusted_networks = []
trusted_account = "none"
[[account]]
name = "shop"
networks = ["127.7.21.0/24"]
domains = ["shop.test"]
[[account]]
name = "bank"
networks = ["127.7.22.0/24"]
domains = ["bank.test"]
[[domain]]
name = "shop.test"
dkim = [{ selector = "s1", file = "keys/shop.test.s1.pem" }]
[[domain]]
name = "bank.test"
dkim = [{ selector = "b1", file = "keys/bank.test.b1.pem" }]
[[stream]]
name = "default"
"""


@dataclass(frozen=True)
class Stage:
    """A gateway with two tenants."""

    house: House
    sandbox: Sandbox

    def client(self, address: str) -> smtplib.SMTP:
        """A client at `address`."""
        return self.house.client(address)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("accounts")
    for domain, selector in (("shop.test", "s1"), ("bank.test", "b1")):
        generate(domain, selector, "rsa-sha256", 2048, folder / "keys")
    ground = GROUND.replace('[[listener]]\naddress = "127.0.0.1:{port}"\n', '[[listener]]\naddress = "127.0.0.1:{port}"' + ACCOUNTS)
    with (
        internet([Mailboxes(name="reader", domains=["reader.test"])]) as (sandbox, addresses),
        serving(House(folder, addresses, ground)) as house,
    ):
        yield Stage(house, sandbox)
        assert house.complaints() == []


def refusal(client: smtplib.SMTP, sender: str, message: bytes, recipient: str = "x@reader.test") -> tuple[int, bytes]:
    """What a message is refused with, and where: the reply to MAIL, RCPT or the final dot. (250, …) when it is not."""
    for answer in (client.mail(sender), client.rcpt(recipient)):
        if answer[0] != 250:
            client.rset()
            return answer
    return client.data(message)


def test_an_account_sends_as_itself_and_is_signed_as_itself(stage: Stage) -> None:
    client = stage.client(SHOP)
    assert refusal(client, "news@shop.test", letter("own@reader.test"), "own@reader.test")[0] == 250
    assert stage.house.ended("own@reader.test")[-1].kind is EventKind.DELIVERED
    (message,) = [one for one in stage.sandbox.messages() if "own@reader.test" in one.recipients]
    assert b"d=shop.test" in message.content
    assert b"d=bank.test" not in message.content


@pytest.mark.parametrize(
    ("sender", "author"),
    [
        ("teller@bank.test", "news@shop.test"),
        ("teller@bank.test", "teller@bank.test"),
        ("news@shop.test", "teller@bank.test"),
        ("news@shop.test", "teller@BANK.test"),
        ("news@shop.test", "news@shop.test, teller@bank.test"),
        ("news@shop.test", "news@shop.test\r\nFrom: teller@bank.test"),
        ("news@shop.test", '"news@shop.test" <teller@bank.test>'),
        ("news@shop.test", "a@b.shop.test"),
        ("news@mail.shop.test", "news@shop.test"),
        ("news@shop.test.bank.test", "news@shop.test"),
        ("", "teller@bank.test"),
        ("news@shop.test", ""),
    ],
)
def test_a_strange_domain_in_envelope_or_from_is_refused_and_nothing_is_queued(stage: Stage, sender: str, author: str) -> None:
    client = stage.client(SHOP)
    code, text = refusal(client, sender, letter("victim@reader.test", sender=author), "victim@reader.test")
    assert (code, text[:5]) == (550, b"5.7.1")
    assert refusal(client, "news@shop.test", letter("x@reader.test"))[0] == 250, "the connection goes on"
    client.quit()
    queued = stage.house.call("queue.list", domain="reader.test", limit=1000)["deliveries"]
    assert "victim@reader.test" not in {row["recipient"] for row in queued}
    assert stage.house.history("victim@reader.test") == []
    assert not [one for one in stage.sandbox.messages() if "victim@reader.test" in one.recipients]


def test_the_other_account_may_do_what_this_one_may_not(stage: Stage) -> None:
    assert refusal(stage.client(BANK), "teller@bank.test", letter("y@reader.test", sender="teller@bank.test"))[0] == 250


@pytest.mark.parametrize("sender", ["news@shop.test", "someone@reader.test", ""])
def test_a_stranger_relays_nothing(stage: Stage, sender: str) -> None:
    client = stage.client(STRANGER)
    code, text = client.mail(sender)
    assert (code, text[:5]) == (530, b"5.7.0")
    assert client.rcpt("victim@reader.test")[0] == 503
    assert client.docmd("DATA")[0] == 503
    assert stage.house.history("victim@reader.test") == []


@pytest.mark.parametrize("recipient", ["a@b@reader.test", "a%reader.test@shop.test", "@shop.test:victim@reader.test", "x@[127.0.0.1]", "x"])
def test_no_trick_of_an_address_reaches_further(stage: Stage, recipient: str) -> None:
    """Old source routes, percent hacks and literals: refused, or taken for exactly what they say."""
    client = stage.client(SHOP)
    client.mail("news@shop.test")
    code, _ = client.docmd(f"RCPT TO:<{recipient}>")
    assert code in (250, 501, 550, 553)
    client.docmd("RSET")
    if "%" in recipient:
        assert code == 250, "an ordinary local part"
