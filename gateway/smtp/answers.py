"""What comes back from an SMTP server: bytes to replies, and an EHLO reply to the capabilities it offers (no I/O).

Promises: any bytes in, never an exception; memory bounded by the limits below; what is not a reply sets `fault`, after which nothing
more is read. Texts come out printable: they end in logs and events. Matching replies to commands is `gateway.smtp.client`.
"""

import functools
from typing import Final

import msgspec

from mail.reply import Reply, reply_from_lines

MAX_LINE: Final = 2048  # RFC 5321 section 4.5.3.1.5 says 512; longer ones are seen
MAX_LINES: Final = 100
MAX_REPLY: Final = 65_536
"""Octets of one reply in all."""
_COMMON_LINE: Final = 64
"""Reply lines up to this many octets are remembered."""


_CAPABILITY_FLAGS = {
    "PIPELINING": "pipelining",
    "CHUNKING": "chunking",
    "8BITMIME": "eight_bit",
    "SMTPUTF8": "smtputf8",
    "STARTTLS": "starttls",
    "ENHANCEDSTATUSCODES": "enhanced",
    "DSN": "dsn",
    "REQUIRETLS": "requiretls",
}
_MAX_SIZE_DIGITS = 20  # RFC 1870 section 3


class Capabilities(msgspec.Struct, frozen=True, gc=False):
    """What the EHLO reply offered (RFC 5321 section 4.1.1.1). `size` is None when not offered and 0 when no limit was named (RFC 1870)."""

    esmtp: bool = False
    size: int | None = None
    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    enhanced: bool = False
    dsn: bool = False
    requiretls: bool = False


class ReplyReader:
    """Bytes to replies. After `fault` is set nothing more is read."""

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0

    @property
    def waiting(self) -> bool:
        """Whether a part of a reply was received."""
        return bool(self._rest or self._lines)

    def read(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. Lines end with LF; a CR before it is dropped (bare LF is seen, and harmless here)."""
        if self.fault:
            return []
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        replies: list[Reply] = []
        for line in lines:
            reply = self._line(line)
            if reply is not None:
                replies.append(reply)
            elif self.fault:
                self._rest = b""
                return replies
        if len(self._rest) > MAX_LINE:
            self._rest = b""
            self.fault = "a reply line is too long"
        return replies

    def _line(self, line: bytes) -> Reply | None:
        """The reply that `line` ends, or None: it continues, or `fault` is set (RFC 5321 section 4.2.1)."""
        if not self._lines and line[3:4] == b" " and len(line) <= _COMMON_LINE and (common := _whole(line)) is not None:
            return common
        if line[-1:] == b"\r":
            line = line[:-1]
        digits, separator = line[:3], line[3:4]
        if len(line) > MAX_LINE:
            self.fault = "a reply line is too long"
        elif not (len(digits) == 3 and digits.isdigit() and 50 <= digits[0] <= 53 and separator in (b" ", b"-", b"")):
            self.fault = f"not a reply: {_printable(line[:80])!r}"
        elif self._lines and int(digits) != self._code:
            self.fault = "the lines of a reply carry different codes"
        elif len(self._lines) >= MAX_LINES or self._octets + len(line) > MAX_REPLY:
            self.fault = "a reply is too long"
        if self.fault:
            return None
        self._code = int(digits)
        text = _printable(line[4:])
        if separator != b"-":
            reply = reply_from_lines(self._code, [*self._lines, text])
            self._lines, self._octets = [], 0
            return reply
        self._lines.append(text)
        self._octets += len(line)
        return None


@functools.lru_cache(maxsize=1024)
def _whole(line: bytes) -> Reply | None:
    """The reply that one short line is, or None when it is none. Remembered: most replies of the world are a few dozen lines."""
    digits, text = line[:3], line[4:].removesuffix(b"\r")
    if not (digits.isdigit() and 50 <= digits[0] <= 53):
        return None
    return reply_from_lines(int(digits), [_printable(text)])


def _printable(octets: bytes) -> str:
    """The text of a reply, which ends in logs and events: UTF-8 as far as it goes, control characters replaced."""
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in text)


def capabilities_of(reply: Reply) -> Capabilities:
    """What an EHLO reply offers. Words we do not know and values we cannot read are passed over (RFC 5321 section 4.1.1.1)."""
    flags: dict[str, bool] = {}
    size: int | None = None
    for line in reply.text.split("\n")[1:]:
        word, *values = line.upper().split() or [""]
        if word in _CAPABILITY_FLAGS:
            flags[_CAPABILITY_FLAGS[word]] = True
        elif word == "SIZE":
            value = values[0] if values else ""
            size = int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_SIZE_DIGITS else 0
    return Capabilities(esmtp=True, size=size, **flags)
