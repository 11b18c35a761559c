"""A CRM that keeps its own table right, written from docs/contacts.md alone: plain SQL and NOTIFY, no code of ours.

It takes events behind its cursor and suppressions behind theirs, and moves the cursors in the transaction that changes its table, so a
crash of the database, or of itself, loses and repeats nothing.
"""

import asyncio
import contextlib
from typing import Any

import asyncpg  # type: ignore[import-untyped]

TABLES = """
CREATE SCHEMA crm;
CREATE TABLE crm.person (email text PRIMARY KEY, delivered int NOT NULL DEFAULT 0, status text NOT NULL DEFAULT 'ok');
CREATE TABLE crm.seen (event text PRIMARY KEY, place bigserial);
CREATE TABLE crm.blocked (entry text PRIMARY KEY, address text NOT NULL);
CREATE TABLE crm.cursor (one int PRIMARY KEY CHECK (one = 1), position bigint NOT NULL, changed xid8 NOT NULL, entry text NOT NULL);
INSERT INTO crm.cursor VALUES (1, 0, '0', '');
"""

EVENTS = """
SELECT position, id, kind, recipient, category FROM mailwright.event WHERE position > $1 ORDER BY position LIMIT 50
"""

SUPPRESSIONS = """
SELECT id, address, removed, changed FROM mailwright.suppression
WHERE (changed, id) > ($1::text::xid8, $2) AND changed < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY changed, id LIMIT 50
"""


async def keep(dsn: str, stopping: asyncio.Event) -> None:
    """Until stopped and nothing is left."""
    while True:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
            connection = await asyncpg.connect(dsn, timeout=5, command_timeout=20)
            try:
                if await _keep(connection, stopping):
                    return
            finally:
                connection.terminate()
        await asyncio.sleep(0.1)


async def _keep(connection: Any, stopping: asyncio.Event) -> bool:
    news = asyncio.Event()
    for channel in ("mailwright_event", "mailwright_suppression"):
        await connection.add_listener(channel, lambda *_: news.set())
    while True:
        last = stopping.is_set()
        if await _take(connection):
            continue
        if last:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await news.wait()
        news.clear()


async def _take(connection: Any) -> int:
    """Some events and suppressions in one transaction with the cursors; how many."""
    async with connection.transaction():
        cursor = await connection.fetchrow("SELECT position, changed::text, entry FROM crm.cursor FOR UPDATE")
        events = await connection.fetch(EVENTS, cursor["position"])
        for event in events:
            await connection.execute("INSERT INTO crm.seen (event) VALUES ($1)", event["id"])
            if event["kind"] == "delivered":
                await connection.execute(
                    "INSERT INTO crm.person (email, delivered) VALUES ($1, 1)"
                    " ON CONFLICT (email) DO UPDATE SET delivered = crm.person.delivered + 1",
                    event["recipient"],
                )
            if event["kind"] == "bounced":
                await connection.execute(
                    "INSERT INTO crm.person (email, status) VALUES ($1, $2) ON CONFLICT (email) DO UPDATE SET status = $2",
                    event["recipient"],
                    event["category"],
                )
        entries = await connection.fetch(SUPPRESSIONS, cursor["changed"], cursor["entry"])
        for entry in entries:
            if entry["removed"] is None:
                await connection.execute("INSERT INTO crm.blocked VALUES ($1, $2)", entry["id"], entry["address"])
            else:
                await connection.execute("DELETE FROM crm.blocked WHERE entry = $1", entry["id"])
        if events:
            await connection.execute("UPDATE crm.cursor SET position = $1", events[-1]["position"])
        if entries:
            await connection.execute(
                "UPDATE crm.cursor SET changed = $1::text::xid8, entry = $2", str(entries[-1]["changed"]), entries[-1]["id"]
            )
    return len(events) + len(entries)
