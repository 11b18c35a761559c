"""How rows of the spool become values, and back: the facts of a message as msgpack, a delivery with its message as `Queued`.

A row whose facts do not decode is damaged: it is not made into a value, its identity is given to the caller to report, and it stays where
it is. Nothing here touches the file.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bounce.report import Action
from gateway.calls import Message
from gateway.spool.lifecycle import State
from gateway.spool.notice import Notice, Pending, Told
from gateway.spool.port import FlowKey, NewFlow, Queued

facts_of = msgspec.msgpack.Encoder().encode
"""Facts of a message as they are stored."""

notice_facts = facts_of
"""Facts of a notice as they are stored."""

_notices = msgspec.msgpack.Decoder(Notice)
_facts = msgspec.msgpack.Decoder(Message)
_without = msgspec.json.Decoder(tuple[str, ...])

LeaseRow = tuple[int, int, str, str, str, int, int, float, float, int, int, int, int, float, float, str, str, str, int, str]
LEASE_ROWS = msgspec.json.Decoder(list[LeaseRow])
"""Rows of `lease.find`: as those of a page, the facts in hexadecimal."""

PAGE_COLUMNS = (
    "delivery.id, delivery.message, recipient, domain, return_path, flow, state, due, expires, attempts, steps, unsure, sources_tried,"
    " eligible_until, first_attempt, reason, notify, orcpt, delay_told, message.facts"
)


def message_from(facts: bytes | str | None) -> Message | None:
    """The message that `facts` (bytes, or their hexadecimal) describe, or None when they are damaged."""
    try:
        if isinstance(facts, str):
            facts = bytes.fromhex(facts)
        return _facts.decode(facts) if facts else None
    except (msgspec.DecodeError, ValueError):
        return None


def queued_from(rows: Iterable[Sequence[Any]], damaged: list[int]) -> list[Queued]:
    """Rows in the order of `PAGE_COLUMNS` as values. Identities of those that are damaged are added to `damaged`."""
    found = []
    known: dict[int, Message | None] = {}
    for identity, number, recipient, domain, return_path, flow, state, *rest, delay_told, facts in rows:
        message = known[number] if number in known else known.setdefault(number, message_from(facts))
        if message is None:
            damaged.append(identity)
            continue
        found.append(Queued(identity, message, recipient, domain, return_path, flow, State(state), *[*rest, bool(delay_told)]))
    return found


def pending_from(message: int, action: str, rows: Iterable[Sequence[Any]], facts: bytes | None) -> Pending:
    """Rows of `notice.page` and the facts of their message as a value."""
    identities, notices = [], []
    for delivery, stored in rows:
        identities.append(delivery)
        with contextlib.suppress(msgspec.DecodeError):
            notices.append(_notices.decode(stored))
    return Pending(Told(message, Action(action), identities), message_from(facts), notices)


def flow_from(row: Sequence[Any]) -> NewFlow:
    """A row of `recover.flows` as a value."""
    number, provider, route, pool, account, stream, campaign, priority, only, without = row
    key = FlowKey(provider, route, pool, account, stream, campaign, priority, only, _without.decode(without))
    return NewFlow(number, key)
