"""JSON objects out of a file: one a line, or the elements of the first array of a document, read piece by piece.

Bounded: an object has at most `MAX_LINE` octets. Numbers are those of lines. What is no object is a BadLine and the next line goes on; a
document that breaks in its middle ends there, because nobody knows where its next element starts.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from contacts.formats.record import MAX_LINE, Bad, BadLine, Line, Lines, Record

Object = dict[str, Any]
_decoder = json.JSONDecoder()
_SPACE = " \t\r\n,"
PIECE = 65_536


def records(objects: Iterator[tuple[int, object] | BadLine], make: Callable[[int, Object], Record]) -> Iterator[Line]:
    """What `make` makes of each object; it raises Bad for one that it cannot take."""
    for found in objects:
        if isinstance(found, BadLine):
            yield found
            continue
        number, value = found
        try:
            if not isinstance(value, dict):
                raise Bad("no object")
            yield make(number, value)
        except Bad as error:
            yield BadLine(number, str(error))


def one_a_line(file: BinaryIO) -> Iterator[tuple[int, object] | BadLine]:
    """The value on each line that is not empty."""
    lines = Lines(file)
    for line in lines:
        if line is None:
            yield BadLine(lines.number, "line too long")
        elif line.strip():
            try:
                yield lines.number, json.loads(line)
            except (ValueError, RecursionError):
                yield BadLine(lines.number, "not JSON")


def elements(file: BinaryIO) -> Iterator[tuple[int, object] | BadLine]:
    """The elements of the first array in the document (`[…]` or `{"…": […], …}`), each with the number of the line it starts on."""
    text = _Text(file)
    if not text.skip_to_array():
        yield BadLine(text.line, "no array")
        return
    while True:
        start = text.skip_space()
        if start == "]":
            return
        number = text.line
        try:
            value = text.value()
        except Bad as error:
            yield BadLine(number, str(error))
            return
        yield number, value


class _Text:
    """The rest of a document, of which at most an object and a piece are held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = ""
        self._at = 0
        self._ended = False
        self._decode = _utf8()
        self.line = 1

    def _more(self) -> bool:
        """Read a piece; False at the end."""
        if self._ended:
            return False
        piece = self._file.read(PIECE)
        self._ended = not piece
        self._held = self._held[self._at :] + self._decode(piece)
        self._at = 0
        return not self._ended

    def skip_to_array(self) -> bool:
        """Go behind the first `[`, which must come early: a document that starts with something else is none of ours."""
        while (place := self._held.find("[")) < 0:
            if len(self._held) > MAX_LINE or not self._more():
                return False
        self.line += self._held.count("\n", 0, place)
        self._at = place + 1
        return True

    def skip_space(self) -> str:
        """Go to the next element. Its first character, or `]` at the end of the array or of the file's text."""
        while True:
            while self._at < len(self._held):
                letter = self._held[self._at]
                if letter not in _SPACE:
                    return letter
                self.line += letter == "\n"
                self._at += 1
            if not self._more():
                return "" if self._at < len(self._held) else "\0"

    def value(self) -> object:
        """The element that starts here. Raises Bad."""
        while True:
            try:
                value, end = _decoder.raw_decode(self._held, self._at)
            except (ValueError, RecursionError):
                if len(self._held) - self._at > MAX_LINE:
                    raise Bad("not JSON, or too long") from None
                if not self._more():
                    raise Bad("not JSON, or the file ends too early") from None
                continue
            self.line += self._held.count("\n", self._at, end)
            self._at = end
            return value


def _utf8() -> Callable[[bytes], str]:
    """Octets that are not UTF-8 become a character that no address has."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    return lambda piece: decoder.decode(piece, not piece)
