"""XARF reports: a complaint as JSON (https://xarf.org), in a mail or in a file of its own.

Versions 3 (`Report`, `ReporterInfo`) and 4 (`category`, `type`, `source_identifier`) are read for what mail senders need; everything else
they may hold is left alone. Typed and bounded: what does not fit is None, and no input raises.
"""

import msgspec

from fbl.arf import ip_address, read
from fbl.report import Feedback, FeedbackType
from mail.mime import Part, parse_header

MAX_OCTETS = 1_048_576

_KINDS = {
    "spam": FeedbackType.ABUSE,
    "spamtrap": FeedbackType.ABUSE,
    "abuse": FeedbackType.ABUSE,
    "phishing": FeedbackType.FRAUD,
    "fraud": FeedbackType.FRAUD,
    "malware": FeedbackType.VIRUS,
    "virus": FeedbackType.VIRUS,
}


class _Sample(msgspec.Struct, rename="lower"):
    payload: str = ""
    encoding: str = ""


class _Report(msgspec.Struct, rename="pascal"):
    report_type: str = ""
    report_class: str = ""
    source_ip: str = msgspec.field(default="", name="SourceIp")
    date: str = ""
    smtp_mail_from_address: str = ""
    smtp_rcpt_to_address: str = ""
    source_domain: str = ""
    samples: list[_Sample] = []


class _Old(msgspec.Struct):
    report: _Report = msgspec.field(name="Report")
    version: str | int = msgspec.field(default="", name="Version")


class _New(msgspec.Struct):
    xarf_version: str
    type: str = ""
    category: str = msgspec.field(default="", name="category")
    source_identifier: str = ""
    timestamp: str = ""
    smtp_from: str = ""
    smtp_to: str = ""
    sender: str = ""
    message_id: str = ""
    user_agent: str = ""


_old = msgspec.json.Decoder(_Old)
_new = msgspec.json.Decoder(_New)


def parse_json(octets: bytes) -> Feedback | None:
    """The report in a JSON document, or None when it is no XARF."""
    octets = octets.removeprefix(b"\xef\xbb\xbf").strip()
    if len(octets) > MAX_OCTETS or not octets.startswith(b"{"):
        return None
    try:
        if b'"xarf_version"' in octets:
            return _from_new(_new.decode(octets))
        if b'"Report"' in octets:
            return _from_old(_old.decode(octets))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    return None


def in_mail(root: Part) -> Feedback | None:
    """The report attached to a message."""
    for part in root.walk():
        if not part.parts and (part.type == "application/json" or "xarf" in part.type or part.parameters.get("name", "").endswith(".json")):
            found = parse_json(part.content())
            if found is not None:
                return found
    return None


def _from_new(found: _New) -> Feedback:
    original = Part([("message-id", found.message_id)] if found.message_id else [], b"")
    fields = [("original-mail-from", found.smtp_from or found.sender), ("original-rcpt-to", found.smtp_to)]
    plain = read(fields, original, "xarf")
    return msgspec.structs.replace(
        plain,
        feedback_type=_KINDS.get(found.type.lower(), FeedbackType.OTHER),
        source_ip=ip_address(found.source_identifier),
        arrival_date=found.timestamp[:40],
        user_agent=found.user_agent[:500],
    )


def _from_old(found: _Old) -> Feedback:
    report = found.report
    sample = next((entry.payload for entry in report.samples[:10] if entry.encoding.lower() != "base64"), "")
    fields = [("original-mail-from", report.smtp_mail_from_address), ("original-rcpt-to", report.smtp_rcpt_to_address)]
    fields.append(("reported-domain", report.source_domain))
    plain = read(fields, parse_header(sample.replace("\r\n", "\n").encode("utf-8", "replace")), "xarf")
    return msgspec.structs.replace(
        plain,
        feedback_type=_KINDS.get(report.report_type.lower(), FeedbackType.OTHER),
        source_ip=ip_address(report.source_ip),
        arrival_date=report.date[:40],
    )
