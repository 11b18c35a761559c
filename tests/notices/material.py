"""Messages and notices for the tests of reports."""

from typing import Any

from bounce.report import Action
from gateway.calls import Message
from gateway.notices.report import Origin, Returned, report
from gateway.spool.notice import Notice
from mail.address import Address, address_of
from mail.reply import Reply, reply_from_lines

NOW = 1_800_000_000.0
ORIGIN = Origin("mx.gateway.example", "gateway.example")
LETTER = b"From: News <news@shop.example>\r\nTo: bob@example.net\r\nSubject: hello\r\nMessage-ID: <1@shop.example>\r\n\r\nHello Bob.\r\n"


def message(octets: bytes = LETTER, sender: str = "news@shop.example", **known: Any) -> Message:
    """What is known of a message."""
    address = address_of(sender) or Address("", "")
    known.setdefault("id", 4_000_000_000_000_000_123)
    known.setdefault("message_id", "<1@shop.example>")
    return Message("shop", "default", address, "shop.example", NOW - 60, len(octets), **known)


def notice(
    recipient: str = "bob@example.net", said: str = "550 5.1.1 No such user here", action: Action = Action.FAILED, **known: Any
) -> Notice:
    """What happened to a recipient; `said` is a reply, or "" for none."""
    reply = reply_from_lines(int(said[:3]), said[4:].split("\n")) if said else Reply(0, "")
    known = {"host": "mx1.example.net"} | known
    return Notice(7, action, NOW, NOW + 5, recipient, reply=reply, **known)


def made(*notices: Notice, octets: bytes = LETTER, most: int = 100_000, **known: Any) -> bytes:
    """A report about them."""
    return report(ORIGIN, message(octets, **known), list(notices) or [notice()], Returned(octets, most))
