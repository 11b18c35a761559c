"""Whose name a message carries: the domains of the addresses in its From fields (RFC 5322 section 3.4 and 3.6.2).

An account may write only in the name of its own domains, so this reader is on the careful side: it returns every domain, or None when any
part of the field is not clearly readable, because readers of mail differ in what they make of it. Promises: never an exception, time
linear in the size, nothing longer than MAX_FROM is looked at.
"""

import re
from collections.abc import Iterable

from mail.address import normalise_domain

MAX_FROM = 16_384
"""Octets of From values that are read; longer ones are unreadable."""
MAX_NESTING = 16
"""Depth of comments."""

# The form nearly all mail has: an unquoted or quoted name without anything odd, then one address in angle brackets.
_PLAIN = re.compile(
    rb'(?:[^"<>@,:;()\\\[\]\x00-\x1f\x7f-\xff]*|"[^"\\\x00-\x1f\x7f-\xff]*" ?)'
    rb'<([^"<>@,:;()\\\[\] \x00-\x1f\x7f-\xff]+)@([A-Za-z0-9._-]+)>'
)
_TOKEN = re.compile(
    r"[ \t]+"
    r"|\"(?:[^\"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*\""  # quoted string
    r"|\[[^\[\]\\\x00-\x20\x7f]*\]"  # domain literal
    r"|[<>@,:;().]"
    r"|[^ \t\"\[\]<>@,:;().\\\x00-\x1f\x7f]+"  # atom
)
_IN_COMMENT = re.compile(r"(?:[^()\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])+")
_DOUBTFUL_LOCAL = re.compile("=\\?|[\uff20\ufe6b]")  # an encoded word, or a character that some readers turn into an at sign


def domains_of(values: Iterable[bytes]) -> tuple[str, ...] | None:
    """Domains of all addresses in `values` (unfolded From values), in normal form, each once; None when unreadable; () for no values."""
    total = 0
    found: dict[str, None] = {}
    for value in values:
        total += len(value)
        domains = _domains_in(value) if total <= MAX_FROM else None
        if domains is None:
            return None
        found.update(dict.fromkeys(domains))
    return tuple(found)


def _domains_in(value: bytes) -> list[str] | None:
    plain = _PLAIN.fullmatch(value)
    if plain is not None:
        domain = normalise_domain(plain.group(2).decode("ascii"))
        return None if domain is None or b"=?" in plain.group(1) else [domain]
    try:
        tokens = _tokens(value.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    return None if tokens is None else _address_list(tokens)


def _tokens(value: str) -> list[str] | None:
    """`value` as words, specials and single spaces, comments taken out (RFC 5322 section 3.2.2); None when it is not well formed."""
    found: list[str] = []
    position, stop = 0, len(value)
    while position < stop:
        if value[position] == "(":
            after = _after_comment(value, position)
            if after is None:
                return None
            position = after
            found.append(" ")
            continue
        match = _TOKEN.match(value, position)
        if match is None:
            return None
        position = match.end()
        token = match.group()
        found.append(" " if token[0] in " \t" else token)
    return found


def _after_comment(value: str, position: int) -> int | None:
    """Where the comment that opens at `position` ends, or None when it does not."""
    depth = 0
    while position < len(value):
        letter = value[position]
        if letter in "()":
            depth += 1 if letter == "(" else -1
            position += 1
            if not depth:
                return position
            if depth > MAX_NESTING:
                return None
            continue
        match = _IN_COMMENT.match(value, position)
        if match is None:
            return None
        position = match.end()
    return None


def _address_list(tokens: list[str]) -> list[str] | None:
    """Domains of mailboxes and of groups' members (RFC 5322 section 3.4); empty elements pass (section 4.4), a route does not."""
    domains: list[str] = []
    part: list[str] = []
    in_group = False
    for token in [*tokens, ","]:
        if token not in (",", ";", ":"):
            part.append(token)
        elif "<" in part and ">" not in part:
            return None
        elif token == ":":
            if in_group or "@" in part or not _says_something(part):
                return None
            in_group, part = True, []
        else:
            if token == ";" and not in_group:
                return None
            domain = _mailbox(part) if _says_something(part) else ""
            if domain is None:
                return None
            if domain:
                domains.append(domain)
            in_group, part = in_group and token != ";", []
    return domains if domains and not in_group else None


def _says_something(part: list[str]) -> bool:
    return any(word != " " for word in part)


def _mailbox(part: list[str]) -> str | None:
    """The domain of one mailbox, `name <local@domain>` or `local@domain`; None when it is anything else."""
    if "<" in part or ">" in part:
        if part.count("<") != 1 or part.count(">") != 1 or part.index("<") > part.index(">"):
            return None
        opens, closes = part.index("<"), part.index(">")
        if "@" in part[:opens] or _says_something(part[closes + 1 :]):
            return None
        part = part[opens + 1 : closes]
    words = [word for word in part if word != " "]
    if words.count("@") != 1:
        return None
    at = words.index("@")
    # Two atoms side by side had space or a comment between them: readers differ in what they make of it.
    if not _is_dotted(words[:at], quoted=True) or not _is_dotted(words[at + 1 :], quoted=False):
        return None
    if any(_DOUBTFUL_LOCAL.search(word) for word in words[:at]):
        return None
    return normalise_domain("".join(words[at + 1 :]))


def _is_dotted(words: list[str], *, quoted: bool) -> bool:
    """Whether `words` are atoms divided by single dots, or alone a quoted string (`quoted`) or a domain literal (not `quoted`)."""
    if len(words) == 1 and words[0][0] in '"[':
        return quoted == (words[0][0] == '"')
    return len(words) % 2 == 1 and all(word == "." for word in words[1::2]) and not any(atom[0] in '."[' for atom in words[0::2])
