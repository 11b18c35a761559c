"""An SMTP reply (RFC 5321 section 4.2) with its enhanced status code (RFC 2034, RFC 3463), as a value.

A remote refusal is a value, never an exception. Replies that we make up ourselves (a timeout, a DNS error) carry `synthetic`, so that rules
meant for a provider's words never fire on ours.
"""

import re

import msgspec

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]|$)")  # RFC 2034 section 4: status code, then a space


class Reply(msgspec.Struct, frozen=True, gc=False):
    """`code` is the three-digit reply code, `enhanced` the status code or "", `text` the lines joined by newlines, both removed."""

    code: int
    text: str
    enhanced: str = ""
    synthetic: bool = False

    @property
    def positive(self) -> bool:
        """2yz or 3yz (RFC 5321 section 4.2.1)."""
        return 200 <= self.code < 400

    @property
    def transient(self) -> bool:
        """4yz: the same command may succeed later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5yz: the same command will not succeed."""
        return 500 <= self.code < 600

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text.replace("\n", " ")) if part)


def reply_from_lines(code: int, lines: list[str]) -> Reply:
    """The reply with `code` whose lines (code and separator already removed) are `lines`; the enhanced code is taken off each line."""
    match = _ENHANCED.match(lines[0]) if lines else None
    if match is None or match.group(1)[0] != str(code)[0]:
        return Reply(code, "\n".join(lines))
    enhanced = match.group(1)
    cut = [line[len(enhanced) :].lstrip(" \t") if line.startswith(enhanced) else line for line in lines]
    return Reply(code, "\n".join(cut), enhanced)
