"""What a refusal means: category, fault, and the rule that decided.

`classify` is a pure function of the reply, the provider that gave it and the phase it came in. It never raises and always answers; what no
rule knows is `other` / `unknown`. Our own synthetic replies (a timeout, a DNS error) are classified by the phase and their words through
the rules as well, but never by a rule of a provider.

Results are cached by the reply's words: a provider says the same thing a million times. The cache has a bound.
"""

import functools
import re

import msgspec

from bounce.rules import MAX_TEXT, Rules, shipped
from mail.outcome import Category, Fault, Phase
from mail.reply import Reply

UNKNOWN = "unknown"
"""The rule named when none decided."""

_CODE = re.compile(r"(?<![\d.])([2-5][0-5]\d)(?=[\s\-:]|$)")
_BARE_CODE = re.compile(r"(?<![\d.])(571|57[0-9]|525)(?=[\s\-:]|$)")
_MARKED = re.compile(r"#([245]\.\d{1,3}\.\d{1,3})(?!\d)")
_LEADING = re.compile(r"\s{0,10}([2-5]\d\d)(?:[- ]|$)\s{0,3}(?:([245]\.\d{1,3}\.\d{1,3})(?:[ \t:-]|$)\s{0,3})?")
_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")


_COMMANDS = (
    ("RCPT TO", Phase.RCPT),
    ("MAIL FROM", Phase.MAIL),
    ("END OF DATA", Phase.DOT),
    ("DATA", Phase.DATA),
    ("EHLO", Phase.EHLO),
    ("HELO", Phase.EHLO),
)


class Classification(msgspec.Struct, frozen=True, gc=False):
    """What is wrong, whose fault it is, and the name of the rule that says so."""

    category: Category
    fault: Fault
    rule: str


_NOTHING = Classification(Category.OTHER, Fault.UNKNOWN, UNKNOWN)


def classify(reply: Reply, provider: str = "", phase: Phase = Phase.RCPT, rules: Rules | None = None) -> Classification:
    """The meaning of `reply` from `provider` (a name of the provider table, or ""), received in `phase`.

    The phase matters little: an unknown user named after DATA, without a status code that says so, is not proof of a dead address.
    """
    return _classify(rules or shipped(), reply.code, reply.enhanced, reply.text[:MAX_TEXT], "" if reply.synthetic else provider, phase)


@functools.lru_cache(maxsize=8_192)
def _classify(rules: Rules, code: int, enhanced: str, text: str, provider: str, phase: Phase) -> Classification:
    if not enhanced and "#" in text and (marked := _MARKED.search(text)):
        enhanced = marked.group(1)  # qmail and IronPort: (#5.1.1)
    if "(in reply to " in text:
        phase = _named_phase(text) or phase
        text = text.rpartition("(in reply to ")[0]
    rule = rules.decide(code, enhanced, text, provider, phase)
    return Classification(rule.category, rule.fault, rule.name) if rule is not None else _NOTHING


def _named_phase(text: str) -> Phase | None:
    """The phase that a relay names behind a reply, as in `550 no (in reply to RCPT TO command)`."""
    command = text.rpartition("(in reply to ")[2].upper()
    for words, phase in _COMMANDS:
        if command.startswith(words):
            return phase
    return None


def reply_of(text: str, enhanced: str = "") -> Reply:
    """The reply written in a line such as `smtp; 550-5.1.1 no such user`, with any prose before it.

    The first code and the first status code after it count. `enhanced` is used when the text has none of its own. Code 0: none found.
    """
    text = text[:MAX_TEXT]
    leading = _LEADING.match(text)
    if leading is not None:
        return Reply(int(leading.group(1)), text[leading.end() :], leading.group(2) or enhanced)
    found = _ENHANCED.search(text)
    return Reply(_first_code(text), text, found.group(1) if found else enhanced)


def _first_code(text: str) -> int:
    match = _CODE.search(text) or _BARE_CODE.search(text)
    return int(match.group(1)) if match else 0
