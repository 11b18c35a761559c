"""What an attempt came to: a reply, or the lack of one, as an `Outcome` (pure).

Everything that can end an attempt without a word of the receiver is one row of `OWN_WORDS`: code, status code, category and fault. Such
replies are synthetic, so that rules meant for a provider's words never fire on ours. Replies of the receiver are classified by
`bounce.classify`. Nothing here decides what follows from an outcome; that is `gateway.delivery.refusal`.
"""

import enum
from typing import Final

import msgspec

from bounce.classify import classify
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Outcome, Phase, Unsure, Verdict
from mail.reply import Reply


class Own(enum.Enum):
    """Why an attempt ended, in our own words."""

    DNS = "dns-trouble"
    NO_DOMAIN = "no-such-domain"
    NO_HOST = "no-mail-host"
    NULL_MX = "null-mx"
    NO_ADDRESS = "no-usable-address"
    REFUSED_ADDRESS = "refused-address"
    LITERAL = "address-literal"
    LOOP = "loop"
    STATIC_LOOP = "static-route-loop"
    STATIC_HOST = "static-route-host"
    NO_FAMILY = "no-address-of-the-source's-family"
    SOURCE = "source-address"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    LOST = "connection-lost"
    PROTOCOL = "protocol-violation"
    TLS_MISSING = "tls-not-offered"
    TLS_FAILED = "tls-failed"
    TLS_UNTRUSTED = "tls-not-trusted"
    TLS_POLICY = "tls-policy"
    REQUIRETLS_MISSING = "requiretls-not-offered"
    REQUIRETLS_TLS = "requiretls-no-trusted-tls"
    TOO_LARGE = "message-too-large"
    NO_CONTENT = "content-missing"
    NOT_COMPOSED = "not-composed"
    UNSURE_LOST = "unsure-connection-lost"
    UNSURE_TIMEOUT = "unsure-timeout"
    UNSURE_PROTOCOL = "unsure-protocol-violation"


class Words(msgspec.Struct, frozen=True, gc=False):
    """A row: the synthetic reply's code and status code (RFC 3463), and what it means. 4yz defers, 5yz fails."""

    code: int
    enhanced: str
    category: Category
    fault: Fault


OWN_WORDS: Final[dict[Own, Words]] = {
    Own.DNS: Words(451, "4.4.3", Category.ROUTING, Fault.NETWORK),
    Own.NO_DOMAIN: Words(550, "5.1.2", Category.BAD_DOMAIN, Fault.RECIPIENT),
    Own.NO_HOST: Words(550, "5.1.2", Category.BAD_DOMAIN, Fault.RECIPIENT),
    Own.NULL_MX: Words(556, "5.1.10", Category.BAD_DOMAIN, Fault.RECIPIENT),  # RFC 7505 section 4.1
    # MX records that lead nowhere may be a bad day of their zone: never a dead address.
    Own.NO_ADDRESS: Words(550, "5.4.4", Category.ROUTING, Fault.RECEIVER),
    Own.REFUSED_ADDRESS: Words(550, "5.4.6", Category.ROUTING, Fault.RECEIVER),
    Own.LITERAL: Words(550, "5.1.2", Category.ROUTING, Fault.RECIPIENT),
    Own.LOOP: Words(550, "5.4.6", Category.LOOP, Fault.CONFIG),
    # Static routes are ours to put right: mail waits.
    Own.STATIC_LOOP: Words(451, "4.4.6", Category.LOOP, Fault.CONFIG),
    Own.STATIC_HOST: Words(451, "4.4.4", Category.ROUTING, Fault.CONFIG),
    Own.NO_FAMILY: Words(451, "4.4.4", Category.ROUTING, Fault.CONFIG),
    Own.SOURCE: Words(451, "4.3.5", Category.NETWORK, Fault.CONFIG),
    Own.CONNECT: Words(451, "4.4.1", Category.NETWORK, Fault.NETWORK),
    Own.TIMEOUT: Words(451, "4.4.2", Category.NETWORK, Fault.NETWORK),
    Own.LOST: Words(451, "4.4.2", Category.NETWORK, Fault.NETWORK),
    Own.PROTOCOL: Words(451, "4.5.0", Category.PROTOCOL, Fault.RECEIVER),
    Own.TLS_MISSING: Words(451, "4.7.4", Category.TLS, Fault.RECEIVER),
    Own.TLS_FAILED: Words(451, "4.7.5", Category.TLS, Fault.RECEIVER),
    Own.TLS_UNTRUSTED: Words(451, "4.7.5", Category.TLS, Fault.RECEIVER),
    Own.TLS_POLICY: Words(451, "4.7.5", Category.TLS, Fault.RECEIVER),
    # RFC 8689 section 4.2.1: what cannot be sent as the message demands is returned.
    Own.REQUIRETLS_MISSING: Words(550, "5.7.30", Category.TLS, Fault.CONTENT),
    Own.REQUIRETLS_TLS: Words(550, "5.7.10", Category.TLS, Fault.CONTENT),
    Own.TOO_LARGE: Words(552, "5.3.4", Category.MESSAGE_TOO_LARGE, Fault.CONTENT),  # RFC 1870 section 6.1
    Own.NO_CONTENT: Words(451, "4.3.0", Category.OTHER, Fault.CONFIG),
    Own.NOT_COMPOSED: Words(451, "4.3.0", Category.OTHER, Fault.CONFIG),
    Own.UNSURE_LOST: Words(451, "4.4.2", Category.NETWORK, Fault.NETWORK),
    Own.UNSURE_TIMEOUT: Words(451, "4.4.2", Category.NETWORK, Fault.NETWORK),
    Own.UNSURE_PROTOCOL: Words(451, "4.5.0", Category.PROTOCOL, Fault.RECEIVER),
}

_UNSURE: Final = frozenset({Own.UNSURE_LOST, Own.UNSURE_TIMEOUT, Own.UNSURE_PROTOCOL})

PACE: Final = frozenset({Category.RATE_LIMITED, Category.IP_REPUTATION})
"""Categories by which a receiver judges the lane, not the message: whatever is in hand goes back untried."""


def own(why: Own, text: str, phase: Phase) -> Outcome:
    """The outcome for `why`, explained by `text`."""
    words = OWN_WORDS[why]
    reply = Reply(words.code, text, words.enhanced, synthetic=True)
    verdict = Verdict(reply, words.category, words.fault, why.value, phase)
    if why in _UNSURE:
        return Unsure(verdict)
    return Failed(verdict) if reply.permanent else Deferred(verdict)


def judged(reply: Reply, provider: str, phase: Phase) -> Outcome:
    """The outcome that the receiver's `reply` in `phase` means. Only 2yz to the final dot delivers; other replies of no use defer."""
    if phase is Phase.DOT and 200 <= reply.code < 300:
        return Delivered(reply)
    if reply.positive:
        return Deferred(Verdict(reply, Category.PROTOCOL, Fault.RECEIVER, Own.PROTOCOL.value, phase))
    meaning = classify(reply, provider, phase)
    verdict = Verdict(reply, meaning.category, meaning.fault, meaning.rule, phase)
    return Failed(verdict) if reply.permanent else Deferred(verdict)


def concerns_pace(outcome: Outcome) -> bool:
    """Whether `outcome` is a rate or reputation reply."""
    return not isinstance(outcome, Delivered) and outcome.verdict.category in PACE
