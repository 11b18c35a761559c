"""Feedback reports (RFC 5965, 6591, 6650): the machine-readable part and the message it is about, read with patience.

Dates that are no dates, IP addresses that are none, wrong charsets, fields in the wrong part, several recipients or none, addresses blacked
out: each costs its own field and nothing else.
"""

import datetime
import email.utils
import ipaddress
import re

from fbl.report import Feedback, FeedbackType
from mail.mime import Part, fields_of

MAX_RECIPIENTS = 200
MAX_FIELD = 2_000

_ADDRESS = re.compile(r"[^\s<>\"(),;:\[\]]{1,64}@[^\s<>\"(),;:\[\]]{1,255}")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,900}>")
_TOKEN = re.compile(r"(?<![a-z0-9+.-])(b\+[a-z2-7]{33})(?=@|%40|=|$|[\s>,;])", re.I)
_SEALED = re.compile(r"(?<![A-Za-z0-9_-])[a-z2-7][A-Za-z0-9_-]{40,2000}(?![A-Za-z0-9_-])")
_REDACTED = re.compile(r"(?i)^(?:redacted|x{3,}|\*+|undisclosed|anonymi[sz]ed|removed|hidden|[0-9a-f]{32,64})(?:[-_.].*)?$")
_TYPES = {
    "abuse": FeedbackType.ABUSE,
    "spam": FeedbackType.ABUSE,
    "complaint": FeedbackType.ABUSE,
    "junk": FeedbackType.ABUSE,
    "fraud": FeedbackType.FRAUD,
    "phishing": FeedbackType.FRAUD,
    "virus": FeedbackType.VIRUS,
    "malware": FeedbackType.VIRUS,
    "not-spam": FeedbackType.NOT_SPAM,
    "notspam": FeedbackType.NOT_SPAM,
    "not_spam": FeedbackType.NOT_SPAM,
    "ham": FeedbackType.NOT_SPAM,
    "opt-out": FeedbackType.OPT_OUT,
    "opt-out-list": FeedbackType.OPT_OUT,
    "optout": FeedbackType.OPT_OUT,
    "unsubscribe": FeedbackType.OPT_OUT,
    "auth-failure": FeedbackType.AUTH_FAILURE,
    "authfailure": FeedbackType.AUTH_FAILURE,
    "dmarc": FeedbackType.AUTH_FAILURE,
    "dkim": FeedbackType.AUTH_FAILURE,
}
_ORIGINAL_TO = ("x-hmxmroriginalrecipient", "to", "x-original-to", "delivered-to", "envelope-to", "x-envelope-to")
_TOKEN_FIELDS = ("return-path", "x-envelope-from", "errors-to", "reply-to", "x-original-return-path")
_SEALED_FIELDS = ("cfbl-feedback-id", "list-unsubscribe", "list-help")


def feedback_type(value: str) -> FeedbackType:
    """The type named (in any case), `other` when it is not a known one."""
    return _TYPES.get(value.strip().partition(" ")[0].partition(";")[0].strip("\"'").lower(), FeedbackType.OTHER)


def fields_of_report(octets: bytes) -> list[tuple[str, str]]:
    """The fields of a feedback part. Empty lines between them, which some generators leave, do not end them."""
    lines = [line for line in octets.split(b"\n") if line.strip()]
    return fields_of(b"\n".join(lines)[:262_144])


def read(fields: list[tuple[str, str]], original: Part, rule: str) -> Feedback:
    """The report whose fields are `fields`, about the message `original` (without fields when none was enclosed)."""
    kind = feedback_type(_first(fields, "feedback-type"))
    recipients = _recipients(fields, original, kind)
    mail_from = _address(_first(fields, "original-mail-from")) or _address(original.value("return-path"))
    arrival = _first(fields, "arrival-date") or _first(fields, "received-date")
    return Feedback(
        feedback_type=kind,
        recipients=recipients,
        redacted=tuple(address for address in recipients if is_redacted(address)),
        token=token_of(fields, original),
        sealed=sealed_of(original),
        original_message_id=message_id(original) or _message_id(_first(fields, "original-message-id") or _first(fields, "message-id")),
        original_mail_from=mail_from,
        reported_domain=_first(fields, "reported-domain").strip().rstrip(".").lower()[:255],
        source_ip=ip_address(_first(fields, "source-ip")),
        arrival_date=timestamp(arrival),
        user_agent=_first(fields, "user-agent")[:500],
        auth_failure=_first(fields, "auth-failure").strip().lower()[:100],
        incidents=_number(_first(fields, "incidents")),
        rule=rule,
    )


def _first(fields: list[tuple[str, str]], name: str) -> str:
    for found, value in fields:
        if found == name:
            return value[:MAX_FIELD]
    return ""


def _recipients(fields: list[tuple[str, str]], original: Part, kind: FeedbackType) -> tuple[str, ...]:
    """Original-Rcpt-To, every one (RFC 5965 section 3.2); else who wants to be removed; else whom the message was sent to."""
    stated = [_address(value) for name, value in fields[:5_000] if name == "original-rcpt-to"]
    stated = [address for address in stated if address]
    if not stated and kind is FeedbackType.OPT_OUT:
        stated = [address for name, value in fields if name == "removal-recipient" and (address := _address(value))]
    if not stated:
        stated = recipients_of(original)
    if not stated:
        stated = [address for name, value in fields if name == "removal-recipient" and (address := _address(value))]
    return tuple(dict.fromkeys(stated))[:MAX_RECIPIENTS]


def recipients_of(original: Part) -> list[str]:
    """Whom a message was sent to, as far as its header tells."""
    for field in _ORIGINAL_TO:
        found = [address for value in original.values(field) for address in _ADDRESS.findall(value[: MAX_FIELD * 4])]
        if found:
            return [address.strip("'") for address in found]
    return []


def is_redacted(address: str) -> bool:
    """Whether an operator blacked this address out (RFC 6590): its local part is a placeholder or a hash."""
    return bool(_REDACTED.match(address.rpartition("@")[0]))


def token_of(fields: list[tuple[str, str]], original: Part) -> str:
    """The short token of our return path (`mail.token`), from the report or from the message it is about."""
    places = [_first(fields, "original-mail-from"), _first(fields, "original-envelope-id")]
    places += [original.value(field) for field in _TOKEN_FIELDS]
    places += [value for name, value in original.fields if name in ("received-spf", "authentication-results", "message-id")][:10]
    for place in places:
        match = _TOKEN.search(place[:MAX_FIELD])
        if match is not None:
            return match.group(1).lower()
    return ""


def sealed_of(original: Part) -> tuple[str, ...]:
    """What may be sealed tokens of ours in the header of the message; whoever has the keys tries them."""
    found = [match.group() for field in _SEALED_FIELDS for match in _SEALED.finditer(original.value(field)[: MAX_FIELD * 2])]
    return tuple(dict.fromkeys(found))[:5]


def message_id(original: Part) -> str:
    """The Message-ID of the message reported."""
    return _message_id(original.value("message-id"))


def _message_id(value: str) -> str:
    match = _MESSAGE_ID.search(value[:MAX_FIELD])
    return match.group() if match else value.strip()[:500]


def _address(value: str) -> str:
    """The address in a field; "" for `<>` and for prose."""
    match = _ADDRESS.search(value[:MAX_FIELD])
    return match.group().strip(".'") if match else ""


def ip_address(value: str) -> str:
    """An IP address in normal form, or "" when it is none."""
    text = value.strip().strip("[]").removeprefix("IPv6:").partition(" ")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def timestamp(value: str) -> str:
    """A mail date as RFC 3339 UTC, or "" when it is no date. A date without a zone is read as UTC."""
    try:
        found = email.utils.parsedate_to_datetime(value[:200])
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
    try:
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return found.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""


def _number(value: str) -> int:
    text = value.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
