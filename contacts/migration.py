"""The versions of schema `mailwright`: numbered files in contacts/sql, each carried out once, all of them in one transaction.

`migrate` may be run by several at once and again at any time; it brings a database up to date or leaves it as it was. It is run by
`mailwright db migrate`, as the gateways' own role: it makes a partition of the event table each month, which only its owner may.
"""

import re
from importlib import resources
from typing import Any

_MIGRATING = 5571299814


def migrations() -> list[tuple[int, str]]:
    """Number and text of every migration, in order."""
    folder = resources.files("contacts").joinpath("sql")
    names = sorted(file.name for file in folder.iterdir() if re.fullmatch(r"\d{4}_[a-z_]+\.sql", file.name))
    return [(int(name[:4]), folder.joinpath(name).read_text("utf-8")) for name in names]


NEWEST = max(number for number, _ in migrations())
"""The version of the schema that this program reads and writes."""


async def applied(connection: Any) -> list[int]:
    """Numbers of the migrations that the database has."""
    if await connection.fetchval("SELECT to_regclass('mailwright.migration')") is None:
        return []
    return [row["number"] for row in await connection.fetch("SELECT number FROM mailwright.migration ORDER BY number")]


async def migrate(connection: Any) -> list[int]:
    """Bring the schema up to date; the numbers of the migrations that were needed. A newer schema is left alone."""
    done: list[int] = []
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
        await connection.execute("CREATE SCHEMA IF NOT EXISTS mailwright")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS mailwright.migration (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
        )
        known = set(await applied(connection))
        for number, text in migrations():
            if number not in known:
                await connection.execute(text)
                await connection.execute("INSERT INTO mailwright.migration (number) VALUES ($1)", number)
                done.append(number)
    return done
