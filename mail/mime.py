"""A message taken apart into its MIME parts (RFC 2045, RFC 2046), however badly it is made.

For what comes back to us: bounces, complaints, replies. Promises: any octets in, a tree out, never an exception; octets, parts, depth and
header fields looked at are bounded, so time is linear and small. It does not descend into message/rfc822: what is inside is somebody
else's message. Header values are text, unfolded, with encoded words left as they stand (see `mail.encoded_word`).

Repairs, because all of them arrive: any line ending, a byte order mark, an mbox "From " line, empty lines before the header, a multipart
whose boundary is missing or wrong, a start or an end that was cut off, parts without a header, header lines that are none.
"""

import binascii
import functools
import quopri
import re

import msgspec

from mail.charset import decode, text_of_html

MAX_OCTETS = 2_097_152
"""Octets of a message that are looked at. A report stands before the message it returns."""
MAX_PAGE = 262_144
"""Octets of an HTML part whose words are looked for."""
MAX_PARTS = 200
MAX_DEPTH = 8
MAX_FIELDS = 1_000
LONGEST_NAME = 100
MAX_HEADER = 262_144

_FIELD = re.compile(r"([!-9;-~]{1,100})[ \t]{0,20}:(.*)")
_GUESSED_BOUNDARY = re.compile(rb"(?i)(?:^|\n)--([^\n]{3,200})\n(?:content-[a-z-]{2,40}|received|mime-version)[ \t]*:")
_PARAMETER = re.compile(r";\s{0,100}([!#-+.0-9A-Z^-z~-]{1,40}?)\*?(?:\d\*?)?\s{0,20}=\s{0,20}(\"(?:[^\"\\]|\\.){0,500}\"?|[^;\s]{0,500})")
_LOST_SEMICOLON = re.compile(r"^(\s{0,20}[a-z-]{1,30}/[a-z0-9.+-]{1,60})\s{1,20}(?=[a-z]{1,20}=)", re.I)
_NOT_BASE64 = bytes(octet for octet in range(256) if octet not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


class Part(msgspec.Struct):
    """One part. `fields` are (name in lower case, value) in order; `body` is as it stands, newlines only, transfer encoding not undone."""

    fields: list[tuple[str, str]]
    body: bytes
    type: str = "text/plain"
    parameters: dict[str, str] = {}
    parts: list["Part"] = []

    def value(self, name: str) -> str:
        """The first field `name` (lower case), or ""."""
        for found, value in self.fields:
            if found == name:
                return value
        return ""

    def values(self, name: str) -> list[str]:
        """Every field `name` (lower case)."""
        return [value for found, value in self.fields if found == name]

    def content(self) -> bytes:
        """The body with its transfer encoding undone (RFC 2045 section 6), as far as it can be."""
        match self.value("content-transfer-encoding").strip().lower():
            case "base64":
                return _base64(self.body)
            case "quoted-printable":
                return quopri.decodestring(self.body)
            case _:
                return self.body

    def text(self) -> str:
        """The content as text with newlines; of HTML only the words."""
        content = self.content()[:MAX_PAGE] if self.type == "text/html" else self.content()
        text = decode(content, self.parameters.get("charset", ""))
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text_of_html(text) if self.type == "text/html" else text

    def walk(self) -> list["Part"]:
        """This part and everything below it, in order."""
        found = [self]
        for part in self.parts:
            found += part.walk()
        return found

    def find(self, *types: str) -> "Part | None":
        """The first part of one of these types."""
        for part in self.walk():
            if part.type in types:
                return part
        return None


def parse(raw: bytes) -> Part:
    """The tree of `raw`. Only the first MAX_OCTETS are looked at."""
    octets = bytes(raw[:MAX_OCTETS])
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    octets = octets.removeprefix(b"\xef\xbb\xbf").lstrip(b"\n \t")
    if octets.startswith((b"From ", b">From ")):
        octets = octets.partition(b"\n")[2].lstrip(b"\n")
    return _part(octets, MAX_DEPTH, [MAX_PARTS])


def parse_header(octets: bytes) -> Part:
    """Only the fields of a message that stands inside another, with the rest as body."""
    fields, body = _split(octets.lstrip(b"\n"))
    return Part(fields, body)


def _part(octets: bytes, depth: int, left: list[int]) -> Part:
    """One part. `left` is how many more the whole message may have."""
    left[0] -= 1
    fields, body = _split(octets)
    part = Part(fields, body)
    declared = part.value("content-type")
    if declared:
        part.type, part.parameters = content_type(declared)
    if depth <= 0 or left[0] <= 0:
        return part
    if part.type.startswith("multipart/") or not declared:
        part.parts = _children(part, depth, left)
        if part.parts and not declared:
            part.type = "multipart/mixed"
    return part


def _children(part: Part, depth: int, left: list[int]) -> list[Part]:
    """The parts of a multipart; none when no boundary is there to be seen."""
    body = b"\n" + part.body
    boundary = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
    segments = _segments(body, boundary) if boundary else []
    if not segments:
        guessed = _GUESSED_BOUNDARY.search(body)
        if guessed is not None and (part.type.startswith("multipart/") or _is_preamble(body[: guessed.start()])):
            segments = _segments(body, guessed.group(1).rstrip())
    found = []
    for segment in segments:
        if left[0] <= 0:
            break
        found.append(_part(segment, depth - 1, left))
    return found


def _is_preamble(octets: bytes) -> bool:
    """Whether this is what stands before a first part; a text that goes on for longer holds a copy of another message."""
    return len(octets) < 400 and b"@" not in octets


def _segments(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the delimiter lines (RFC 2046 section 5.1.1). A missing close delimiter ends with the body."""
    delimiter = b"\n--" + boundary
    found, start = [], -1
    at = body.find(delimiter)
    while at >= 0:
        end_of_line = body.find(b"\n", at + len(delimiter))
        end_of_line = len(body) if end_of_line < 0 else end_of_line
        rest = body[at + len(delimiter) : end_of_line].strip()
        if rest in (b"", b"--"):
            if start >= 0:
                found.append(body[start:at])
            start = end_of_line + 1
            if rest == b"--" or len(found) > MAX_PARTS:
                return found
        at = body.find(delimiter, end_of_line)
    if start >= 0:
        found.append(body[start:])
    return found


def _split(octets: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Fields and body. Without a field in the first line, everything is body."""
    if octets.startswith(b"\n"):
        return [], octets[1:]
    end = octets.find(b"\n\n")
    header, body = (octets, b"") if end < 0 else (octets[:end], octets[end + 2 :])
    fields = fields_of(header[:MAX_HEADER])
    if not fields or (end < 0 and _FIELD.match(octets[:200].decode("latin-1")) is None):
        return [], octets
    return fields, body


def fields_of(header: bytes) -> list[tuple[str, str]]:
    """The fields of a header block, unfolded; lines that are neither field nor continuation are left out."""
    text = decode(header, "")
    if "\n " in text or "\n\t" in text:
        text = text.replace("\n\t", "\n ").replace("\n ", " ")
    found = []
    for line in text.split("\n", MAX_FIELDS)[:MAX_FIELDS]:
        name, colon, value = line.partition(":")
        if " " in name or "\t" in name:
            name = name.rstrip()
        if colon and name and " " not in name and len(name) <= LONGEST_NAME:
            found.append((name.lower(), value.strip()))
    return found


@functools.lru_cache(maxsize=512)
def content_type(value: str) -> tuple[str, dict[str, str]]:
    """Type in lower case and parameters (names in lower case) of a Content-Type (RFC 2045 section 5.1); do not change what is returned."""
    kind = (value.partition(";")[0].split() or [""])[0].lower()
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(_with_semicolon(value[:4_000])):
        given = match.group(2)
        if given.startswith('"'):
            given = given[1:].removesuffix('"').replace("\\", "")
        parameters.setdefault(match.group(1).lower(), given)
    if "/" not in kind:
        kind = "text/plain"
    return kind, parameters


def _with_semicolon(value: str) -> str:
    """The value with the semicolon behind the type that some generators forget."""
    return _LOST_SEMICOLON.sub(r"\1; ", value, count=1)


def _base64(body: bytes) -> bytes:
    """Base64 with whatever stands between, and with its last group missing."""
    try:
        return binascii.a2b_base64(body)
    except (binascii.Error, ValueError):
        pass
    kept = body.translate(None, _NOT_BASE64)
    try:
        return binascii.a2b_base64(kept[: len(kept) // 4 * 4])
    except (binascii.Error, ValueError):
        return body
