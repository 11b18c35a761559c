"""The header that leaves: what we add, what we take away (RFC 5321 section 4.4, RFC 5322 section 3.6).

Added: one Received above everything, Message-ID and Date where the application sent none, Feedback-ID unless it sent its own. Taken away:
Bcc, Return-Path, every field that labels mail (config/labels.py), everything that begins with X-Mailwright-. All other fields leave as they
came, octet for octet, not moved, and folded anew only where a line is too long to send (`gateway.compose.folding`).

Everything here is the same in every attempt of a delivery, and all but Received in every delivery of a message. Text that comes from a
client (its name, its labels) is reduced to harmless characters before it enters a field. Pure.
"""

import functools
import hashlib
import re
import time

from config.labels import Labels
from gateway.calls import Assignment, Message
from mail.identity import to_text
from mail.message import Field, Header

ALWAYS_REMOVED = frozenset({b"bcc", b"resent-bcc", b"return-path"})  # RFC 5321 section 4.4: the final host writes Return-Path
CONTROL_PREFIX = b"x-mailwright-"

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HELO = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:]{1,60}\]")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_LABEL = 64
_MOST_NAMES = 4096
_LONGEST_NAME = 200
_SENDER_ID = (5, 15)  # Gmail: the last part of Feedback-ID has 5 to 15 characters


class Removal:
    """Which fields never leave: those that label mail, by name or by how the name begins, and those that are removed in any case.

    Names that leave are learned as they come, bounded: most messages cost one comparison of their names with those.
    """

    def __init__(self, labels: Labels) -> None:
        headers = [row.header.lower().encode("ascii") for row in labels.rows]
        self._names = ALWAYS_REMOVED | {header for header in headers if not header.endswith(b"*")}
        self._beginnings = (CONTROL_PREFIX, *(header[:-1] for header in headers if header.endswith(b"*")))
        self._leaving: set[bytes] = set()

    def kept(self, header: Header) -> list[Field]:
        """The fields of `header` that leave, in a list of their own."""
        leaving = self._leaving
        if header.first.keys() <= leaving:
            return header.fields.copy()
        return [field for field in header.fields if field.name in leaving or self._leaves(field.name)]

    def _leaves(self, name: bytes) -> bool:
        if name in self._names or name.startswith(self._beginnings):
            return False
        if len(self._leaving) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            self._leaving.add(name)
        return True


@functools.lru_cache(maxsize=256)
def _date_of_second(second: int) -> bytes:
    then = time.gmtime(second)
    return (
        f"{_DAYS[then.tm_wday]}, {then.tm_mday:02d} {_MONTHS[then.tm_mon - 1]} {then.tm_year:04d} "
        f"{then.tm_hour:02d}:{then.tm_min:02d}:{then.tm_sec:02d} +0000"
    ).encode("ascii")


def date(at: float) -> bytes:
    """Unix time `at` as a date of RFC 5322 section 3.3, in UTC."""
    return _date_of_second(int(at))


@functools.lru_cache(maxsize=4096)
def label(written: str) -> str:
    """`written` as a part of Feedback-ID: ASCII letters, digits, `.`, `_` and `-`. Labels that differ stay different."""
    plain = _NOT_LABEL.sub("-", written)[:_MAX_LABEL]
    if plain == written:
        return plain
    return f"{plain[: _MAX_LABEL - 7]}-{hashlib.blake2b(written.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"


@functools.lru_cache(maxsize=256)
def sender_id(gateway_domain: str) -> str:
    """The last part of Feedback-ID: one steady name for all mail of this gateway, 5 to 15 characters."""
    shortest, longest = _SENDER_ID
    name = _NOT_LABEL.sub("-", gateway_domain)
    if shortest <= len(name) <= longest:
        return name
    return f"{name[:8]}-{hashlib.blake2b(name.encode('ascii'), digest_size=3).hexdigest()}"


def feedback_id(message: Message, gateway_domain: str) -> bytes:
    """`campaign:account:stream:sender`, all harmless characters. It carries no token: Gmail adds up equal values."""
    parts = (label(message.campaign), label(message.account), label(message.stream), sender_id(gateway_domain))
    return ":".join(parts).encode("ascii")


def leaving_fields(header: Header, message: Message, removal: Removal, gateway_domain: str) -> list[Field]:
    """The fields that leave, in order, Received of ours and signatures excepted. Ours come last, below those of the application."""
    kept = removal.kept(header)
    if message.added_message_id:
        kept = [field for field in kept if field.name != b"message-id"]  # an empty one: two are not allowed
    if message.added_date:
        kept = [field for field in kept if field.name != b"date"]
    if message.added_date:
        kept.append(Field(b"date", b"Date: " + date(message.received_at)))
    if message.added_message_id:
        kept.append(Field(b"message-id", b"Message-ID: " + message.message_id.encode("ascii", "replace")))
    if b"feedback-id" not in header.first:
        kept.append(Field(b"feedback-id", b"Feedback-ID: " + feedback_id(message, gateway_domain)))
    return kept


def received(assignment: Assignment, hostname: str) -> bytes:
    """Our trace field with its CRLF (RFC 5321 section 4.4), the same in every attempt. `id` is the delivery's, as logs and events show it.

    `for` names the one recipient of this copy; a recipient that is not ASCII is left out, because the field must be readable everywhere.
    """
    message = assignment.message
    recipient = assignment.recipient.text
    named = f"\r\n\tfor <{recipient}>" if recipient.isascii() else ""
    line = (
        f"Received: {_client(message.helo, message.client)}by {hostname} with {message.protocol} id {to_text(assignment.delivery)}{named}; "
    )
    return line.encode("ascii", "replace") + date(message.received_at) + b"\r\n"


@functools.lru_cache(maxsize=4096)
def _client(helo: str, client: str) -> str:
    """The from clause: the name the client gave, if it can be one, and its address as a literal (RFC 5321 section 4.1.3)."""
    if not client:
        return ""
    literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
    return f"from {helo if _HELO.fullmatch(helo) else 'unknown'} ({literal})\r\n\t"
