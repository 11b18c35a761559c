"""What clients of others meet: a real `mailwright serve` with four doors, and behind it a receiver that nobody here wrote (aiosmtpd).

Clients name the host `localhost` and check its certificate, as they would in earnest.
"""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from gateway.doors.passwords import hash_password
from mail.event import Event, EventKind
from sandbox.certificate import certificate
from sandbox.world import SandboxAddresses
from tests.durability.rig import free_port
from tests.end_to_end.house import House, serving

ACCOUNT, PASSWORD = "crm", "Xk7_battery-staple"

GATEWAY = """
[gateway]
hostname = "gateway.test"
domain = "gateway.test"
data = "data"
[http]
address = "127.0.0.1:{http}"
[dns]
servers = ["{dns}"]
allow_private = true
[spool]
minimum_free = 0
"""

DOORS = """
[[listener]]
name = "plain"
address = "127.0.0.1:{port}"
[[listener]]
name = "starttls"
address = "127.0.0.1:{starttls}"
tls = "starttls"
certificate = "chain.pem"
key = "key.pem"
trusted_networks = []
trusted_account = "none"
[[listener]]
name = "implicit"
address = "127.0.0.1:{implicit}"
tls = "implicit"
certificate = "chain.pem"
key = "key.pem"
trusted_networks = []
trusted_account = "none"
[[account]]
name = "default"
domains = ["any"]
[[account]]
name = "crm"
password_file = "crm.hash"
domains = ["librairie.test", "shop.example"]
[[route]]
domain = "*"
host = "127.0.0.1"
port = {smtp}
tls = "none"
"""


@dataclass(frozen=True)
class Door:
    """One way in. `user` is "" where a program of this machine needs no password; `authority` is what the certificate is checked with."""

    name: str
    port: int
    tls: str
    user: str
    authority: Path

    @property
    def password(self) -> str:
        return PASSWORD if self.user else ""

    def context(self) -> ssl.SSLContext:
        """What a Python client checks the certificate with. Not by the letter (Python 3.13): ours is its own authority."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


class Mailbox:
    """aiosmtpd that keeps every message as it came over the wire; it offers STARTTLS where a `folder` has its certificate."""

    def __init__(self, folder: Path | None = None) -> None:
        self.port = free_port()
        self.messages: list[tuple[str, list[str], bytes]] = []
        context = None
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, ready_timeout=20, enable_SMTPUTF8=True, tls_context=context
        )

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content
        assert isinstance(content, bytes)
        self.messages.append((str(envelope.mail_from), [str(recipient) for recipient in envelope.rcpt_tos], content))
        return "250 2.0.0 taken"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


class Stage:
    """The gateway, its doors, and the mailbox behind it."""

    def __init__(self, house: House, mailbox: Mailbox, doors: dict[str, Door]) -> None:
        self.house, self.mailbox, self.doors = house, mailbox, doors

    def delivered(self, recipient: str) -> bytes:
        """The one message that `recipient` got, once the events say it is delivered, by the account of the door."""
        (accepted, ended) = self.house.ended(recipient)
        assert (accepted.kind, ended.kind) == (EventKind.ACCEPTED, EventKind.DELIVERED)
        (content,) = [content for _, recipients, content in self.mailbox.messages if recipient in recipients]
        return content

    def last(self, recipient: str) -> Event:
        """The event that ended a delivery."""
        return self.house.ended(recipient)[-1]


def write_certificate(folder: Path) -> None:
    """`chain.pem` and `key.pem` for localhost in `folder`."""
    chain, key = certificate(["localhost"])
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(key)


def addresses(next_hop: int) -> SandboxAddresses:
    """No name server answers: every domain of these tests has a route."""
    return SandboxAddresses(dns=f"127.0.0.1:{free_port()}", smtp_port=next_hop)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """All of it, running."""
    write_certificate(folder)
    (folder / "crm.hash").write_text(hash_password(PASSWORD))
    mailbox = Mailbox()
    starttls, implicit = free_port(), free_port()
    doors = DOORS.replace("{starttls}", str(starttls)).replace("{implicit}", str(implicit))
    mailbox.start()
    try:
        with serving(House(folder, addresses(mailbox.port), GATEWAY + doors)) as house:
            chain = folder / "chain.pem"
            found = [
                Door("plain", house.port, "none", "", chain),
                Door("password", house.port, "none", ACCOUNT, chain),
                Door("starttls", starttls, "starttls", ACCOUNT, chain),
                Door("implicit", implicit, "implicit", ACCOUNT, chain),
            ]
            yield Stage(house, mailbox, {door.name: door for door in found})
            assert house.complaints() == []
    finally:
        mailbox.stop()
