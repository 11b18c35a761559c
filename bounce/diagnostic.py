"""One recipient's words, read: reply code, status code, phase, and what they mean.

Takes the prose that reports wrap around a reply (`host mx.example.org[192.0.2.1] said: 550 5.1.1 … (in reply to RCPT TO command)`) and
gives the classification of the reply in it. Where a report's own status and the reply contradict each other, the reply is believed: it
was said by the one who refused.
"""

import functools
import re

import msgspec

from bounce.classify import UNKNOWN, Classification, classify
from mail.outcome import Phase
from mail.reply import Reply

MAX_LOOKED_AT = 4_000
"""Characters of a diagnostic that are read."""

MAX_MENTIONS = 20
"""Lines about one recipient that are looked at."""

_ADDRESS = re.compile(r"[^\s<>()\[\]{},;:\"'|\\*]{1,64}@[^\s<>()\[\]{},;:\"'|\\*]{1,255}")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_CODE = re.compile(r"(?<![\d.:/-])([2345][0-5]\d|57[01])(?=[ \t\n:>-]|$)(?![ \t]{0,3}(?:Port|octets|bytes|KB|MB|hours?|days?|recip))")
_CODE_BY_NAME = re.compile(r"(?i)(?:smtp|response|reply|error|status)[ \t-]?(?:code)?[ \t]{0,3}[:=#]?[ \t]{0,3}[\"'(]?([45][0-5]\d)\b")
_TYPE = re.compile(r"^\s{0,20}(?!x-unix)[a-zA-Z][a-zA-Z0-9-]{1,15};\s{0,20}", re.I)
_HEADLINE = re.compile(r"^[45]\.\d\.\d - [A-Z][A-Za-z ]{3,40} (?=[45]\d\d-|'[45])")
"""IronPort's own summary before the words of the host, as in `5.1.0 - Unknown address error 550-'5.7.1 access denied'`."""
_HOST_PREFIX = re.compile(
    r"^(?:.{0,300}?)(?:\bsaid|\bresponded|\breturned|\bresponse was|server returned was|\bfailed with)[: ]\s{0,10}", re.S
)
_HOST = re.compile(r"\bhost:? ([a-zA-Z0-9-]{1,63}(?:\.[a-zA-Z0-9-]{1,63}){1,10})")
_AT_RCPT = ("rcpt to", "rcpt_to", "rcpt command", "smtp:rcpt", "server has rejected address")
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
_COMMAND = re.compile(r"(?i)>>> ?(DATA|RCPT TO|MAIL FROM|EHLO|HELO)|smtp command\W{1,6}(DATA|RCPT|MAIL)")
_REFUSED = re.compile(r"<<< ?[45]\d\d")
_SPOKEN = re.compile(r"(?:^|[\s:>])[45]\d\d[\s-]")
_VAGUE_CODES = ("reply-", "code-address", "code-protocol", "code-policy", "code-receiver", "code-network", "code-recipient-filter")
_VAGUE_WORDS = ("policy", "receiver-trouble", "protocol", "expired")


_ENDS_WITH_CODE = re.compile(r"\b[45]\d\d(?:[ -][45]\.\d{1,3}\.\d{1,3})?\s{0,10}$")
_BY_COMMAND = {"DATA": Phase.DATA, "RCPT": Phase.RCPT, "MAIL": Phase.MAIL, "EHLO": Phase.EHLO, "HELO": Phase.EHLO}


class Reading(msgspec.Struct, frozen=True):
    """`status` is the best status code known ("" when none), `code` the reply code (0 when none)."""

    code: int
    status: str
    phase: Phase
    found: Classification


def unwrap(text: str) -> str:
    """A Diagnostic-Code without its type (`smtp;`), in one line."""
    line = " ".join(_TYPE.sub("", text[:MAX_LOOKED_AT]).split())
    return _HEADLINE.sub("", line, count=1)


def read(diagnostic: str, status: str = "", context: str = "") -> Reading:
    """What `diagnostic` means.

    `status` is what the report says beside it; `context` are other words of the report, asked when the diagnostic says little.
    """
    phase = phase_of(diagnostic) or phase_of(context)
    code, said = codes_of(diagnostic)
    best = _better(said, status, code)
    found = _classified(diagnostic, code, best, phase)
    if context and strength(found) < 3:
        code_there, said_there = codes_of(context)
        better_there = _better(said_there, best, code_there)
        second = _classified(context, code_there or code, better_there, phase_of(context))
        if strength(second) > strength(found):
            found, best, code = second, better_there, code or code_there
    return Reading(code, best or _status_of(code), phase or Phase.DOT, found)


def _classified(text: str, code: int, status: str, phase: Phase | None) -> Classification:
    """A refusal whose phase nobody names is read with care, as one that came after the data; words without a reply are a statement."""
    return classify(Reply(code, bare(text), status), phase=phase or (Phase.DOT if code else Phase.RCPT))


def strength(found: Classification) -> int:
    """How much the rule that decided had to go by: 0 nothing, 1 a vague code, 2 vague words, 3 enough."""
    if found.rule == UNKNOWN:
        return 0
    if found.rule.startswith(_VAGUE_CODES):
        return 1
    return 2 if found.rule in _VAGUE_WORDS else 3


def phase_of(text: str) -> Phase | None:
    """The command that was refused, where the words tell."""
    lower = text[:MAX_LOOKED_AT].lower()
    if ">>>" in lower or "smtp command" in lower:
        refused = _REFUSED.search(lower)
        said = [match.group(1) or match.group(2) for match in _COMMAND.finditer(lower[: refused.start() if refused else MAX_LOOKED_AT])]
        if said:
            return _BY_COMMAND[said[-1][:4].upper()]
    if any(sign in lower for sign in _AT_RCPT):
        return Phase.RCPT
    for phase, signs in _PHASES:
        if any(sign in lower for sign in signs):
            return phase
    return None


class Transcript:
    """The lines of a text, and where each address stands in them: asked once for each recipient, built once for all."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        self._places: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines):
            if "@" in line:
                for match in _ADDRESS.finditer(line[:MAX_LOOKED_AT].lower()):
                    places = self._places.setdefault(match.group().strip(".'"), [])
                    if len(places) < MAX_MENTIONS:
                        places.append(number)

    @functools.cached_property
    def whole(self) -> Reading:
        """What the text as a whole means, for recipients about whom nothing is said."""
        return read(self._text)

    def spoken_of(self, address: str) -> str:
        """The lines in which a server speaks of this address, with its code; "" when there are none."""
        for number in self._places.get(address.lower(), ()):
            said = [self._lines[number], *_continued(self._lines[number + 1 : number + 6])]
            if _ENDS_WITH_CODE.search(said[-1]):  # broken behind its code, and not set in
                said += self._lines[number + len(said) : number + len(said) + 2]
            if _SPOKEN.search(" ".join(said)[:600]):
                return "\n".join(said).strip("<> \t")
        return ""


def _continued(lines: list[str]) -> list[str]:
    """The lines that go on with what the line before them says: indented ones."""
    kept = []
    for line in lines:
        if not line[:1].isspace() or not line.strip():
            break
        kept.append(line)
    return kept


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
