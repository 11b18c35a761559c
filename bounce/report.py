"""What a message that came back says: its kind, and for each recipient what happened, why, and what follows.

Values only. `hard` means the address is dead; `suppress` is what the default policy would do, and is never set by anything but a
recipient's fault in a final failure.
"""

import enum

import msgspec

from bounce.classify import Classification
from mail.outcome import Category, Fault, is_hard

MAX_DIAGNOSTIC = 1_000
"""Characters of a diagnostic that are kept."""


class Kind(enum.StrEnum):
    """What a returned message is. Only `bounce` may ever have consequences for an address."""

    BOUNCE = "bounce"
    DELAY = "delay"
    DELIVERED = "delivered"
    AUTO_REPLY = "auto-reply"
    CHALLENGE = "challenge"
    READ_RECEIPT = "read-receipt"
    FEEDBACK = "feedback"
    LOOP = "loop"
    REPLY = "reply"
    OTHER = "other"


class Action(enum.StrEnum):
    """RFC 3464 section 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class Recipient(msgspec.Struct, frozen=True):
    """One recipient of the report. `address` is the final one, `original_address` the one that was written first, when it differs.

    `status` is an enhanced status code or ""; `diagnostic` the words of the remote side; `rule` what decided the category.
    """

    address: str
    original_address: str = ""
    action: Action = Action.FAILED
    status: str = ""
    category: Category = Category.OTHER
    fault: Fault = Fault.UNKNOWN
    hard: bool = False
    suppress: bool = False
    diagnostic: str = ""
    remote_mta: str = ""
    rule: str = ""


class Absence(msgspec.Struct, frozen=True):
    """What an automatic answer says about its author. Dates are ISO 8601 (YYYY-MM-DD) or ""."""

    returns: str = ""
    successor: str = ""
    new_address: str = ""
    left: bool = False


class Report(msgspec.Struct, frozen=True):
    """The whole. `rule` names the format that was recognised. `text` is the new text of a reply, without what it quotes."""

    kind: Kind
    recipients: tuple[Recipient, ...] = ()
    original_message_id: str = ""
    token: str = ""
    rule: str = ""
    absence: Absence | None = None
    text: str = ""


def recipient(
    address: str, action: Action, status: str, found: Classification, *, original: str = "", diagnostic: str = "", remote_mta: str = ""
) -> Recipient:
    """A recipient with what follows from its classification. A failure whose status is transient is final, but proves no dead address."""
    final = action is Action.FAILED
    hard = is_hard(found.category, final and not status.startswith("4")) and found.fault is Fault.RECIPIENT
    return Recipient(
        address=address,
        original_address=original if original.lower() != address.lower() else "",
        action=action,
        status=status,
        category=found.category,
        fault=found.fault,
        hard=hard,
        suppress=hard,
        diagnostic=diagnostic[:MAX_DIAGNOSTIC],
        remote_mta=remote_mta[:255],
        rule=found.rule,
    )


def kind_of(recipients: tuple[Recipient, ...]) -> Kind:
    """The kind of a delivery report: one failure makes it a bounce, else one delay a delay."""
    actions = {entry.action for entry in recipients}
    if Action.FAILED in actions:
        return Kind.BOUNCE
    if Action.DELAYED in actions:
        return Kind.DELAY
    return Kind.DELIVERED if actions else Kind.OTHER
