"""Header lines that are too long to send, folded (RFC 5322 section 2.2.3).

A line of a message has at most 998 octets before its CRLF (RFC 5321 section 4.5.3.1.6, RFC 5322 section 2.1.1), and receivers refuse or cut
longer ones. A fold goes before white space that is there already, so nobody who unfolds sees a difference, and a relaxed DKIM signature
does not either. Never makes a line of white space alone. What has no white space to fold at stays as it is. Pure.
"""

from mail.message import MAX_LINE, Field


def fitting(fields: list[Field]) -> list[Field]:
    """`fields` with every line as short as it must be; the same list where none was too long, which is nearly always."""
    for field in fields:
        if len(field.raw) > MAX_LINE:
            return [_folded(field) for field in fields]
    return fields


def _folded(field: Field) -> Field:
    if len(field.raw) <= MAX_LINE:
        return field
    lines: list[bytes] = []
    for line in field.raw.split(b"\r\n"):
        lines += _pieces(line)
    raw = b"\r\n".join(lines)
    return field if raw == field.raw else Field(field.name, raw)


def _pieces(line: bytes) -> list[bytes]:
    """`line` as lines, all but the first of which begin with white space."""
    pieces: list[bytes] = []
    while len(line) > MAX_LINE and (at := _place(line)):
        pieces.append(line[:at])
        line = line[at:]
    return [*pieces, line]


def _place(line: bytes) -> int:
    """Where to fold: before the last white space that leaves a line short enough, else before the first one there is; 0: nowhere."""
    begun = len(line) - len(line.lstrip(b" \t"))
    ended = len(line.rstrip(b" \t"))
    last = max(line.rfind(b" ", begun + 1, MAX_LINE + 1), line.rfind(b"\t", begun + 1, MAX_LINE + 1))
    if last > 0:
        return last if last < ended else 0
    later = [at for at in (line.find(b" ", MAX_LINE, ended), line.find(b"\t", MAX_LINE, ended)) if at > 0]
    return min(later, default=0)
