"""Configuration text for a gateway that sends to the sandbox, and the smallest writer of TOML that does it."""

import json
from collections.abc import Mapping
from typing import Any

from sandbox.world import SandboxAddresses


def toml(tables: Mapping[str, Any]) -> str:
    """`tables` as TOML text. Values are text, numbers, truth values, lists of them, tables and lists of tables; None is left out."""
    return "\n".join(_lines(tables, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None and not _is_table(value)]
    for key, value in table.items():
        where = ".".join(map(_key, (*path, key)))
        if isinstance(value, Mapping):
            lines += ["", f"[{where}]", *_lines(value, (*path, key))]
        elif _is_table(value):
            for each in value:
                lines += ["", f"[[{where}]]", *_lines(each, (*path, key))]
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: object) -> str:
    """A JSON text, number, truth value or list of those is the same in TOML."""
    return json.dumps(value if isinstance(value, str | int | float | list) else str(value), ensure_ascii=False)


def dns_tables(addresses: SandboxAddresses) -> dict[str, Any]:
    """The tables that make a gateway ask and reach the sandbox instead of the Internet."""
    return {"dns": {"servers": [addresses.dns], "port": addresses.smtp_port, "allow_private": True}}
