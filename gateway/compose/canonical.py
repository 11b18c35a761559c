"""The relaxed canonical forms of DKIM (RFC 6376 section 3.4.2 and 3.4.4), by whole-buffer operations.

Promises: time linear in the size whatever the octets are, no loop over lines, no regular expression over a body. Bodies are CRLF lines; a
bare CR or LF is an ordinary octet. A body without tabs and double spaces passes with two searches and no copy.
"""

_LONG_RUN = b" " * 16
_SHORT_RUN = b" " * 4
_SPLIT_LIMIT = 1_000_000
"""Octets up to which the fast way is taken; it makes an object for each run of spaces."""


def _one_space(octets: bytes) -> bytes:
    """Runs of spaces and tabs become one space (section 3.4.4 a, second step)."""
    octets = octets.replace(b"\t", b" ")
    if b"  " not in octets:
        return octets
    if len(octets) > _SPLIT_LIMIT:
        return _one_space_of_many(octets)
    # Cutting at pairs leaves at most one space of each run; joining by one gives one or two. The bars keep runs at the ends.
    return b" ".join(filter(None, (b"|" + octets + b"|").split(b"  "))).replace(b"  ", b" ")[1:-1]


def _one_space_of_many(octets: bytes) -> bytes:
    """The same in constant memory. A run shrinks sixteenfold in each of the first passes, so they add up to little more than one."""
    for run in (_LONG_RUN, _SHORT_RUN, b"  "):
        while run in octets:
            octets = octets.replace(run, b" ")
    return octets


def relaxed_body(body: bytes) -> bytes:
    """The canonical form of `body`. A body that is not empty ends with one CRLF; empty lines at its end do not count."""
    if not body.endswith(b"\r\n"):
        if not body:
            return b""
        body += b"\r\n"
    body = _one_space(body)
    body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b"\r\n\r\n") or body == b"\r\n":
        body = body[: _without_empty_lines(body)]
    return body


def _without_empty_lines(body: bytes) -> int:
    """Where `body`, which ends with CRLF, ends when the empty lines at its end are taken off."""
    kept = len(body.rstrip(b"\r\n"))
    tail = body[kept:]
    # The tail may hold bare CR and LF: only the part that is CRLF, CRLF … to the end goes. It begins after the last pair of equals.
    start = max(tail.rfind(b"\n\n"), tail.rfind(b"\r\r")) + 1
    if tail[start : start + 1] == b"\n":
        start += 1
    # That part begins with the CRLF of the last line with content, which stays; without any content before it, nothing stays.
    return kept + start + 2 if kept + start else 0


def relaxed_value(value: bytes) -> bytes:
    """The canonical form of what follows the colon of a field (section 3.4.2): unfolded, single spaces, none at the ends."""
    if b"\r\n" in value:
        value = value.replace(b"\r\n", b"")
    return _one_space(value).strip(b" ")
