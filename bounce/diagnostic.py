"""One recipient's words, read: reply code, status code, phase, and what they mean.

Takes the prose that reports wrap around a reply (`host mx.example.org[192.0.2.1] said: 550 5.1.1 … (in reply to RCPT TO command)`) and
gives the classification of the reply in it. Where a report's own status and the reply contradict each other, the reply is believed: it
was said by the one who refused.
"""

import re

import msgspec

from bounce.classify import UNKNOWN, Classification, classify
from mail.outcome import Phase
from mail.reply import Reply

MAX_LOOKED_AT = 4_000
"""Characters of a diagnostic that are read."""

_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_CODE = re.compile(r"(?<![\d.:/-])([2345][0-5]\d|57[01])(?=[ \t\n:>-]|$)(?![ \t]{0,3}(?:Port|octets|bytes|KB|MB|hours?|days?|recip))")
_CODE_BY_NAME = re.compile(r"(?i)(?:smtp|response|reply|error|status)[ \t-]?(?:code)?[ \t]{0,3}[:=#]?[ \t]{0,3}[\"'(]?([45][0-5]\d)\b")
_TYPE = re.compile(r"^\s{0,20}[a-zA-Z][a-zA-Z0-9-]{1,15};\s{0,20}")
_HOST_PREFIX = re.compile(
    r"^(?:.{0,300}?)(?:\bsaid|\bresponded|\breturned|\bresponse was|server returned was|\bfailed with)[: ]\s{0,10}", re.S
)
_HOST = re.compile(r"\bhost:? ([a-zA-Z0-9-]{1,63}(?:\.[a-zA-Z0-9-]{1,63}){1,10})")
_PHASES = (
    (
        Phase.DOT,
        (
            "in reply to end of data",
            "end of data",
            "final data",
            "after end of message",
            "after i sent the message",
            "after data",
            "[data]",
        ),
    ),
    (Phase.DATA, ("in reply to data", "reply to data command", "following data")),
    (
        Phase.MAIL,
        ("in reply to mail from", "after mail from", "did not like our mail from", "[mail_from]", ">>> mail from", "sender was rejected"),
    ),
    (Phase.EHLO, ("in reply to helo", "in reply to ehlo", "after helo", "after ehlo", "after initial connection", "refused to talk to me")),
)
_WEAK = ("reply-", "code-address", "code-protocol", "code-policy", "code-receiver", "code-network", "policy", "receiver-trouble", UNKNOWN)


class Reading(msgspec.Struct, frozen=True):
    """`status` is the best status code known ("" when none), `code` the reply code (0 when none)."""

    code: int
    status: str
    phase: Phase
    found: Classification


def unwrap(text: str) -> str:
    """A Diagnostic-Code without its type (`smtp;`), in one line."""
    return " ".join(_TYPE.sub("", text[:MAX_LOOKED_AT]).split())


def read(diagnostic: str, status: str = "", context: str = "") -> Reading:
    """What `diagnostic` means; `status` is what the report says beside it, `context` other words of the report, asked when it says little."""
    phase = phase_of(diagnostic)
    code, said = codes_of(diagnostic)
    best = _better(said, status, code)
    words = bare(diagnostic)
    found = classify(Reply(code, words, best), phase=phase)
    if context and is_weak(found):
        code_there, said_there = codes_of(context)
        second = classify(Reply(code_there or code, bare(context), _better(said_there, best, code_there)), phase=phase_of(context))
        if not is_weak(second) or found.rule == UNKNOWN:
            found, best, code = second, _better(said_there, best, code_there), code or code_there
    return Reading(code, best or _status_of(code), phase, found)


def is_weak(found: Classification) -> bool:
    """Whether the rule that decided had little to go by."""
    return found.rule.startswith(_WEAK)


def phase_of(text: str) -> Phase:
    """The command that was refused, as far as the words tell; RCPT when they do not."""
    lower = text[:MAX_LOOKED_AT].lower()
    if "rcpt to" in lower or "rcpt_to" in lower:
        return Phase.RCPT
    for phase, signs in _PHASES:
        if any(sign in lower for sign in signs):
            return phase
    return Phase.RCPT


def codes_of(text: str) -> tuple[int, str]:
    """The first refusal's reply code (0: none) and its status code ("": none). Codes inside addresses, IPs and versions are no codes."""
    text = text[:MAX_LOOKED_AT]
    code, status = 0, ""
    for match in _CODE.finditer(text):
        number = int(match.group(1))
        if number >= 400:
            code = number
            break
    if not code and (named := _CODE_BY_NAME.search(text)):
        code = int(named.group(1))
    for match in _STATUS.finditer(text):
        if match.group(1)[0] != "2" and not match.group(1).endswith(".0.0"):
            status = match.group(1)
            break
        status = status or match.group(1)
    return code, status


def bare(text: str) -> str:
    """The words of the refusal itself, without the host names before it, which may contain anything."""
    text = text[:MAX_LOOKED_AT]
    for match in _CODE.finditer(text):
        if int(match.group(1)) >= 400 and len(text) - match.end() > 3:
            return text[match.start() :]
    return _HOST_PREFIX.sub("", text, count=1)


def remote_host(text: str) -> str:
    """The host that refused, when the words name it."""
    match = _HOST.search(text[:MAX_LOOKED_AT])
    return match.group(1) if match else ""


def _better(said: str, status: str, code: int) -> str:
    """The status code of the words, unless it says less than the report's own."""
    if not said or (said.endswith(".0.0") and status and status[0] == said[0]):
        said = status
    if said.endswith(".0.0") and code and said[0] != str(code)[0] and code >= 400:
        return f"{str(code)[0]}.0.0"
    return said


def _status_of(code: int) -> str:
    """A status code for a reply that had none (RFC 3463 section 3.1: X.0.0 is "other undefined status")."""
    return f"{str(code)[0]}.0.0" if code >= 400 else ""
