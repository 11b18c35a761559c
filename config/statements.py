"""The customer's own SQL, by event kind: how it is written in the configuration, and what PostgreSQL gets.

`UPDATE contact SET email_status = 'bounced' WHERE email = :recipient` names fields of the event with a colon; each becomes a parameter
(`$1` …), so no value ever becomes SQL. `recipient` is the normal form; `at` and `expires` are times. Pure.
"""

import re

import msgspec

from mail.event import Event, EventKind

_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|::|:([a-z_]+)")
_FIELDS = frozenset(Event.__struct_fields__) - {"tags", "metadata", "counts", "kind"}


class Statement(msgspec.Struct, frozen=True):
    """SQL with `$1` … and the fields of the event that they are."""

    kind: str
    sql: str
    fields: tuple[str, ...]


def statement(kind: str, text: str) -> Statement:
    """Read one from the configuration. Raises ValueError saying what is wrong."""
    if kind not in set(EventKind):
        raise ValueError(f"unknown event kind {kind!r}: one of {', '.join(EventKind)}")
    fields: list[str] = []

    def parameter(found: re.Match[str]) -> str:
        name = found.group(1)
        if name is None:
            return found.group(0)  # a text, a quoted name, a comment or a cast
        if name not in _FIELDS:
            raise ValueError(f"an event has no field {name!r}: one of {', '.join(sorted(_FIELDS))}")
        if name not in fields:
            fields.append(name)
        return f"${fields.index(name) + 1}"

    sql = _TOKEN.sub(parameter, text).strip().rstrip(";")
    if not sql:
        raise ValueError("the statement is empty")
    return Statement(kind, sql, tuple(fields))
