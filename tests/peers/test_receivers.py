"""Servers of others take the gateway's mail: whole, signed so that it verifies, with and without TLS, and their refusals are understood."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dkim
import pytest

from gateway.compose.generate import Generated, generate
from mail.event import Event, EventKind
from tests.end_to_end.house import House, serving
from tests.peers.letters import SENDER, assert_whole, letter
from tests.peers.programs import public_folder, until
from tests.peers.receivers import Aiosmtpd, Exim, OpenSmtpd, PostfixReceives, Receiver, SmtpSink
from tests.peers.stage import GATEWAY, addresses

SETTINGS = """
[[listener]]
address = "127.0.0.1:{port}"
[[account]]
name = "default"
domains = ["any"]
[[domain]]
name = "librairie.test"
dkim = [{ selector = "r1", file = "keys/librairie.test.r1.pem" }]
[[route]]
domain = "clear.test"
host = "127.0.0.1"
port = {smtp}
tls = "none"
[[route]]
domain = "tls.test"
host = "127.0.0.1"
port = {smtp}
tls = "required"
[[route]]
domain = "usual.test"
host = "127.0.0.1"
port = {smtp}
tls = "opportunistic"
"""


@dataclass(frozen=True)
class Correspondence:
    """A gateway, the server it sends to, and the key that signs."""

    house: House
    receiver: Receiver
    key: Generated

    def kept(self, message_id: str) -> list[bytes]:
        """The messages with this Message-ID that the server has so far."""
        return [content for content in self.receiver.messages() if f"\r\nMessage-ID: <{message_id}>\r\n".encode() in content]

    def ended(self, recipient: str) -> Event:
        """What became of a delivery."""
        try:
            return self.house.ended(recipient)[-1]
        except AssertionError as error:
            error.add_note(self.receiver.told()[-3000:])
            raise


@pytest.fixture(scope="module", params=[Aiosmtpd, SmtpSink, PostfixReceives, OpenSmtpd, Exim], ids=lambda kind: kind.__name__.lower())
def correspondence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Correspondence]:
    make: Callable[[Path], Receiver] = request.param
    folder = tmp_path_factory.mktemp("receivers")
    key = generate("librairie.test", "r1", "rsa-sha256", 2048, folder / "keys")
    with public_folder() as public:
        receiver = make(public)
        try:
            receiver.start()
            with serving(House(folder, addresses(receiver.port), GATEWAY + SETTINGS)) as house:
                yield Correspondence(house, receiver, key)
                assert house.complaints() == []
        finally:
            receiver.stop()


@pytest.mark.parametrize("domain", ["clear.test", "tls.test", "usual.test"])
def test_mail_arrives_whole_and_verifies(correspondence: Correspondence, domain: str) -> None:
    if domain == "tls.test" and not correspondence.receiver.tls:
        pytest.skip("it has no TLS that works here")
    to = [f"zoe@{domain}", f"rene@{domain}"]
    sent = letter(to, campaign="été")
    with correspondence.house.client() as client:
        client.sendmail(SENDER, to, sent, ["BODY=8BITMIME"])
    for recipient in to:
        event = correspondence.ended(recipient)
        assert event.kind is EventKind.DELIVERED
        assert bool(event.tls) is (correspondence.receiver.tls and domain != "clear.test")
    until(lambda: len(correspondence.kept(to[0])) == len(to), "both messages", correspondence.receiver.told)
    record = "".join(re.findall(r'"([^"]*)"', correspondence.key.zone_line)).encode()
    for content in correspondence.kept(to[0]):
        assert_whole(content, sent, campaign="été")
        assert dkim.verify(content, dnsfunc=lambda name, timeout=5: record)


def test_a_recipient_it_does_not_know_is_a_bounce_with_the_fault_of_the_recipient(correspondence: Correspondence) -> None:
    if not correspondence.receiver.unknown:
        pytest.skip("it takes any recipient")
    to = ["nobody@clear.test"]
    with correspondence.house.client() as client:
        client.sendmail(SENDER, to, letter(to), ["BODY=8BITMIME"])
    event = correspondence.ended(to[0])
    assert (event.kind, event.category, event.fault) == (EventKind.BOUNCED, correspondence.receiver.unknown, "recipient")
    assert event.hard is (event.category != "policy")
