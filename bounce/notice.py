"""The words of a report, apart from the message it returns.

A report says something and then encloses what was sent: as a part, or simply below a line. `notice` gives both halves: the text that
counts and the header fields of the returned message. Text is bounded by MAX_TEXT; what stands after the returned message is not read.
"""

import re

import msgspec

from bounce.patterns import patterns
from bounce.phrases import normalise
from mail.mime import Part, parse_header

MAX_TEXT = 65_536
MAX_LINE = 2_000
MAX_LINES = 2_000

_RETURNED_TYPES = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/news",
        "message/partial",
        "text/rfc822-headers",
        "text/rfc822-header",
        "message/rfc822-headers",
    }
    | {"message/global-headers"}
)
_HEADER_LINE = re.compile(
    r"^[> \t]{0,6}(?:Received|Return-Path|DKIM-Signature|X-Received|ARC-Seal):\s?\S|^From \S{1,80} {1,3}\w{3} \w{3} ", re.I
)
_FIRST_WORD = re.compile(r"[^\W_]+")
_RULE_CHARACTERS = "-=*_#|+<>"
_QUOTE = re.compile(r"^(?:> )+|^>(?=[^>])")


class Notice(msgspec.Struct, frozen=True):
    """`text` are the words of the report; `returned` the fields of the message it is about (empty when it encloses none).

    `enclosed` is that message as it stands in the report, for the report that encloses another one.
    """

    text: str
    returned: Part
    enclosed: bytes = b""


def notice(root: Part) -> Notice:
    """The two halves of a report."""
    texts: list[str] = []
    returned: Part | None = None
    enclosed, seen_alternative = b"", False
    for part in leaves(root):
        if part.type in _RETURNED_TYPES or _is_message(part, root):
            enclosed = part.content() if part.type in _RETURNED_TYPES else part.body
            returned = part if part.type not in _RETURNED_TYPES else parse_header(enclosed)
            break
        if part.type not in ("text/plain", "text/html") or (texts and part.type == "text/html" and seen_alternative):
            continue
        if texts and _is_attached(part):
            returned = returned or parse_header(part.content())
            continue
        seen_alternative = part.type == "text/plain"
        texts.append(part.text()[:MAX_TEXT])
    text, tail = divide("\n".join(texts)[:MAX_TEXT])
    if returned is None or not returned.fields:
        enclosed = _unindented(tail).encode("utf-8", "replace")
        returned = parse_header(enclosed)
    return Notice(text, returned, enclosed)


def leaves(root: Part) -> list[Part]:
    """The parts that have no parts."""
    return [part for part in root.walk() if not part.parts]


def _is_message(part: Part, root: Part) -> bool:
    """Whether a part is itself a message: its header is that of one."""
    if part is root:
        return False
    names = {name for name, _ in part.fields}
    return "received" in names or {"from", "subject"} <= names or {"message-id", "date"} <= names


def _is_attached(part: Part) -> bool:
    return part.value("content-disposition").lower().startswith("attachment")


def divide(text: str) -> tuple[str, str]:
    """What a text says, and what it returns: everything from the line that announces a copy, or from the first header line of one."""
    lines = text.split("\n")[:MAX_LINES]
    for number, line in enumerate(lines):
        if _HEADER_LINE.match(line[:80]):
            return "\n".join(_unquoted(lines[:number])), "\n".join(lines[number:])
        if number and len(line) < 120 and announces_copy(line):
            return "\n".join(_unquoted(lines[:number])), "\n".join(lines[number + 1 :]).lstrip("\n-=* ")
    return "\n".join(_unquoted(lines)), ""


def _unquoted(lines: list[str]) -> list[str]:
    """The lines without the marks of somebody who forwarded them, and not too long."""
    return [_QUOTE.sub("", line[:MAX_LINE]).rstrip() for line in lines]


def announces_copy(line: str) -> bool:
    """Whether `line` is the heading of a returned message: its words begin so, and it is dressed as a heading."""
    stripped = line.strip()
    if not stripped:
        return False
    first = _FIRST_WORD.search(stripped[:40].lower())
    phrases = patterns().ends.get(first.group(), ()) if first else ()
    if not phrases:
        return False
    normal = normalise(stripped)
    for phrase in phrases:
        if normal.startswith(phrase):
            rest = normal[len(phrase) :].split()
            dressed = stripped[0] in _RULE_CHARACTERS or stripped[-1] in ".:" or not rest
            return dressed and len(rest) <= 8 and "was" not in rest[:1] and "details" not in rest
    return False


def _unindented(text: str) -> str:
    """A copy that was set in from the margin or quoted, at the margin again."""
    text = text.lstrip("\n")
    first = text.partition("\n")[0]
    indent = len(first) - len(first.lstrip("> \t"))
    if not indent:
        return text
    mark = first[:indent]
    return "\n".join(line.removeprefix(mark) for line in text.split("\n"))
