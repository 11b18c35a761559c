"""How an entry lies in a row of `contacts.db`, and back. Pure, no SQL.

Reason and scope are stored by their place in `REASONS` and `SCOPES`, from 1: append to these tables, never reorder them.
"""

from typing import Any, Protocol

import msgspec

from contacts.suppression import Entry, Reason, Scope

REASONS = (
    Reason.HARD_BOUNCE,
    Reason.COMPLAINT,
    Reason.INVALID,
    Reason.UNSUBSCRIBE,
    Reason.MANUAL,
    Reason.IMPORTED,
    Reason.SOFT_BOUNCE_LIMIT,
)
SCOPES = (Scope.GLOBAL, Scope.ACCOUNT, Scope.STREAM, Scope.LIST)
REASON_NUMBER = {reason: number for number, reason in enumerate(REASONS, 1)}
SCOPE_NUMBER = {scope: number for number, scope in enumerate(SCOPES, 1)}

COLUMNS = "id, address, reason, scope, created, account, stream, list, expires, facts, batch"
Row = tuple[str, str, int, int, float, str, str, str, float, bytes | None, int]


class _Facts(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """What is only read by people. Add at the end, with defaults."""

    origin: str = ""
    evidence: str = ""
    code: int = 0
    enhanced: str = ""
    diagnostic: str = ""
    campaign: str = ""
    message_id: str = ""


_NO_FACTS = _Facts()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Facts)


class HasFacts(Protocol):
    """An entry, or what is to be one."""

    @property
    def code(self) -> int: ...
    @property
    def enhanced(self) -> str: ...
    @property
    def diagnostic(self) -> str: ...
    @property
    def campaign(self) -> str: ...
    @property
    def message_id(self) -> str: ...


def facts_of(entry: HasFacts, origin: str, evidence: str = "") -> bytes | None:
    """What only people read, packed; None where there is nothing."""
    code, enhanced, diagnostic, campaign, message_id = entry.code, entry.enhanced, entry.diagnostic, entry.campaign, entry.message_id
    if not (origin or evidence or code or enhanced or diagnostic or campaign or message_id):
        return None
    return _encoder.encode(_Facts(origin, evidence, code, enhanced, diagnostic, campaign, message_id))


def row_of(entry: Entry, key: bytes, batch: int = 0) -> tuple[Any, ...]:
    """The row of `entry`: key, then `COLUMNS`."""
    return (
        key,
        entry.id,
        entry.address,
        REASON_NUMBER[entry.reason],
        SCOPE_NUMBER[entry.scope],
        entry.created,
        entry.account,
        entry.stream,
        entry.list,
        entry.expires,
        facts_of(entry, entry.origin, entry.evidence),
        batch,
    )


def entry_of(row: Row, batch: str = "") -> Entry:
    """The entry in a row of `COLUMNS`; `batch` is the id of its import. Facts that do not decode are left out: the entry still holds."""
    identity, address, reason, scope, created, account, stream, name, expires, packed, _ = row
    facts = _NO_FACTS
    if packed is not None:
        try:
            facts = _decoder.decode(packed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # a damaged remark must not let a suppressed address through
    return Entry(
        identity,
        address,
        REASONS[reason - 1],
        SCOPES[scope - 1],
        created,
        account,
        stream,
        name,
        facts.origin,
        facts.evidence,
        expires,
        facts.code,
        facts.enhanced,
        facts.diagnostic,
        facts.campaign,
        facts.message_id,
        batch,
    )
