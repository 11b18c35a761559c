"""What the sandbox's hosts say is understood by the rules as what they mean: both halves of the project read refusals the same way."""

import pytest

from bounce.classify import classify
from mail.outcome import Category, Fault, Phase
from mail.reply import Reply, reply_from_lines
from sandbox.temper import _WORDS, KINDS

PHASES = {
    "connect": Phase.BANNER,
    "ehlo": Phase.EHLO,
    "starttls": Phase.STARTTLS,
    "mail": Phase.MAIL,
    "rcpt": Phase.RCPT,
    "data": Phase.DATA,
    "dot": Phase.DOT,
}
PROVIDERS = {"plain": ["", "smarthost"], "microsoft": ["microsoft-consumer", "microsoft-business"], "gmx": ["gmx", "web.de"]}
FAULTS = {
    Category.BAD_MAILBOX: {Fault.RECIPIENT},
    Category.INACTIVE_MAILBOX: {Fault.RECIPIENT},
    Category.MAILBOX_FULL: {Fault.RECIPIENT},
    Category.IP_REPUTATION: {Fault.SENDER_IP},
    Category.DOMAIN_REPUTATION: {Fault.SENDER_DOMAIN},
    Category.AUTH_FAILED: {Fault.SENDER_DOMAIN},
    Category.RELAYING: {Fault.CONFIG},
    Category.CONTENT: {Fault.CONTENT},
}


def heard(text: str) -> Reply:
    """A reply as the client hears it: its code apart, its lines joined."""
    code, _, rest = text.format(recipient="someone@firm.example", source="127.0.0.9", sender="news@sender.example").partition(" ")
    return reply_from_lines(int(code), rest.split("\n"))


def said() -> list[tuple[str, str, str]]:
    """Each voice, kind and reply; in the plain voice the defaults."""
    plain = {kind: known.reply for kind, known in KINDS.items() if known.reply and kind != "refusal"}
    return [
        (voice, kind, text) for voice, words in _WORDS.items() for kind, text in {**(plain if voice == "plain" else {}), **words}.items()
    ]


@pytest.mark.parametrize(("voice", "kind", "text"), said(), ids=[f"{voice}-{kind}" for voice, kind, _ in said()])
def test_a_host_s_words_mean_to_the_rules_what_they_mean_to_the_sandbox(voice: str, kind: str, text: str) -> None:
    wanted = KINDS[kind].category
    for provider in PROVIDERS.get(voice, [voice]):
        found = classify(heard(text), provider, PHASES[KINDS[kind].step.value])
        assert (found.category, found.rule) == (wanted, found.rule)
        assert found.fault in FAULTS.get(wanted, set(Fault)), found
