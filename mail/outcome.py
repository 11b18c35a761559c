"""What became of one attempt to deliver: a closed type, and the two independent fields that explain a refusal.

`Outcome` is `Delivered | Deferred | Failed | Unsure`; match it exhaustively. A non-delivery carries a `Verdict`: category (what is wrong)
and fault (whose problem it is). Only a recipient fault may ever suppress an address. What a refusal leads to is decided elsewhere, by one
table (`gateway.delivery.refusal`); this module only names things.
"""

import enum

import msgspec

from mail.reply import Reply


class Category(enum.StrEnum):
    """What is wrong, in the words of DESIGN section 4."""

    BAD_MAILBOX = "bad-mailbox"
    INACTIVE_MAILBOX = "inactive-mailbox"
    MOVED = "moved"
    BAD_DOMAIN = "bad-domain"
    MAILBOX_FULL = "mailbox-full"
    MESSAGE_TOO_LARGE = "message-too-large"
    GREYLISTED = "greylisted"
    RATE_LIMITED = "rate-limited"
    IP_REPUTATION = "ip-reputation"
    DOMAIN_REPUTATION = "domain-reputation"
    SENDER_REJECTED = "sender-rejected"
    AUTH_FAILED = "auth-failed"
    CONTENT = "content"
    POLICY = "policy"
    PROTOCOL = "protocol"
    RELAYING = "relaying"
    ROUTING = "routing"
    NETWORK = "network"
    TLS = "tls"
    RECEIVER_TROUBLE = "receiver-trouble"
    LOOP = "loop"
    EXPIRED = "expired"
    OTHER = "other"


class Fault(enum.StrEnum):
    """Whose problem it is."""

    RECIPIENT = "recipient"
    SENDER_IP = "sender-ip"
    SENDER_DOMAIN = "sender-domain"
    CONTENT = "content"
    CONFIG = "config"
    RECEIVER = "receiver"
    NETWORK = "network"
    UNKNOWN = "unknown"


class Phase(enum.StrEnum):
    """Where in the dialogue an attempt ended. Everything before MAIL is the host's matter, not the message's."""

    ROUTE = "route"
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    COMPOSE = "compose"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt did not deliver. `rule` names the classification rule that decided; `reply` may be synthetic."""

    reply: Reply
    category: Category
    fault: Fault
    rule: str = ""
    phase: Phase = Phase.DOT


class Delivered(msgspec.Struct, frozen=True, gc=False, tag="delivered"):
    """The next hop answered 2yz to the final dot and has taken responsibility (RFC 5321 section 4.2.5)."""

    reply: Reply


class Deferred(msgspec.Struct, frozen=True, gc=False, tag="deferred"):
    """Not now: a 4yz reply, or trouble on the way (network, TLS, DNS)."""

    verdict: Verdict


class Failed(msgspec.Struct, frozen=True, gc=False, tag="failed"):
    """A 5yz reply, or something that will not become better (null MX, message that cannot be sent there)."""

    verdict: Verdict


class Unsure(msgspec.Struct, frozen=True, gc=False, tag="unsure"):
    """The connection ended after the final dot and before its reply: the receiver may have the message, or not."""

    verdict: Verdict


Outcome = Delivered | Deferred | Failed | Unsure

_HARD = frozenset({Category.BAD_MAILBOX, Category.BAD_DOMAIN, Category.MOVED})


def is_hard(category: Category, permanent: bool) -> bool:
    """Whether the address is dead: bad-mailbox, bad-domain or moved, permanently. Nothing else is hard, whatever the code says."""
    return permanent and category in _HARD
