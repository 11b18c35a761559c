"""What is new in somebody's answer: the text without what it quotes and without the signature.

Marks of quotation in five languages: `>` lines, "On … wrote:", the header block that Outlook copies, "Original Message". Linear and
bounded; when everything is quoted, nothing is new.
"""

import re

MAX_TEXT = 65_536
MAX_LINES = 2_000
_LONGEST_INTRODUCTION = 4
"""Lines over which mail programs break "On … wrote:"."""

_WROTE = re.compile(
    r"(?i)(?:\bwrote|\bschrieb(?: [^:\n]{0,120})?"
    r"|\ba [eé]crit|\bescribi[oó]|\bha scritto|\bscrisse|\bescreveu|\bskrev|\bschreef)\s{0,3}:\s*$"
)
_INTRODUCTION = re.compile(r"(?i)^\s{0,3}(?:on|am|le|el|il|em|op|den|nel|du)\b.{0,200}")
_ORIGINAL = re.compile(
    r"(?i)^[\s>]{0,4}-{2,}\s{0,3}"
    r"(?:original|urspr[uü]ngliche|message d|mensaje original|messaggio original|forwarded|weitergeleitete|begin)"
)
_HEADER_BLOCK = re.compile(r"(?i)^\s{0,4}\*{0,2}(?:from|von|de|da|van|fr[aå]n)\s?\*{0,2}:\*{0,2}\s{1,4}\S")
_SECOND_HEADER = re.compile(
    r"(?i)^\s{0,4}\*{0,2}(?:sent|date|to|subject|gesendet|datum|an|betreff|envoy[eé]|[aà]|objet"
    r"|enviado|fecha|para|asunto|inviato|data|a|oggetto)\s?\*{0,2}:"
)
_PHONE = re.compile(r"(?i)^(?:sent from my|von meinem .{1,30} gesendet|gesendet von meinem|envoy[eé] de mon|enviado desde mi|inviato da)\b")


def new_text(text: str) -> str:
    """The lines that the author wrote now."""
    lines = text[:MAX_TEXT].split("\n")[:MAX_LINES]
    kept: list[str] = []
    for number, line in enumerate(lines):
        if _ends_here(lines, number):
            break
        if line.lstrip().startswith(">"):
            continue
        kept.append(line.rstrip())
    return _joined(kept)


def _ends_here(lines: list[str], number: int) -> bool:
    """Whether from this line on everything is quoted or signature."""
    line = lines[number]
    stripped = line.strip()
    if stripped in ("--", "—") and number:
        return True
    if _PHONE.match(stripped) or _ORIGINAL.match(line):
        return True
    if stripped and set(stripped) == {"_"} and len(stripped) > 9:
        return True
    if _HEADER_BLOCK.match(line) and any(_SECOND_HEADER.match(after) for after in lines[number + 1 : number + 4]):
        return True
    return bool(_INTRODUCTION.match(line)) and any(
        _WROTE.search(after) for after in lines[number : number + _LONGEST_INTRODUCTION] if len(after) < 400
    )


def _joined(lines: list[str]) -> str:
    """The lines with single empty lines between paragraphs, and none around."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()
