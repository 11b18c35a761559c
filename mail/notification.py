"""Notifications that a sending service puts as JSON into a mail: Amazon SES by way of SNS.

They tell of bounces, deliveries and complaints at once, so both rooms that read what comes back need them. Typed and bounded: anything that
does not look exactly so is None, and no input raises.
"""

import re

import msgspec

from mail.mime import Part

MAX_TEXT = 262_144

_START = re.compile(r"\{\s{0,20}\"(?:notificationType|eventType)\"")


class Bounced(msgspec.Struct, frozen=True, rename="camel"):
    """A recipient of a bounce or delay."""

    email_address: str = ""
    action: str = ""
    status: str = ""
    diagnostic_code: str = ""


class Bounce(msgspec.Struct, frozen=True, rename="camel"):
    """`bounceType` is Permanent, Transient or Undetermined."""

    bounce_type: str = ""
    bounce_sub_type: str = ""
    bounced_recipients: list[Bounced] = []
    reporting_mta: str = msgspec.field(default="", name="reportingMTA")


class Complained(msgspec.Struct, frozen=True, rename="camel"):
    """A recipient who complained, or one of several who may have."""

    email_address: str = ""


class Complaint(msgspec.Struct, frozen=True, rename="camel"):
    """What an operator's feedback report said, as the service passes it on."""

    complained_recipients: list[Complained] = []
    complaint_feedback_type: str = ""
    user_agent: str = ""
    arrival_date: str = ""


class Delivery(msgspec.Struct, frozen=True, rename="camel"):
    """The recipients whose hosts accepted the message."""

    recipients: list[str] = []
    smtp_response: str = ""


class Field(msgspec.Struct, frozen=True):
    """A header field of the message it is about."""

    name: str = ""
    value: str = ""


class Mail(msgspec.Struct, frozen=True, rename="camel"):
    """The message it is about."""

    message_id: str = ""
    source: str = ""
    source_ip: str = ""
    headers: list[Field] = []


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """One notification: `type` is Bounce, Complaint or Delivery."""

    notification_type: str = ""
    event_type: str = ""
    mail: Mail = Mail()
    bounce: Bounce | None = None
    complaint: Complaint | None = None
    delivery: Delivery | None = None


_decoder = msgspec.json.Decoder(Notification)


def notification(root: Part) -> Notification | None:
    """The notification in the text of a message, or None."""
    part = root if not root.parts else root.find("text/plain", "application/json")
    if part is None or part.type not in ("text/plain", "application/json"):
        return None
    if b"Type" not in part.body:
        return None
    text = part.text()[:MAX_TEXT]
    start = _START.search(text)
    if start is None:
        return None
    body = text[start.start() :].partition("\n--\n")[0].strip()
    for candidate in (body, body.replace("\n", ""), body.replace("!\n ", "").replace("\n", "")):
        try:
            return _decoder.decode(candidate[: candidate.rfind("}") + 1])
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            continue
    return None
