"""What the server's side of a connection offers, and the events it gives: the values that doors and `gateway.smtp.server` share.

Events that ask (`Mail`, `Recipient`, `Content`, `Auth`) are answered by `accept` or `refuse`; the others only tell.
"""

import enum
from typing import Literal

import msgspec

from gateway.smtp.grammar import MailCommand
from gateway.smtp.sasl import Credentials
from mail.address import Address


class ServerOptions(msgspec.Struct, frozen=True):
    """What this connection offers and tolerates. Sizes in octets."""

    hostname: str
    message_size: int = 50_000_000
    recipients: int = 1000
    messages: int = 100_000
    errors: int = 20
    """Refused commands, counted since the last accepted message, at which the connection is closed."""
    idle_commands: int = 1000
    """NOOP, RSET, EHLO and the like, counted since the last accepted message, beyond which the connection is closed."""
    limits: str = ""
    """Parameters of LIMITS (RFC 9422), such as "MAILMAX=100 RCPTMAX=50"; "" announces none."""
    tls_available: bool = False
    tls_active: bool = False
    auth_allowed: bool = False
    """A password may be given now: TLS is active, or the network trusted."""
    auth_offered: bool = False
    """Somebody could log in at all: EHLO names AUTH when it is also allowed; else AUTH is answered 538 rather than 502."""
    bare_newline: Literal["refuse", "normalise"] = "refuse"
    command_line: int = 2048
    """Longest command line; RFC 5321 section 4.5.3.1.4 asks for 512, extensions for a little more."""


class Hello(msgspec.Struct, frozen=True, gc=False):
    """EHLO (`esmtp`) or HELO was answered; a transaction that was open is gone."""

    name: str
    esmtp: bool


class Mail(msgspec.Struct, frozen=True, gc=False):
    """MAIL asks: may this sender begin a message? Answer it."""

    command: MailCommand


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """RCPT asks: is this recipient welcome? Answer it. NOTIFY and ORCPT as `gateway.smtp.dsn` gives them."""

    address: Address
    notify: str = ""
    orcpt: str = ""


class Content(msgspec.Struct, frozen=True, gc=False):
    """The message is here, dots unstuffed. Answer it: accepting means responsibility (RFC 5321 section 4.2.5)."""

    data: bytes


class Auth(msgspec.Struct, frozen=True, gc=False):
    """The client gave credentials. Answer it."""

    mechanism: str
    credentials: Credentials


class StartTls(msgspec.Struct, frozen=True, gc=False):
    """STARTTLS was answered 220: write it, do the handshake, call `tls_started`."""


class Reset(msgspec.Struct, frozen=True, gc=False):
    """RSET was answered; a transaction that was open is gone."""


class Quit(msgspec.Struct, frozen=True, gc=False):
    """QUIT was answered; the connection is closed after the reply."""


class Aborted(msgspec.Struct, frozen=True, gc=False):
    """The peer ended without QUIT. `during_message`: a message was arriving, and is dropped."""

    during_message: bool


Question = Mail | Recipient | Content | Auth
"""Events that want an answer."""
Event = Hello | Mail | Recipient | Content | Auth | StartTls | Reset | Quit | Aborted


class NeedData(enum.Enum):
    """No event now."""

    NEED_DATA = enum.auto()


NEED_DATA = NeedData.NEED_DATA
