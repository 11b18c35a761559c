"""Comma-separated values as bounded rows with their line numbers, and our own columns.

Reading: UTF-8 (a byte order mark is allowed), a header row, quoted fields may hold line ends; a quote that is never closed is bounded by
the longest field and costs the lines it swallowed, reported at the line where it broke. Writing: UTF-8, line feeds, ISO 8601 UTC.

A spreadsheet takes text that starts with = + - @ for a formula (and a diagnostic is written by a stranger), so our text columns are
guarded with an apostrophe, and unguarded when read: exactly, also for text that had one. The address is never changed.
"""

import csv
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from contacts.formats.record import MAX_LINE, Bad, BadLine, Line, Lines, Record, moment, reason_of, reply_code, subject, word, words
from contacts.formats.shape import Written
from contacts.suppression import Entry, Scope
from mail.event import timestamp

COLUMNS = (
    "email",
    "reason",
    "scope",
    "source",
    "created_at",
    "expires_at",
    "smtp_code",
    "enhanced_code",
    "diagnostic",
    "campaign_id",
    "message_id",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
PAGE = 1000
"""Rows in one piece of an export."""

Row = dict[str, str]


def guarded(text: str) -> str:
    """`text` so that no spreadsheet runs it."""
    return "'" + text if text.lstrip("'").startswith(FORMULA) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if text[:1] == "'" and text.lstrip("'").startswith(FORMULA) else text


def rows(file: BinaryIO) -> Iterator[tuple[int, list[str]] | BadLine]:
    """Rows with the number of their last line; rows without any text are passed over."""
    if isinstance(file, io.BytesIO) and (plain := _plain(file.getvalue())) is not None:
        reader = csv.reader(plain)
        yield from ((reader.line_num, row) for row in reader if any(row))
        return
    lines = Lines(file)
    source = _text(lines)
    reader = csv.reader(source, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, Bad) as error:
            why = str(error) if isinstance(error, Bad) else "not comma-separated values"
            yield BadLine(lines.number, why)
            source = _text(lines) if isinstance(error, Bad) else source
            reader = csv.reader(source, strict=True)
            continue
        if any(row):
            yield lines.number, row


def _plain(data: bytes) -> list[str] | None:
    """The lines of a file in memory that holds nothing to be careful about: no quotes, no strange line ends, no line too long."""
    if b'"' in data or data.count(b"\r") != data.count(b"\r\n"):
        return None
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return None
    return None if max(map(len, lines)) * 4 > MAX_LINE else lines


def _text(lines: Lines) -> Iterator[str]:
    """Decoded lines with their ends, as the csv module wants them. Raises Bad for one that is not text."""
    for line in lines:
        if line is None:
            raise Bad("line too long")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("not UTF-8") from None


def records(file: BinaryIO, accept: Callable[[list[str]], Callable[[int, Row], Record]]) -> Iterator[Line]:
    """Records of a file with a header: `accept` is given its names in lower case and gives what makes a record of a row, or raises Bad."""
    make: Callable[[int, Row], Record] | None = None
    header: list[str] = []
    for row in rows(file):
        if isinstance(row, BadLine):
            yield row
            continue
        number, values = row
        try:
            if make is None:
                header = [name.strip().lower() for name in values]
                make = accept(header)
                continue
            if len(values) > len(header):
                raise Bad(f"{len(values)} columns, the header has {len(header)}")
            yield make(number, dict(zip(header, values, strict=False)))
        except Bad as error:
            yield BadLine(number, str(error))
            if make is None:
                return


def read(file: BinaryIO) -> Iterator[Line]:
    """Our own columns; `email` and `reason` are needed, the others may be missing."""
    places: list[int] | None = None
    width = 0
    for row in rows(file):
        if isinstance(row, BadLine):
            yield row
            continue
        number, values = row
        try:
            if places is None:
                places, width = _places([name.strip().lower() for name in values]), len(values)
                continue
            if len(values) > width:
                raise Bad(f"{len(values)} columns, the header has {width}")
            values.extend([""] * (width + 1 - len(values)))  # the last one, at width, is what a missing column holds
            yield _record(number, *[values[place] for place in places])
        except Bad as error:
            yield BadLine(number, str(error))
            if places is None:
                return


def _places(header: list[str]) -> list[int]:
    """Where each of COLUMNS is; one that is missing is behind the last. Raises Bad."""
    missing = {"email", "reason"} - set(header)
    if missing:
        raise Bad(f"the header has no column {' and '.join(sorted(missing))}")
    return [header.index(name) if name in header else len(header) for name in COLUMNS]


def _record(
    line: int,
    email: str,
    reason: str,
    scope: str,
    source: str,
    created: str,
    expires: str,
    code: str,
    enhanced: str,
    diagnostic: str,
    campaign: str,
    message_id: str,
) -> Record:
    """Most lines of a list say little, and many the same: what is empty costs nothing, and what repeats is read once."""
    where, account, stream, name = _scope(scope)
    return Record(
        line,
        subject(email),
        _reason(reason),
        where,
        account,
        stream,
        name,
        word(unguarded(source)) if source else "",
        moment(created) if created else 0.0,
        moment(expires) if expires else 0.0,
        _code(code) if code else 0,
        word(enhanced) if enhanced else "",
        words(unguarded(diagnostic)) if diagnostic else "",
        word(unguarded(campaign)) if campaign else "",
        word(unguarded(message_id)) if message_id else "",
    )


def write(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """Our own columns. Entries of forgotten people have no address to write and are left out."""
    return written_rows(COLUMNS, (_row(entry) for entry in entries), written)


def _row(entry: Entry) -> tuple[str | int, ...] | None:
    if not entry.address:
        return None
    return (
        entry.address,
        entry.reason.value,
        write_scope(entry),
        guarded(entry.origin),
        timestamp(entry.created),
        timestamp(entry.expires) if entry.expires else "",
        entry.code or "",
        entry.enhanced,
        guarded(entry.diagnostic),
        guarded(entry.campaign),
        guarded(entry.message_id),
    )


def written_rows(header: tuple[str, ...], values: Iterable[tuple[str | int, ...] | None], written: Written) -> Iterator[bytes]:
    """A header (none when it is empty) and rows, in pieces of bounded size. None is a row that the format cannot carry."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(header)
    waiting = 0
    for row in values:
        if row is None:
            written.left_out += 1
            continue
        writer.writerow(row)
        written.entries += 1
        waiting += 1
        if waiting == PAGE:
            yield buffer.getvalue().encode("utf-8")
            buffer.seek(0)
            buffer.truncate()
            waiting = 0
    yield buffer.getvalue().encode("utf-8")


def write_scope(entry: Entry) -> str:
    """`global`, `account:shop`, `stream:shop/news`, `list:shop/weekly`; before the slash nothing, when it holds for every account."""
    match entry.scope:
        case Scope.GLOBAL:
            return "global"
        case Scope.ACCOUNT:
            return f"account:{entry.account}"
        case Scope.STREAM:
            return f"stream:{entry.account}/{entry.stream}"
        case Scope.LIST:
            return f"list:{entry.account}/{entry.list}"


def read_scope(text: str) -> tuple[Scope, str, str, str]:
    """Scope, account, stream, list of what `write_scope` wrote; nothing is `global`. Raises Bad."""
    text = text.strip()
    if text in ("", "global"):
        return Scope.GLOBAL, "", "", ""
    kind, _, rest = text.partition(":")
    account, _, name = rest.partition("/")
    if kind == "account" and rest:
        return Scope.ACCOUNT, word(rest), "", ""
    if kind == "stream" and name:
        return Scope.STREAM, word(account), word(name), ""
    if kind == "list" and name:
        return Scope.LIST, word(account), "", word(name)
    raise Bad("unknown scope")


_scope = functools.lru_cache(4096)(read_scope)
_reason = functools.lru_cache(256)(reason_of)
_code = functools.lru_cache(1024)(reply_code)
