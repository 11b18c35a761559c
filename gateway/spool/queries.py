"""The statements of queries.sql by name, and their forms for many rows.

A statement with a group in double brackets is made for n rows by repeating the group. Rows are sent in as few statements as there are ones
in the binary form of their number (and of `LARGEST` at most), so that a small set of texts is prepared once and stays prepared: SQLite
then works through all rows of a statement without the interpreter's lock. It does no I/O besides reading its own file at import, and puts
nothing into a text but numbers of days.
"""

import functools
import re
from collections.abc import Iterator
from importlib import resources

LARGEST = 128
"""Rows of one statement, at most: its text stays small enough for the cache of prepared statements."""

_NAME = re.compile(r"^-- name: ([a-z_.]+)$", re.MULTILINE)
_GROUP = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


def _load() -> dict[str, str]:
    text = resources.files("gateway.spool").joinpath("queries.sql").read_text("utf-8")
    pieces = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        lines = [line for line in body.strip().splitlines() if not line.startswith("--")]
        if name in statements or not lines:
            raise ValueError(f"queries.sql: {name} is there twice or empty")
        statements[name] = "\n".join(lines)
    return statements


STATEMENTS: dict[str, str] = _load()
"""Text of each statement."""


@functools.lru_cache(maxsize=1024)
def statement(name: str, rows: int = 1, day: int | None = None) -> str:
    """The text of `name`, its group repeated for `rows` rows, for the ledger of `day`. The same object each time, so its hash is known."""
    text = STATEMENTS[name]
    if day is not None:
        text = text.replace("$day", str(int(day)))
    return _GROUP.sub(lambda found: ", ".join([found.group(1)] * rows), text)


@functools.lru_cache(maxsize=1)
def schema() -> str:
    """The text that makes an empty spool."""
    return resources.files("gateway.spool").joinpath("schema.sql").read_text("utf-8")


def pieces(rows: int) -> Iterator[tuple[int, int]]:
    """`rows` as (start, end) of pieces whose lengths are powers of two, `LARGEST` at most, the largest first."""
    start = 0
    while start < rows:
        size = min(LARGEST, 1 << ((rows - start).bit_length() - 1))
        yield start, start + size
        start += size
