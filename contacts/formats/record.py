"""What a line of a file says, whatever the format: an entry without identity, or why it is none. And reading lines that may be hostile.

Every line of a file becomes exactly one `Record` or `BadLine` with its number (from 1), except headers and empty lines. Nothing raises for
what a file holds. Lines are bounded (`MAX_LINE`): a longer one is read past, not held.
"""

import datetime
import email.utils
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from contacts.address import subject_of
from contacts.suppression import MAX_TEXT, MAX_WORD, Entry, Reason, Scope

MAX_LINE = 65_536
LATEST = 253_402_300_799.0
"""The last second of the year 9999."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """An entry as a file gives it. `created` 0: the file does not say. `line` is where it was."""

    line: int
    address: str
    reason: Reason
    scope: Scope = Scope.GLOBAL
    account: str = ""
    stream: str = ""
    list: str = ""
    origin: str = ""
    created: float = 0.0
    expires: float = 0.0
    code: int = 0
    enhanced: str = ""
    diagnostic: str = ""
    campaign: str = ""
    message_id: str = ""

    def entry(self, batch: str, number: int, now: float) -> Entry:
        """The entry of import `batch`, made at `now`. `number` is its own within the import (a line may hold several)."""
        return Entry(
            f"{batch}.{number}",
            self.address,
            self.reason,
            self.scope,
            self.created or now,
            self.account,
            self.stream,
            self.list,
            self.origin or "import",
            "",
            self.expires,
            self.code,
            self.enhanced,
            self.diagnostic,
            self.campaign,
            self.message_id,
            batch,
        )


class BadLine(msgspec.Struct, frozen=True, gc=False):
    """A line that cannot be taken, and why. The text never repeats the line: it may hold anything."""

    line: int
    why: str


Line = Record | BadLine


class Bad(ValueError):
    """Why a line cannot be taken; becomes a BadLine where it is known which."""


class Lines:
    """The lines of a binary file with their ends, with `number` of the last one given. A line that is too long is given as None."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[bytes | None]:
        first = True
        while line := self._file.readline(MAX_LINE + 1):
            self.number += 1
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                while (more := self._file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                    pass
                yield None
                continue
            if first and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]  # spreadsheets write a byte order mark
            first = False
            yield line


def subject(text: object) -> str:
    """The normal form of the address in a file. Raises Bad."""
    found = subject_of(text) if isinstance(text, str) and len(text) <= 1000 else None
    if found is None:
        raise Bad("no address")
    return found


def moment(value: object) -> float:
    """Unix seconds of ISO 8601 or RFC 5322 text or of a number; 0 for nothing. Without a zone it is UTC. Raises Bad."""
    if value is None or value == "":
        return 0.0
    if isinstance(value, int | float):
        return _possible(float(value))
    text = str(value).strip()
    if len(text) > 64:
        raise Bad("no time")
    try:
        if text[-1:] == "Z" and text[10:11] == "T":  # nearly all of them
            return _possible(datetime.datetime.fromisoformat(text).timestamp())
        if text.replace(".", "", 1).isdigit() and text.isascii():
            return _possible(float(text))
        read = datetime.datetime.fromisoformat(text) if text[:4].isdigit() else email.utils.parsedate_to_datetime(text)
        return _possible(read.replace(tzinfo=read.tzinfo or datetime.UTC).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        raise Bad("no time") from None


def _possible(seconds: float) -> float:
    if not 0 <= seconds <= LATEST:
        raise Bad("no time")
    return seconds


def word(value: object, most: int = MAX_WORD) -> str:
    """Text of at most `most` characters; the rest is cut off."""
    return "" if value is None else str(value)[:most]


def words(value: object) -> str:
    """A diagnostic."""
    return word(value, MAX_TEXT)


def reply_code(value: object) -> int:
    """An SMTP reply code, 0 for nothing. Raises Bad."""
    text = word(value).strip()
    if not text or text == "0":
        return 0
    if len(text) != 3 or not text.isascii() or not text.isdigit():
        raise Bad("no reply code")
    return int(text)


def reason_of(value: object) -> Reason:
    """One of our words for a reason. Raises Bad."""
    try:
        return Reason(word(value).strip())
    except ValueError:
        raise Bad("unknown reason") from None
