"""A mail message as bytes: header and body, fields, values, and the few facts a gateway must know of it (RFC 5322, RFC 2047).

Promises: any bytes in, never an exception; time linear in the size; objects bounded by MAX_FIELDS; the message is looked at, never changed.
`facts` costs a handful of microseconds for a usual newsletter: no `email` package, no loop over body lines, no regular expression over a
body.

One rule makes this safe to check senders with: the header ends at the first line that is neither a field nor a continuation, whether or
not an empty line stands there, and what leaves the gateway has an empty line at that place. So everybody after us sees the fields that we
saw. For the same reason `from_domains` answers None (unreadable) rather than guess.

It does not decode MIME (`gateway.compose.reencode` walks parts), and it does not normalise newlines: lines end with CRLF here, and a bare
CR or LF is an ordinary octet (the door refuses or normalises them first).
"""

import re

import msgspec

from mail.author import domains_of
from mail.encoded_word import text as text

MAX_HEADER = 262_144
"""Octets of a header; a longer one is `oversized` and has no fields."""
MAX_FIELDS = 1000
"""Fields of a header; more make it `oversized`."""
MAX_LINE = 998  # RFC 5322 section 2.1.1, octets without CRLF


class Field(msgspec.Struct, frozen=True, gc=False):
    """One header field. `name` is in lower case; `raw` is the field as it stands, folded lines included, without its last CRLF."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, unfolded (RFC 5322 section 2.2.3) and without white space at its ends."""
        return unfold(self.raw[self.raw.index(b":") + 1 :])


class Header(msgspec.Struct, frozen=True):
    """The fields of a message in order; `first` finds the first of a name; the body begins at octet `body_at` of the content."""

    fields: list[Field]
    first: dict[bytes, Field]
    body_at: int
    end: int
    """Octet of the content at which the last field ends, before its CRLF; fields that stand as they came are `content[:end]`."""
    oversized: bool = False
    """Over MAX_HEADER or MAX_FIELDS: nothing was read, and the message is to be refused."""

    def value(self, name: bytes) -> bytes | None:
        """The unfolded value of the first field `name` (lower case), or None when there is none."""
        field = self.first.get(name)
        return None if field is None else field.value

    def text(self, name: bytes) -> str:
        """The first field `name` decoded for people and labels (see `text`), or ""."""
        field = self.first.get(name)
        return "" if field is None else text(field.value)


class Facts(msgspec.Struct, frozen=True):
    """What the door and the core want to know of a message."""

    header: Header
    from_domains: tuple[str, ...] | None
    """Domains of every address in every From field, in normal form, each once; () when there is no From; None when unreadable."""
    message_id: str
    """The Message-ID's value, or "" when it is missing or empty."""
    has_date: bool
    received: int
    """How many Received fields there are: hops so far."""
    eight_bit: bool
    """Octets over 127 anywhere."""
    eight_bit_header: bool
    """Octets over 127 in the header: the message needs SMTPUTF8 (RFC 6531)."""
    long_lines: bool
    """A body line is over 998 octets."""
    long_header_lines: bool
    """A header line is over 998 octets."""


_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*\Z")  # RFC 5322 section 2.2, and 4.5 (obsolete: white space before the colon)
_known_names: dict[bytes, bytes] = {}


def _field_name(written: bytes) -> bytes:
    """The field name in lower case, or b"" when `written` (all before the colon) is none. Usual names come from a bounded table."""
    match = _NAME.match(written) if len(written) <= MAX_LINE else None
    name = match.group(1).lower() if match is not None else b""
    if name and len(_known_names) < 4096 and len(written) <= 64:
        _known_names[written] = name
    return name


def read_header(content: bytes) -> Header:
    """The header of `content`. The first line that is no field ends it, be it empty or not."""
    if content.startswith(b"\r\n"):
        return Header([], {}, 2, 0)
    end = content.find(b"\r\n\r\n", 0, MAX_HEADER + 4)
    if end < 0:
        if len(content) > MAX_HEADER:
            return Header([], {}, 0, 0, oversized=True)
        end = len(content) - 2 if content.endswith(b"\r\n") else len(content)
        body_at = len(content)
    else:
        body_at = end + 4
    pieces = _FIELD_END.split(content[:end], MAX_FIELDS + 1) if end else []
    if len(pieces) > MAX_FIELDS:
        return Header([], {}, 0, 0, oversized=True)
    return _fields_of(pieces, body_at, end)


def _fields_of(pieces: list[bytes], body_at: int, end: int) -> Header:
    """Names for `pieces`; a piece that is no field moves the start of the body to itself."""
    found: list[Field] = []
    first: dict[bytes, Field] = {}
    known = _known_names
    for piece in pieces:
        written, colon, _ = piece.partition(b":")
        name = known.get(written) or _field_name(written)
        if not colon or not name:
            body_at = sum(len(field.raw) + 2 for field in found)
            return Header(found, first, body_at, max(body_at - 2, 0))
        field = Field(name, piece)
        found.append(field)
        if name not in first:
            first[name] = field
    return Header(found, first, body_at, end)


def split(content: bytes) -> tuple[bytes, bytes]:
    """Header (its last CRLF included, the empty line not) and body of `content`. An oversized header counts as body."""
    header = read_header(content)
    return (content[: header.end] + b"\r\n" if header.fields else b""), content[header.body_at :]


def fields(header: bytes) -> list[Field]:
    """The fields of `header` bytes as `split` gives them."""
    return read_header(header).fields


def unfold(value: bytes) -> bytes:
    """`value` on one line (RFC 5322 section 2.2.3), without white space at its ends."""
    return value.replace(b"\r\n", b"").strip(b" \t")


def from_domains(header: Header) -> tuple[str, ...] | None:
    """Domains of all addresses of all From fields, each once; () without From; None when any of it is not clearly readable.

    RFC 5322 section 3.6.2 allows one From field; with several, readers differ in which one they show, so all count.
    """
    if b"from" not in header.first:
        return ()
    return domains_of(field.value for field in header.fields if field.name == b"from")


def has_long_line(content: bytes, start: int = 0, stop: int | None = None, limit: int = MAX_LINE) -> bool:
    """Whether a line of `content[start:stop]` has over `limit` octets without its CRLF.

    Looks from one line start to the last CRLF a full line could reach: about two searches per `limit` octets, whatever the lines are.
    """
    stop = len(content) if stop is None else stop
    reach = limit + 2
    rfind = content.rfind
    while stop - start > limit:
        at = rfind(b"\r\n", start, min(start + reach, stop))
        if at < 0:
            return True
        start = at + 2
    return False


def facts(content: bytes) -> Facts:
    """Everything at once. See Facts."""
    header = read_header(content)
    first = header.first
    end = header.end
    eight_bit = not content.isascii()
    message_id = first.get(b"message-id")
    date = first.get(b"date")
    received = 0
    if b"received" in first:
        received = sum(field.name == b"received" for field in header.fields)
    return Facts(
        header,
        from_domains(header),
        "" if message_id is None else text(message_id.value),
        date is not None and bool(date.value),
        received,
        eight_bit,
        eight_bit and not content[:end].isascii(),
        has_long_line(content, header.body_at),
        has_long_line(content, 0, end),
    )
