"""Complaints that are not quite feedback reports, and arrive every day.

Microsoft's old junk mail reports (the message itself, with X-HmXmrOriginalRecipient), reports whose feedback part lost its type or stands
in a text part, messages that only say in words that they are one, Apple Mail's unsubscribe messages, and the JSON of a sending service.
"""

import re

from fbl.arf import feedback_type as type_named
from fbl.arf import fields_of_report, ip_address, read, recipients_of, timestamp, token_of
from fbl.report import Feedback, FeedbackType
from mail.complaint import AUTHENTICATION_FAILED, JMRP_FIELD
from mail.mime import Part, fields_of, parse_header
from mail.notification import Notification

_ENCLOSED = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "text/rfc822-header",
    "message/rfc822-headers",
    "message/global-headers",
)
_REPORT_LINE = re.compile(
    rb"(?im)^(?:feedback-type|user-agent|version|original-mail-from|original-rcpt-to|source-ip|arrival-date|received-date|reported-domain)"
    rb"[ \t]*:"
)
_SPOKEN_IP = re.compile(r"(?i)\bfrom ip(?: address)? \[?([0-9a-f.:]{3,45})\]?")
_SPOKEN_DATE = re.compile(r"(?i)\b(?:on|at) ((?:mon|tue|wed|thu|fri|sat|sun),? [^\n]{10,40}?)[.\n]")


def original_of(root: Part) -> Part:
    """The fields of the message complained about; none when it was not enclosed."""
    for part in root.walk():
        if part.type in _ENCLOSED:
            return parse_header(part.content())
    return Part([], b"")


def from_text(root: Part) -> Feedback | None:
    """A report whose fields stand in a part of another type; what stands behind them is the message."""
    for part in root.walk():
        if part.parts or part.type in _ENCLOSED:
            continue
        content = part.content()[:65_536].lstrip()
        start = _REPORT_LINE.search(content)
        if start is None or b"eedback-" not in content[start.start() : start.start() + 8_000]:
            continue
        block, _, rest = content[start.start() :].partition(b"\n\n")
        fields = fields_of_report(block)
        if any(name == "feedback-type" for name, _ in fields):
            enclosed = original_of(root)
            return read(fields, enclosed if enclosed.fields else _below(rest), "fields-in-text")
    return None


def _below(rest: bytes) -> Part:
    """A message that stands in the text below the report's fields."""
    at = re.search(rb"(?m)^(?:received|return-path|from|message-id|x-[a-z-]{2,30}):", rest[:65_536], re.I)
    return parse_header(rest[at.start() :]) if at else Part([], b"")


def from_jmrp(root: Part) -> Feedback | None:
    """Microsoft's junk mail reporting programme before 2026: no feedback part; the recipient in a field of the message."""
    originals = [root, original_of(root)]
    for part in originals:
        if part.value(JMRP_FIELD):
            return _of_original(part, FeedbackType.ABUSE, "jmrp", source_ip=_source_ip(root) or _source_ip(part))
    for part in root.walk():
        if JMRP_FIELD.encode() in part.body[:65_536].lower():
            header = Part(fields_of(part.body[:65_536]), b"")
            return _of_original(header, FeedbackType.ABUSE, "jmrp", source_ip=_source_ip(root) or _source_ip(header))
    return None


def from_unsubscription(root: Part) -> Feedback:
    """Apple Mail's unsubscribe message: its author is who wants to leave."""
    author = recipients_of(Part([("to", root.value("from"))], b""))[:1]
    token = token_of([], Part([("return-path", root.value("to"))], b""))
    return Feedback(
        FeedbackType.OPT_OUT, recipients=tuple(author), token=token, arrival_date=timestamp(root.value("date")), rule="apple-unsubscribe"
    )


def from_words(root: Part) -> Feedback | None:
    """A message that calls itself a feedback report in its type, and has neither the part nor its fields."""
    original = original_of(root)
    text = next((part.text()[:8_000] for part in root.walk() if part.type == "text/plain" and not part.parts), "")
    spoken, when = _SPOKEN_IP.search(text), _SPOKEN_DATE.search(text)
    if not original.fields and spoken is None:
        return None
    return _of_original(
        original,
        FeedbackType.ABUSE,
        "no-feedback-part",
        source_ip=ip_address(spoken.group(1).rstrip(".:")) if spoken else "",
        arrival_date=timestamp(when.group(1)) if when else "",
    )


def from_prose(root: Part) -> Feedback | None:
    """Exim's report of failed authentication: lines of `name: value` in plain text, and the header of the message below."""
    text = next((part.text()[:16_000] for part in root.walk() if part.type == "text/plain" and not part.parts), "")
    if AUTHENTICATION_FAILED not in " ".join(text.lower().split()):
        return None
    told = {name.strip().lower(): value.strip() for name, colon, value in (line.partition(":") for line in text.split("\n")[:200]) if colon}
    fields = [("feedback-type", "auth-failure"), ("auth-failure", "dmarc"), ("reported-domain", told.get("sender domain", ""))]
    fields += [("source-ip", told.get("sender ip address", "")), ("arrival-date", told.get("received date", ""))]
    return read(fields, _below(text.encode("utf-8", "replace")), "prose")


def from_notification(found: Notification) -> Feedback | None:
    """A complaint passed on as JSON."""
    if found.complaint is None:
        return None
    header = Part([(field.name.lower(), field.value) for field in found.mail.headers[:500]], b"")
    complaint = found.complaint
    return Feedback(
        feedback_type=type_named(complaint.complaint_feedback_type or "abuse"),
        recipients=tuple(entry.email_address for entry in complaint.complained_recipients[:200] if "@" in entry.email_address),
        token=token_of([("original-mail-from", found.mail.source)], header),
        original_message_id=header.value("message-id") or found.mail.message_id,
        original_mail_from=found.mail.source,
        source_ip=ip_address(found.mail.source_ip),
        arrival_date=complaint.arrival_date[:40],
        user_agent=complaint.user_agent[:500],
        rule="json-notification",
    )


def _source_ip(part: Part) -> str:
    """The address a message came from, where an operator's field tells."""
    for field in ("x-sid-pra-ip", "x-originating-ip", "x-sender-ip", "x-hmxmroriginalsenderip"):
        found = ip_address(part.value(field))
        if found:
            return found
    return ""


def _of_original(original: Part, kind: FeedbackType, rule: str, *, source_ip: str = "", arrival_date: str = "") -> Feedback:
    plain = read([], original, rule)
    return Feedback(
        feedback_type=kind,
        recipients=plain.recipients,
        redacted=plain.redacted,
        token=plain.token,
        sealed=plain.sealed,
        original_message_id=plain.original_message_id,
        original_mail_from=plain.original_mail_from,
        source_ip=source_ip,
        arrival_date=arrival_date,
        rule=rule,
    )
