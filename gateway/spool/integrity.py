"""Looks for damage, for `doctor` and after a restart: what SQLite finds, and what our own rules say beyond it.

It reads everything, so it takes time with a full queue; it changes nothing. Each finding is one line for people.
"""

from typing import Any

import apsw

from gateway.spool.queries import statement
from gateway.spool.rows import message_from

LIMIT = 100
"""Findings of one kind, at most."""

PAGE = 1000

_RULES = {
    "integrity.orphans": "delivery {} has no message",
    "integrity.bodies": "message {} has no bytes",
    "integrity.counts": "message {} counts its deliveries wrong",
}


def findings(connection: apsw.Connection) -> list[str]:
    """Everything that is wrong; empty when all is well."""
    found = [f"SQLite: {line}" for (line,) in connection.execute(f"PRAGMA integrity_check({LIMIT})") if line != "ok"]
    for name, text in _RULES.items():
        found += [text.format(identity) for (identity,) in connection.execute(statement(name), (LIMIT,)).fetchall()]
    return found + [f"message {identity} has facts that do not decode" for identity in _undecodable(connection)]


def _undecodable(connection: apsw.Connection) -> list[int]:
    found: list[int] = []
    last = 0
    while len(found) < LIMIT:
        page: list[Any] = connection.execute(statement("integrity.facts"), (last, PAGE)).fetchall()
        if not page:
            break
        found += [identity for identity, facts in page if message_from(facts) is None]
        last = page[-1][0]
    return found
