"""Names that must exist and names that must be single: the checks between parts of the configuration, as two tables.

Works on the raw tables of the file, defaults filled in, so that these problems are reported together with those of single values. What has
the wrong shape is left to the models. Pure.
"""

from collections.abc import Iterator
from typing import Any

from config.settings import Settings

Path = tuple[str | int, ...]
"""Place of a value: keys and list indexes, as pydantic gives them."""

REFERENCES: tuple[tuple[str, str, str], ...] = (
    ("listener", "trusted_account", "account"),
    ("account", "stream", "stream"),
    ("stream", "pool", "pool"),
    ("pool", "members", "source"),
    ("route", "provider", "provider"),
    ("webhook", "accounts", "account"),
    ("webhook", "streams", "stream"),
)
"""Table, key, and the table whose `name` the value (or each key or item of it) must be."""

UNIQUE: tuple[tuple[str, str], ...] = (
    ("listener", "name"),
    ("listener", "address"),
    ("account", "name"),
    ("domain", "name"),
    ("stream", "name"),
    ("source", "name"),
    ("pool", "name"),
    ("route", "domain"),
    ("provider", "name"),
    ("api_key", "name"),
    ("webhook", "name"),
)
"""Table and key whose values differ."""

_SHOWN = 10
"""Names that a message lists, at most."""


def problems(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every broken reference and every repeated name in `data`, a file's tables (shipped providers merged)."""
    for table, key, target in REFERENCES:
        known = {name for name in (_value(row, target, "name") for row in _rows(data, target)) if isinstance(name, str)}
        for index, row in enumerate(_rows(data, table)):
            given = _value(row, table, key)
            for name in given if isinstance(given, dict | list) else [given]:
                if isinstance(name, str) and name not in known and (name, key) != ("none", "trusted_account"):
                    yield (table, index, key), f"there is no {target} {name!r}; {_choice(target, known)}"
    for table, key in UNIQUE:
        seen: set[object] = set()
        for index, row in enumerate(_rows(data, table)):
            value = _value(row, table, key)
            folded = value.lower() if isinstance(value, str) else value
            if isinstance(folded, str) and folded in seen and not folded.endswith(":0"):  # port 0: any free port
                yield (table, index, key), f"{value!r} is already taken by another {table}"
            if isinstance(folded, str):
                seen.add(folded)


def _rows(data: dict[str, Any], table: str) -> list[Any]:
    """The entries of `table`: the file's, or the defaults where it has none."""
    if table in data:
        rows = data[table]
        return rows if isinstance(rows, list) else []
    default = Settings.model_fields[table].get_default(call_default_factory=True)
    return [row.model_dump() for row in default]


def _value(row: Any, table: str, key: str) -> Any:
    """The value of `key` in `row`, or the default of its model."""
    if not isinstance(row, dict):
        return None
    if key in row:
        return row[key]
    (model,) = Settings.model_fields[table].annotation.__args__  # type: ignore[union-attr]
    field = model.model_fields.get(key)
    return None if field is None or field.is_required() else field.get_default(call_default_factory=True)


def _choice(target: str, known: set[str]) -> str:
    names = sorted(known)
    if not names:
        return f"add a [[{target}]] with this name"
    more = ", …" if len(names) > _SHOWN else ""
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:_SHOWN])}{more}"
