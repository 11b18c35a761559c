"""The immutable record that others see (DESIGN section 4): one recipient per event, and an id that is the same at every redelivery.

`seal` gives the JSON bytes that are stored in the spool in the transaction of the state change, written to NDJSON and published. Absent
facts are omitted. Times are Unix seconds in the record and RFC 3339 UTC text (`time`) in the JSON. `cancelled` is ours: an operator's
cancel is a final state too, and every accepted delivery ends in exactly one final event.
"""

import datetime
import enum
import functools
from typing import Any

import msgspec


class EventKind(enum.StrEnum):
    """What happened."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUPPRESSED = "suppressed"
    SUPPRESSION_ADDED = "suppression_added"
    SUPPRESSION_REMOVED = "suppression_removed"
    SUPPRESSION_IMPORTED = "suppression_imported"
    AUTO_REPLIED = "auto_replied"
    REPLIED = "replied"
    ADDRESS_CHANGED = "address_changed"


FINAL = frozenset({EventKind.DELIVERED, EventKind.BOUNCED, EventKind.EXPIRED, EventKind.CANCELLED})
"""Kinds that end a delivery. `suppressed` never entered the queue, so it ends nothing."""


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One fact about one recipient. `id` is `<delivery>.<n>`: 0 for accepted, the attempt's number after that, `x` for an end without
    one."""

    id: str
    kind: EventKind
    at: float
    recipient: str
    time: str = ""
    node: str = ""
    message: str = ""
    delivery: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    sender: str = ""
    message_id: str = ""
    size: int = 0
    attempt: int = 0
    provider: str = ""
    source: str = ""
    host: str = ""
    address: str = ""
    tls: str = ""
    tls_policy: str = ""
    """What asked for more than opportunistic TLS: mta-sts, mta-sts-testing, dane, dane-unusable, requiretls, verified or required."""
    tls_result: str = ""
    """With `tls_policy`: dane, certificate, encrypted, clear or failed."""
    phase: str = ""
    category: str = ""
    fault: str = ""
    hard: bool = False
    code: int = 0
    enhanced: str = ""
    diagnostic: str = ""
    rule: str = ""
    next_attempt_at: float = 0.0
    duplicate_possible: bool = False
    suppression_proposed: bool = False
    contact: str = ""
    """The application's own name for the recipient."""
    engagement: str = ""
    """As the application said: days since the contact's last sign of life (`14d`), or a score from 0 to 100 (`83`)."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    entry: str = ""
    """Suppression events: the entry that is added or removed."""
    reason: str = ""
    """Suppression events: why, one of contacts.suppression.Reason."""
    scope: str = ""
    """Suppression events: one of contacts.suppression.Scope; with account, stream and list, to whom the entry applies."""
    list: str = ""
    """The list within a stream that an unsubscription names."""
    origin: str = ""
    """Who said so: smtp, returns, feedback, one-click, operator, import, api …"""
    evidence: str = ""
    """Id of the event that caused this one."""
    expires: float = 0.0
    """When an entry ends by itself, Unix seconds; 0: never."""
    batch: str = ""
    """The import an entry came with."""
    counts: dict[str, int] = {}
    """An import's counts: read, added, merged, refused."""


PERSONAL: dict[str, Any] = {
    "recipient": "",
    "sender": "",
    "message_id": "",
    "diagnostic": "",
    "contact": "",
    "engagement": "",
    "tags": (),
    "metadata": {},
}
"""What an event says of a person: who it was, every text of a stranger, and every label the application gave."""


def without_person(event: Event) -> Event:
    """The same without the person: that something happened, when, where and with what result."""
    return msgspec.structs.replace(event, **PERSONAL)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def timestamp(at: float) -> str:
    """Unix seconds as RFC 3339 UTC text with milliseconds."""
    second = int(at // 1)
    return f"{_to_the_second(second)}.{int((at - second) * 1000):03d}Z"


@functools.lru_cache(maxsize=64)
def _to_the_second(second: int) -> str:
    """Thousands of events a second say the same but for the milliseconds."""
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def seal(event: Event) -> bytes:
    """The event as one line of JSON, without a newline."""
    if not event.time:
        event = msgspec.structs.replace(event, time=timestamp(event.at))
    return _encoder.encode(event)


def unseal(line: bytes) -> Event:
    """The event in `line`. Raises msgspec.DecodeError when the bytes are not an event."""
    try:
        return _decoder.decode(line)
    except UnicodeDecodeError as error:  # msgspec does not count text that is no UTF-8 among its own errors
        raise msgspec.DecodeError(str(error)) from error
