"""Old events leave the contact database: by kind, in slices of short transactions, and whole months at once when nothing of them is left.

Safe to repeat and beside other gateways. A role that may not drop a partition leaves it empty; one that may not delete gets a StoreError.
"""

import asyncio
import contextlib
import datetime
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from contacts.connected import Connected
from mail.event import EventKind

SLICE = 5_000
PAUSE = 0.05
"""Seconds between two slices: others want to write too."""

_DELETE = """DELETE FROM mailwright.event WHERE (at, id) IN
    (SELECT at, id FROM mailwright.event WHERE at < $1 AND kind = ANY ($2::text[]) ORDER BY at LIMIT $3)"""
_MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'mailwright.event'::regclass ORDER BY 1"


async def retain(database: Connected, now: float, seconds: float, kinds: dict[str, float]) -> int:
    """Delete events older than `seconds`, or than what `kinds` says of theirs; how many. Raises StoreError."""
    kept = {kind.value: kinds.get(kind.value, seconds) for kind in EventKind}
    gone = 0
    async with database.answering() as connection:
        for age in sorted(set(kept.values())):
            before = datetime.datetime.fromtimestamp(now - age, datetime.UTC)
            names = [name for name, its in kept.items() if its == age]
            while count := _count(await connection.execute(_DELETE, before, names, SLICE)):
                gone += count
                await asyncio.sleep(PAUSE)
        await _drop_months(connection, datetime.datetime.fromtimestamp(now - max(kept.values()), datetime.UTC))
    return gone


async def _drop_months(connection: Any, before: datetime.datetime) -> None:
    for row in await connection.fetch(_MONTHS):
        name = row["name"]
        year, month = (int(part) for part in name.rsplit("_", 2)[1:])
        ends = datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=datetime.UTC)
        if ends > before or await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {name})"):
            continue
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"DROP TABLE {name}")


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
