"""One person in the contact database: what it says of him, and the database without that.

`forget` empties what names the person in every event and keeps the events, so that positions have no gaps and counts stay right; contact
state goes; suppressions stay, under the SHA-256 of the address, which every gateway meets in its lookups as it meets the address. It is one
transaction. Raises StoreError, and nothing was done then.
"""

from typing import Any

import msgspec

from contacts.address import HASHED, hash_of
from contacts.connected import Connected
from mail.event import PERSONAL

_PERSONAL = "{" + ",".join(PERSONAL) + "}"
_EVENTS = "SELECT position, body FROM mailwright.event WHERE recipient = $1 ORDER BY position"
_SUPPRESSIONS = "SELECT to_jsonb(s) - 'changed' AS row FROM mailwright.suppression s WHERE address = $1 ORDER BY created"
_STATE = "SELECT to_jsonb(s) AS row FROM mailwright.contact_state s WHERE recipient = $1"
_DAYS = "SELECT to_jsonb(d) AS row FROM mailwright.contact_day d WHERE recipient = $1 ORDER BY day"
_FORGET_EVENTS = f"UPDATE mailwright.event SET recipient = '', message_id = '', body = body - '{_PERSONAL}'::text[] WHERE recipient = $1"
_FORGET_SUPPRESSIONS = "UPDATE mailwright.suppression SET address = $2, diagnostic = '', campaign = '', message_id = '' WHERE address = $1"


async def known(database: Connected, address: str) -> dict[str, Any]:
    """Everything about an address in normal form."""
    async with database.answering() as connection:
        return {
            "events": [msgspec.json.decode(row["body"]) for row in await connection.fetch(_EVENTS, address)],
            "suppressions": await _rows(connection, _SUPPRESSIONS, address),
            "state": await _rows(connection, _STATE, address),
            "days": await _rows(connection, _DAYS, address),
        }


async def forget(database: Connected, address: str) -> dict[str, int]:
    """Erase it; how many rows of each table."""
    async with database.answering() as connection, connection.transaction():
        events = await connection.execute(_FORGET_EVENTS, address)
        suppressions = await connection.execute(_FORGET_SUPPRESSIONS, address, HASHED + hash_of(address).hex())
        days = await connection.execute("DELETE FROM mailwright.contact_day WHERE recipient = $1", address)
        state = await connection.execute("DELETE FROM mailwright.contact_state WHERE recipient = $1", address)
    tags = {"events": events, "suppressions": suppressions, "days": days, "state": state}
    return {name: int(tag.rpartition(" ")[2]) for name, tag in tags.items()}


async def _rows(connection: Any, sql: str, address: str) -> list[Any]:
    return [msgspec.json.decode(row["row"]) for row in await connection.fetch(sql, address)]
