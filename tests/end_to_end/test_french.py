"""French 8-bit mail through the whole gateway: it verifies, and reads the same, at next hops with and without 8BITMIME."""

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dkim
import dns.resolver
import pytest

from gateway.compose.generate import Generated, generate
from sandbox.provider import Received
from sandbox.scenario import Mailboxes, Name
from sandbox.world import Sandbox
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, serving

TEXT = "Bonjour Zoé,\r\nl'été est là : « cœur », naïveté, 20 €.\r\n.une ligne qui commence par un point\r\n..deux\r\n"
HTML = "<p>Déjà Noël&nbsp;? L'œuvre complète, à 30 € seulement.</p>\r\n"

MESSAGE = (
    "From: =?utf-8?q?La_Librairie_des_=C3=89toiles?= <lettre@librairie.test>\r\n"
    "To: {to}\r\n"
    "Subject: =?utf-8?b?w4l0w6kgw6AgbGEgbGlicmFpcmll?=\r\n"
    "Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n"
    "Message-ID: <{to}>\r\n"
    "MIME-Version: 1.0\r\n"
    'Content-Type: multipart/alternative; boundary="=_limite"\r\n'
    "\r\n"
    "--=_limite\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n"
    "\r\n" + TEXT + "--=_limite\r\n"
    "Content-Type: text/html; charset=iso-8859-15\r\n"
    "Content-Transfer-Encoding: 8bit\r\n"
    "\r\n{html}--=_limite--\r\n"
)

DOMAIN = """
[[domain]]
name = "librairie.test"
[[domain.dkim]]
selector = "r1"
file = "keys/librairie.test.r1.pem"
"""


@dataclass(frozen=True)
class Stage:
    """A gateway whose key is in the sandbox's DNS."""

    house: House
    sandbox: Sandbox
    txt: Callable[..., bytes]

    def received(self, recipient: str) -> Received:
        """The message as the next hop took it."""
        return self.house.until(lambda: [one for one in self.sandbox.messages() if recipient in one.recipients], recipient)[0]


def published(key: Generated) -> Name:
    """The key's record in the fake Internet."""
    strings = " ".join(re.findall(r'"[^"]*"', key.zone_line))
    return Name(name=key.record_name, records=[f"TXT {strings}"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("french")
    key = generate("librairie.test", "r1", "rsa-sha256", 2048, folder / "keys")
    providers = [
        Mailboxes(name="eight", domains=["eight.test"]),
        Mailboxes(name="seven", domains=["seven.test"], eight_bit=False, smtputf8=False),
        Mailboxes(name="old", domains=["old.test"], eight_bit=False, smtputf8=False, pipelining=False, starttls=False),
    ]
    with (
        internet(providers, [published(key)]) as (sandbox, addresses),
        serving(House(folder, addresses, GROUND + OPEN_ACCOUNT + DOMAIN)) as house,
    ):
        resolver = dns.resolver.Resolver(configure=False)
        host, _, port = addresses.dns.rpartition(":")
        resolver.nameservers, resolver.port = [host], int(port)

        def txt(name: bytes, timeout: float = 5) -> bytes:
            return b"".join(resolver.resolve(name.decode(), "TXT")[0].strings)

        client = house.client()
        for domain in ("eight.test", "seven.test", "old.test"):
            message = MESSAGE.replace("{to}", f"zoe@{domain}")
            head, _, tail = message.partition("{html}")
            client.sendmail(
                "lettre@librairie.test", [f"zoe@{domain}"], head.encode() + HTML.encode("iso-8859-15") + tail.encode(), ["BODY=8BITMIME"]
            )
        client.quit()
        yield Stage(house, sandbox, txt)
        assert house.complaints() == []


@pytest.mark.parametrize("domain", ["eight.test", "seven.test", "old.test"])
def test_french_mail_verifies_and_reads_the_same_at_every_next_hop(stage: Stage, domain: str) -> None:
    content = stage.received(f"zoe@{domain}").content
    assert content.isascii() == (domain != "eight.test")
    assert dkim.verify(content, dnsfunc=stage.txt)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Subject"] == "Été à la librairie"
    plain, html = message.iter_parts()
    assert plain.get_content().split() == TEXT.split()
    assert html.get_content().split() == HTML.split()


def test_a_changed_word_does_not_verify(stage: Stage) -> None:
    """The check above checks something."""
    content = stage.received("zoe@eight.test").content
    assert not dkim.verify(content.replace("été".encode(), b"ete"), dnsfunc=stage.txt)


def test_the_envelope_is_ours_and_the_labels_are_gone(stage: Stage) -> None:
    received = stage.received("zoe@eight.test")
    assert re.fullmatch(r"b\+[a-z0-9]+@gateway\.test", received.sender)
    header = received.content.partition(b"\r\n\r\n")[0].lower()
    for name in (b"bcc:", b"x-stream:", b"x-campaign:", b"return-path:"):
        assert b"\r\n" + name not in header
    assert header.count(b"received:") == 1
    assert received.tls
