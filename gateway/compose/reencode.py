"""Make a message fit for the next hop: 8-bit parts for one without 8BITMIME (RFC 6152 section 3), body lines over 998 octets for all.

Only parts that need it are changed: text becomes quoted-printable, or base64 where that is shorter; other media base64. Charset and all
other fields stay. What must not be touched is not: a multipart/signed or multipart/encrypted with such a part, a message/* other than
message/rfc822, an encoding we do not know, a structure over the bounds. Then the answer is `Impossible`, and the message cannot be sent
there (5.6.3). Preamble and epilogue of a multipart, which nobody reads, are dropped when they would need it.

Promises: any bytes in, never an exception; depth, parts and time bounded. Pure.
"""

import binascii
import re

import msgspec

from mail.message import Field, has_long_line, read_header

MAX_DEPTH = 12
MAX_PARTS = 2000
MAX_LOOKS = 50_000
"""Places that look like a boundary and may be none, in one multipart."""
_MAX_VALUE = 4096
_LINE = 57  # octets in a base64 line of 76 characters

_BOUNDARY = re.compile(rb';[ \t]*boundary[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_AFTER_BOUNDARY = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")  # RFC 2046 section 5.1.1
_CHARSET = re.compile(rb';[ \t]*charset[ \t]*=[ \t]*"?(utf-?(?:16|32)|ucs-[24])', re.IGNORECASE)
_IDENTITY = frozenset({b"", b"7bit", b"8bit", b"binary"})  # RFC 2045 section 6.2
_UNTOUCHABLE = frozenset({b"multipart/signed", b"multipart/encrypted"})  # RFC 1847 section 2.1: signed octets


class Reencoded(msgspec.Struct, frozen=True):
    """The header fields and the body that leave instead."""

    fields: list[Field]
    body: bytes


class Impossible(msgspec.Struct, frozen=True):
    """It cannot be done, and why, for people."""

    why: str


class _Refused(Exception):
    """Ends the walk; turned into Impossible at its top."""


class _Walk:
    """One walk over a message: what a part needs, and how many parts were seen."""

    def __init__(self, seven_bit: bool) -> None:
        self._seven_bit = seven_bit
        self._parts = 0

    def needs(self, octets: bytes) -> bool:
        return (self._seven_bit and not octets.isascii()) or has_long_line(octets)

    def entity(self, fields: list[Field], body: bytes, depth: int) -> tuple[list[Field], bytes]:
        """Fields and body of one entity (a message or a part) whose body needs a change."""
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise _Refused("more parts, or parts in parts, than are looked at")
        written = _value(fields, b"content-type")
        kind = written.partition(b";")[0].strip().lower()
        encoding = _value(fields, b"content-transfer-encoding").lower()
        if kind in _UNTOUCHABLE:
            raise _Refused("signed or encrypted parts must not be changed")
        if kind.startswith((b"multipart/", b"message/")):
            if encoding not in _IDENTITY:
                raise _Refused("a multipart or message in an encoding that it must not have")
            body = self._multipart(written, body, depth) if kind.startswith(b"multipart/") else self._message(kind, body, depth)
            domain = b"7bit" if body.isascii() else b"8bit"
            return (_with_encoding(fields, domain) if encoding else fields), body
        return _leaf(fields, body, kind, written, encoding)

    def _multipart(self, written: bytes, body: bytes, depth: int) -> bytes:
        match = _BOUNDARY.search(written)
        if match is None:
            raise _Refused("a multipart without a boundary")
        quoted, plain = match.groups()
        boundary = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
        pieces = _cut(body, boundary.rstrip(b" "))
        if len(pieces) < 2:
            raise _Refused("a multipart without its boundary in the body")
        changed: list[bytes] = []
        for number, (delimiter, inside, is_part) in enumerate(pieces):
            if not self.needs(inside):
                changed += (delimiter, inside)
            elif is_part:
                changed += (delimiter, self._part(inside, depth))
            else:
                changed += (delimiter, b"" if number == 0 else b"\r\n")
        return b"".join(changed)

    def _message(self, kind: bytes, body: bytes, depth: int) -> bytes:
        if kind != b"message/rfc822":
            raise _Refused("a message part that must not be encoded")  # RFC 2046 section 5.2
        return self._part(body, depth)

    def _part(self, part: bytes, depth: int) -> bytes:
        """A part, header and body, with its body changed if need be."""
        header = read_header(part)
        if header.oversized or self.needs(part[: header.end]):
            raise _Refused("a part with a header that cannot be sent")
        fields, body = header.fields, part[header.body_at :]
        if self.needs(body):
            fields, body = self.entity(fields, body, depth + 1)
        return b"".join([field.raw + b"\r\n" for field in fields]) + b"\r\n" + body


def reencode(fields: list[Field], body: bytes, *, seven_bit: bool) -> Reencoded | Impossible:
    """The message with lines of at most 998 octets in its body and, if `seven_bit`, none of them over 127.

    Says nothing about octets over 127 in `fields`: those are SMTPUTF8's matter.
    """
    walk = _Walk(seven_bit)
    if not walk.needs(body):
        return Reencoded(fields, body)
    try:
        changed, body = walk.entity(_with_mime(fields, body), body, 0)
    except _Refused as refused:
        return Impossible(str(refused))
    if walk.needs(body):
        return Impossible("a boundary or the header of a part that cannot be sent")
    return Reencoded(changed, body)


def _value(fields: list[Field], name: bytes) -> bytes:
    for field in fields:
        if field.name == name:
            return field.value[:_MAX_VALUE]
    return b""


def _with_mime(fields: list[Field], body: bytes) -> list[Field]:
    """`fields` with what RFC 2045 section 4 and RFC 1428 section 3 ask for when an old message gets an encoding."""
    names = {field.name for field in fields}
    fields = list(fields)
    if b"mime-version" not in names:
        fields.append(Field(b"mime-version", b"MIME-Version: 1.0"))
    if b"content-type" not in names and not body.isascii():
        try:
            body.decode("utf-8")
            charset = b"utf-8"
        except UnicodeDecodeError:
            charset = b"unknown-8bit"
        fields.append(Field(b"content-type", b"Content-Type: text/plain; charset=" + charset))
    return fields


def _with_encoding(fields: list[Field], encoding: bytes) -> list[Field]:
    """`fields` with Content-Transfer-Encoding set, in its place or at the end."""
    wanted = Field(b"content-transfer-encoding", b"Content-Transfer-Encoding: " + encoding)
    changed: list[Field] = []
    for field in fields:
        if field.name != wanted.name:
            changed.append(field)
        elif wanted not in changed:
            changed.append(wanted)
    return changed if wanted in changed else [*changed, wanted]


def _cut(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes, bool]]:
    """`body` at its delimiter lines: (delimiter with its newlines, what follows it, whether that is a part), the preamble first."""
    mark = b"--" + boundary
    pieces: list[tuple[bytes, bytes, bool]] = []
    delimiter, is_part, start, look = b"", False, 0, 0
    for _ in range(MAX_LOOKS if boundary else 0):
        at = body.find(mark, look)
        if at < 0:
            break
        look = at + len(mark)
        after = _AFTER_BOUNDARY.match(body, look) if at == 0 or body[at - 2 : at] == b"\r\n" else None
        if after is None:
            continue
        # The CRLF before a delimiter belongs to it, unless the piece before is empty and shares it with the delimiter before.
        end = max(at - 2, start) if at else 0
        pieces.append((delimiter, body[start:end], is_part))
        if len(pieces) > MAX_PARTS:
            raise _Refused("more parts than are looked at")
        delimiter, is_part, start = body[end : after.end()], after.group(1) is None, after.end()
        look = start
        if not is_part:
            break
    else:
        raise _Refused("a boundary that cannot be told from the text")
    pieces.append((delimiter, body[start:], is_part))
    return pieces


def _leaf(fields: list[Field], body: bytes, kind: bytes, written: bytes, encoding: bytes) -> tuple[list[Field], bytes]:
    """One part without parts. A part that says it is encoded and still is not fit is decoded first."""
    if encoding == b"base64":
        return fields, _base64(_decoded(body))
    if encoding == b"quoted-printable":
        return fields, _quoted_printable(binascii.a2b_qp(body))
    if encoding not in _IDENTITY:
        raise _Refused("an encoding that is not known")
    is_text = (not kind or kind.startswith(b"text/")) and _CHARSET.search(written) is None
    octets_over_127 = len(body) - len(body.translate(None, _HIGH))
    if is_text and octets_over_127 * 6 < len(body):  # three characters for each such octet, against four for three of all
        return _with_encoding(fields, b"quoted-printable"), _quoted_printable(body)
    return _with_encoding(fields, b"base64"), _base64(body)


_HIGH = bytes(range(128, 256))


def _decoded(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except binascii.Error as error:
        raise _Refused("a part in base64 that is none") from error


def _quoted_printable(octets: bytes) -> bytes:
    """RFC 2045 section 6.7, lines of at most 76 characters. The line breaks of the text stay line breaks."""
    # The encoder takes its kind of line break from the first one it meets, so it is shown a CRLF first.
    return binascii.b2a_qp(b"\r\n" + octets, istext=True)[2:]


def _base64(octets: bytes) -> bytes:
    """RFC 2045 section 6.8, lines of 76 characters."""
    rows = [binascii.b2a_base64(octets[start : start + _LINE], newline=False) for start in range(0, len(octets), _LINE)]
    return b"\r\n".join(rows)
