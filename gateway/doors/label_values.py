"""How the value of a label field is read: text, list, pairs, JSON; and what a moment or an engagement looks like.

Pure. Any octets in, a value or an `Unread` out, never an exception. Bounds: JSON of `LONGEST_JSON` octets; only the levels that a path
names and one more are looked into, what lies deeper is kept as the text it is; lists and pairs of `MOST_ITEMS`. Every text that comes out
is printable, on one line and bounded.
"""

import datetime
import email.utils
import functools
import re

import msgspec

from config.labels import LabelField, Reads
from mail.encoded_word import one_line, text
from mail.message import Field

LONGEST_JSON = 16_384
"""Octets of a JSON value; a longer one is not read."""
MOST_ITEMS = 50
"""Items of a list, pairs or entries of an object; the rest is left out."""
LONGEST_TEXT = 500
"""Characters of one text; the rest is cut off."""


class Unread(msgspec.Struct, frozen=True, gc=False):
    """The value cannot be used; `why` is one word: malformed, long, many, far."""

    why: str


MALFORMED = Unread("malformed")
LONG = Unread("long")
MANY = Unread("many")
FAR = Unread("far")

Value = str | list[str] | dict[str, str]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)


def read(row: LabelField, field: Field) -> Value | Unread | None:
    """The value of `field` as `row` says; None when there is nothing: an empty value, or a path that leads nowhere."""
    written = field.value
    if not written:
        return None
    match row.reads:
        case Reads.TEXT:
            return text(written)[:LONGEST_TEXT] or None
        case Reads.NAME:
            name = field.raw[len(row.header) - 1 : field.raw.index(b":")]
            return {text(name)[:LONGEST_TEXT]: text(written)[:LONGEST_TEXT]}
        case Reads.LIST:
            return _list(text(written))
        case Reads.PAIRS:
            return _pairs(text(written), row.path)
        case Reads.JSON:
            return _json(written, row.path)


def _list(written: str) -> list[str] | None:
    """Items between commas. One more than may be used, so that the reader sees that there were too many."""
    items = (item.strip()[:LONGEST_TEXT] for item in written.split(",", MOST_ITEMS + 1)[: MOST_ITEMS + 1])
    return [item for item in items if item] or None


def _pairs(written: str, name: str) -> Value | Unread | None:
    """`name=value` between commas or semicolons; the value of `name` alone when that is given."""
    found: dict[str, str] = {}
    for pair in written.replace(";", ",").split(",", MOST_ITEMS + 1)[: MOST_ITEMS + 1]:
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            found.setdefault(key.strip()[:LONGEST_TEXT], value.strip()[:LONGEST_TEXT])
        elif pair.strip():
            return MALFORMED
    if name:
        return found.get(name) or None
    return found or None


def _json(written: bytes, path: str) -> Value | Unread | None:
    if len(written) > LONGEST_JSON:
        return LONG
    if b"=?" in written:
        written = _decoded(written)
    try:
        value = _at(written, path)
        return None if value is None else _shallow(bytes(value).strip())
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return MALFORMED


@functools.lru_cache(maxsize=8)
def _decoded(written: bytes) -> bytes:
    """JSON that a client folded as encoded words (RFC 2047). Several rows read one field."""
    return text(written, LONGEST_JSON).encode("utf-8", "replace")


@functools.lru_cache(maxsize=64)
def _document(written: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object. Several rows read one field, and the messages of a campaign say much the same."""
    return _object.decode(written)


def _at(written: bytes, path: str) -> msgspec.Raw | bytes | None:
    """What the names of `path` lead to, or None when one of them is not there."""
    if not path:
        return written
    first, *names = path.split(".")
    found = _document(written).get(first)
    for name in names:
        if found is None or not bytes(found).startswith(b"{"):
            return None
        found = _object.decode(found).get(name)
    return found


def _shallow(value: bytes) -> Value | None:
    """One level of a JSON value as texts."""
    if value.startswith(b"{"):
        members = list(_object.decode(value).items())[: MOST_ITEMS + 1]
        return {_cut(name): shown for name, raw in members if (shown := _shown(raw)) is not None} or None
    if value.startswith(b"["):
        items = _array.decode(value)[: MOST_ITEMS + 1]
        return [shown for raw in items if (shown := _shown(raw))] or None
    return _shown(value) or None


def _shown(raw: msgspec.Raw | bytes) -> str | None:
    """A JSON value as text: a string without its quotes, everything else as it is written; null is nothing."""
    written = bytes(raw)
    if written.startswith(b'"'):
        return _cut(_string.decode(written))
    if written == b"null":
        return None
    return _cut(written.decode("utf-8"))


def _cut(shown: str) -> str:
    return one_line(shown[:LONGEST_TEXT])


# Moments and engagement --------------------------------------------------------------------------------------------------------------

_UNIX = re.compile(r"\d{9,10}(?:\.\d{1,9})?", re.ASCII)
_SPAN = re.compile(r"\+?(\d{1,7}) ?(s|m|h|d|w)", re.ASCII)
_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DAYS = re.compile(r"(\d{1,5}) ?d(?:ays?)?", re.ASCII | re.IGNORECASE)
_SCORE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?) ?%?", re.ASCII)
_LONGEST_MOMENT = 64


def moment(written: str, now: float) -> float | None:
    """Unix seconds of `written`, or None. It may be Unix seconds, a span from `now` such as `2h`, a date of RFC 3339 (a space may stand for
    the T; without a zone it is UTC) or of RFC 5322."""
    if len(written) > _LONGEST_MOMENT:
        return None
    if _UNIX.fullmatch(written):
        return float(written)
    span = _SPAN.fullmatch(written)
    if span is not None:
        return now + int(span.group(1)) * _SPANS[span.group(2)]
    for read_date in (datetime.datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            date = read_date(written)
            return (date if date.tzinfo is not None else date.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def engagement(written: str) -> str | None:
    """How engaged the contact is, in one form: days since the last sign of life as `14d`, or a score from 0 to 100 (the most) as `83.5`."""
    days = _DAYS.fullmatch(written)
    if days is not None:
        return f"{int(days.group(1))}d"
    score = _SCORE.fullmatch(written)
    if score is not None and float(score.group(1)) <= 100.0:
        return f"{float(score.group(1)):g}"
    return None
