"""Text for people: which line of a TOML file a key is on, how a place in it is written, what the system says of a file.

`key_lines` is a reader for error messages, not a parser: it knows table headers and keys at the beginning of lines, which is how people
write them. What it does not recognise has no line, and the message then names the nearest table.
"""

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\")((?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")

Place = tuple[str | int, ...]


def key_path(place: Place) -> str:
    """`place` as people write it: `listener[1].limits.errors`; entries are counted from 1."""
    text = ""
    for step in place:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def file_trouble(error: OSError) -> str:
    """What the system refused, as a person says it: the file, and the reason in words."""
    file = error.filename2 if error.filename2 is not None else error.filename
    words = error.strerror or str(error)
    return words if file is None else f"{file}: {words}"


def key_lines(text: str) -> dict[Place, int]:
    """Line number (from 1) of every table header and key that is recognised."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            table = _place_of(header.group(2).split("."), counts, header.group(1) == "[[")
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            rest = tuple(part.strip() for part in key.group(2).split(".") if part.strip())
            lines.setdefault((*table, key.group(1).strip('"'), *rest), number)
    return lines


def _place_of(parts: list[str], counts: dict[Place, int], entry: bool) -> Place:
    """The place of a header; a part that is a list of tables gets the index of its current entry."""
    place: Place = ()
    for depth, part in enumerate(parts):
        place = (*place, part.strip().strip("\"'"))
        if entry and depth == len(parts) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place
