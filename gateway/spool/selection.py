"""A `Selection` as a condition in SQL: constant texts and bindings, never a value inside a text.

An identity in `ids` means a delivery or all deliveries of a message. Labels are those of the message; the provider is the flow's, so an
unrouted delivery has none. Age is read from the identity, which carries the time of acceptance.
"""

from array import array
from typing import Any

import apsw

from gateway.spool.port import Selection
from mail.identity import EPOCH, NODE_BITS, SEQUENCE_BITS

_FIELDS = {
    "domain": "delivery.domain = ?",
    "provider": "delivery.flow IN (SELECT number FROM flow WHERE provider = ?)",
    "account": "message.account = ?",
    "stream": "message.stream = ?",
    "campaign": "message.campaign = ?",
}
_IDS = "(delivery.id IN (SELECT value FROM carray(?)) OR delivery.message IN (SELECT value FROM carray(?)))"


def where(selection: Selection) -> tuple[str, list[Any]]:
    """The condition over `delivery` joined to `message`, and its bindings; "1" for everything."""
    parts: list[str] = []
    bindings: list[Any] = []
    if selection.ids:
        identities = array("q", selection.ids)
        parts.append(_IDS)
        bindings += [apsw.carray(identities), apsw.carray(identities)]
    for field, condition in _FIELDS.items():
        value = getattr(selection, field)
        if value:
            parts.append(condition)
            bindings.append(value)
    if selection.older_than:
        parts.append("delivery.id < ?")
        bindings.append(max(0, int((selection.older_than - EPOCH) * 1000)) << (NODE_BITS + SEQUENCE_BITS))
    if selection.due_before:
        parts.append("delivery.due < ?")
        bindings.append(selection.due_before)
    return " AND ".join(parts) or "1", bindings
