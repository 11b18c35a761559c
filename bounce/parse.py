"""A message that came back, read: `parse(raw)` gives what it is, whom it is about and why (see `bounce.report`).

The order of the questions matters and is the safety of this room: a complaint or a receipt that wraps a report is not a bounce; a
machine-readable part is believed before prose; prose counts only in a message that a reporting program sent; what remains is an automatic
answer, a challenge or somebody's reply, and none of these ever says that an address is dead.

Promises: any octets in, a Report or None out (None: nothing we know), never an exception; size, depth, count and time bounded. It does
not check tokens (`mail.token` does), and does not know whether the message belongs to one of ours.
"""

import re

from bounce import autoreply, dsn, freeform, notified
from bounce.notice import Notice, notice
from bounce.report import Kind, Report, kind_of
from mail.complaint import is_complaint
from mail.mime import Part
from mail.mime import parse as parse_mime
from mail.notification import notification

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_RECEIPT_TYPES = ("message/disposition-notification", "message/global-disposition-notification")
_TOKEN = re.compile(r"(?<![a-z0-9+.-])(b\+[a-z2-7]{33})(?=@|%40|/|$|[\s>,;])", re.I)
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,900}>")
_TOKEN_FIELDS = ("to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "original-recipient")
_REFUSALS = ("was automatically rejected", "has been automatically rejected")
MAX_NESTING = 1
"""How many reports inside a report are followed, when the outer one says nothing of its own."""


def parse(raw: bytes) -> Report | None:
    """What `raw` is, or None when it is nothing that a gateway has to know about."""
    return _parse(raw, MAX_NESTING)


def _parse(raw: bytes, nesting: int) -> Report | None:
    root = parse_mime(raw)
    if is_complaint(root):
        return Report(Kind.FEEDBACK, rule="feedback-report")
    told = notification(root)
    if told is not None and (report := notified.report_of(told)) is not None:
        return report
    said = notice(root)
    if root.find(*_RECEIPT_TYPES) is not None or root.parameters.get("report-type", "").lower() == "disposition-notification":
        return _from_receipt(root, said)
    status = root.find(*_STATUS_TYPES)
    if status is not None:
        found = _from_status(status, root, said)
        if found is not None:
            return found
    recognised = freeform.recognise(root, said)
    if recognised is not None:
        found = _from_prose(recognised, root, said, nesting)
        if found is not None:
            return found
    answer = autoreply.read(root, said)
    if answer is None or (answer.kind is Kind.REPLY and freeform.is_daemon(root) and not freeform.is_answer(root)):
        return None  # a program that reports is nobody who answers
    return _report(root, said, answer)


def _from_receipt(root: Part, said: Notice) -> Report:
    """A receipt (RFC 8098). Delivery agents also refuse mail in this form, and say so in words."""
    refused = any(phrase in said.text[:2_000] for phrase in _REFUSALS) and freeform.is_daemon(root)
    found = freeform.named(root, said) if refused else ()
    if found:
        return _report(root, said, Report(kind_of(found), found, rule="refused-by-delivery-agent"))
    return _report(root, said, Report(Kind.READ_RECEIPT, rule="disposition-notification"))


def _from_status(status: Part, root: Part, said: Notice) -> Report | None:
    """A report with a machine-readable part."""
    fields = dsn.groups(status.text())
    found = dsn.recipients(fields, said.text, lambda: _others(root, said))
    if not found:
        return None
    report = Report(kind_of(found), found, rule="rfc3464")
    return _report(root, said, report, fields.message.get("original-envelope-id", ""))


def _others(root: Part, said: Notice) -> list[str]:
    """The addresses of a report whose status part has none."""
    return freeform.failed_recipients_field(root) or [entry.address for entry in freeform.recipients(root, said)[:1]]


def _from_prose(recognised: freeform.Recognised, root: Part, said: Notice, nesting: int) -> Report | None:
    """A report for people. One that names nobody and returns a report passes that one on."""
    found = freeform.named(root, said)
    if not found and nesting and said.enclosed and freeform.is_daemon(said.returned):
        inner = _parse(said.enclosed, nesting - 1)
        if inner is not None and inner.kind in (Kind.BOUNCE, Kind.DELAY):
            return inner
    found = found or freeform.recipients(root, said)
    if not found:
        return None
    return _report(root, said, Report(kind_of(found), found, rule=recognised.rule))


def _report(root: Part, said: Notice, report: Report, envelope_id: str = "") -> Report:
    """`report` with what ties it to a delivery: the id of the returned message and the token of the address it came back to."""
    message_id = _message_id(said.returned.value("message-id")) or _answered(root)
    return Report(
        kind=report.kind,
        recipients=report.recipients,
        original_message_id=message_id,
        token=_token(root, said.returned, envelope_id),
        rule=report.rule,
        absence=report.absence,
        text=report.text,
    )


def _answered(root: Part) -> str:
    """The message that an answer answers (RFC 5322 section 3.6.4), or that a receipt is about (RFC 8098 section 3.2.5)."""
    receipt = root.find(*_RECEIPT_TYPES)
    told = dsn.groups(receipt.text()[:8_000]).named("original-message-id") if receipt is not None else ""
    return _message_id(told) or _message_id(root.value("in-reply-to"))


def _message_id(value: str) -> str:
    identity = _MESSAGE_ID.search(value[:1_000])
    return identity.group() if identity else value[:500].strip()


def _token(root: Part, returned: Part, envelope_id: str) -> str:
    """The short token of the return path, wherever it survived (`mail.token`); "" when nowhere."""
    places = [root.value(field) for field in _TOKEN_FIELDS]
    places += [
        envelope_id,
        returned.value("return-path"),
        returned.value("x-envelope-from"),
        root.value("references"),
        root.value("in-reply-to"),
    ]
    for place in places:
        match = _TOKEN.search(place[:2_000])
        if match is not None:
            return match.group(1).lower()
    return ""
