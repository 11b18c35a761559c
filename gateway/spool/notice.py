"""Notices as the spool keeps them: what senders are to be told of their recipients, until a report tells it (RFC 3464).

Values of the port, in a file of their own. A notice is written in the transaction of the change it tells of, and goes in the transaction
that accepts the report; so a crash at any instant neither loses a report nor makes a second one.
"""

import msgspec

from bounce.report import Action
from gateway.calls import Message
from mail.reply import Reply


class Notice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the sender is to be told of one recipient (RFC 3464 section 2.3). Written with the change it tells of, and gone with the report
    that tells it: it holds its message and the bytes until then."""

    delivery: int
    action: Action
    at: float
    """When it happened."""
    due: float
    """When the report may be made: until then others of the same message are gathered."""
    recipient: str
    orcpt: str = ""
    asked: bool = False
    """The sender said NOTIFY for this recipient."""
    reply: Reply = Reply(0, "")
    """What the receiver, or we, said last; code 0 when nobody was asked."""
    host: str = ""
    """Who said it."""
    retry_until: float = 0.0
    """When the delivery expires; 0 when it has ended."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """Notices of one message and action that are done with: they are in a report, or never will be."""

    message: int
    action: Action
    deliveries: list[int]


class Pending(msgspec.Struct, frozen=True, gc=False):
    """Notices of one message and action that are due, at most 1,000, as `told` will name them. `message` is None, and a notice is left out
    of `notices`, where what is stored does not decode."""

    told: Told
    message: Message | None
    notices: list[Notice]
