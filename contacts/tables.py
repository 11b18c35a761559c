"""How events and entries lie in the tables of the contact database, and back; and the SQL of this room by name. Pure.

PostgreSQL has no place for NUL, in text or in jsonb: it becomes U+FFFD. The same time is always the same value, since it is part of a key.
A row that anybody may have written is read with suspicion: what makes no sense is None.
"""

import datetime
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec

from contacts.address import normalise, subject_of
from contacts.suppression import MAX_WORD, Change, Entry, Removed, change_of
from mail.event import Event, EventKind, unseal

_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_ENDED_SOFT = frozenset({EventKind.EXPIRED, EventKind.BOUNCED})
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0
"""2000 to 2100: a partition is made for every month that comes, so nonsense must not come."""

_LAST = 253_402_300_799.0
"""The end of the year 9999."""


def statements(file: str) -> Mapping[str, str]:
    """The SQL of a file in contacts/sql, by name."""
    pieces = _NAME.split(resources.files("contacts").joinpath("sql", file).read_text("utf-8"))[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def event_in(line: bytes) -> Event | None:
    """The event in `line`; None for what is none, or could not be filed."""
    try:
        event = unseal(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    return event if _EARLIEST <= event.at < _LATEST and 0 < len(event.id) <= MAX_WORD else None


def record(ordinal: int, position: int, event: Event, line: bytes, node: str, stream_kind: str) -> tuple[Any, ...]:
    """A row of the incoming events. `node` is that of the log where the event does not say."""
    return (
        ordinal,
        time_of(event.at),
        clean(event.id),
        clean(event.node or node),
        position,
        event.kind.value,
        clean(recipient_of(event)),
        clean(event.account),
        clean(event.stream),
        stream_kind,
        clean(event.campaign),
        clean(event.message_id),
        event.category,
        event.fault,
        _NUL.sub(rb"\1\\ufffd", line).decode("utf-8", "replace"),
        event.kind in _ENDED_SOFT and event.fault == "recipient" and not event.hard,
    )


def entry_row(entry: Entry) -> tuple[Any, ...]:
    """A row of the suppression table, as far as an entry knows it."""
    return (
        clean(entry.id),
        clean(entry.address),
        entry.reason.value,
        entry.scope.value,
        *map(clean, (entry.account, entry.stream, entry.list, entry.origin, entry.evidence)),
        time_of(entry.created),
        time_of(entry.expires) if entry.expires else None,
        entry.code,
        *map(clean, (entry.enhanced, entry.diagnostic, entry.campaign, entry.message_id, entry.batch)),
    )


def time_of(at: float) -> datetime.datetime:
    """Always the same for the same number: it is part of the key. A number that is no time becomes one: nothing may stop the road."""
    at = min(max(at, 0.0), _LAST) if at == at else 0.0
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=round(at * 1_000_000))


def clean(text: str) -> str:
    """PostgreSQL has no place for NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def recipient_of(event: Event) -> str:
    return normalise(event.recipient) or event.recipient.lower()[:320]


def argument(event: Event, field: str) -> Any:
    if field == "recipient":
        return clean(recipient_of(event))
    value = getattr(event, field)
    return time_of(value) if field in ("at", "expires") else clean(value) if isinstance(value, str) else value


def change_in(row: Any) -> Change | None:
    """A row that anybody may have written; None when its address is none."""
    if row["removed"] is not None:
        address = subject_of(row["address"])
        return Removed(address, row["id"], row["removed"]) if address else None
    return change_of(
        Event(
            id=row["id"],
            entry=row["id"],
            kind=EventKind.SUPPRESSION_ADDED,
            at=row["created"],
            recipient=row["address"],
            reason=row["reason"],
            **{name: row[name] for name in _SAME_NAMES},
        )
    )


_SAME_NAMES = [
    "scope",
    "account",
    "stream",
    "list",
    "origin",
    "evidence",
    "expires",
    "code",
    "enhanced",
    "diagnostic",
    "campaign",
    "message_id",
    "batch",
]
