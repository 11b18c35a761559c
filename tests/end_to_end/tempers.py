"""The table of tempers: each provider of the fake Internet that is hard to talk to, and how mail to it must end.

A row is a provider, the letters sent to it, and what its events must say: the failures (phase, category, fault and a part of the words) in
any number of attempts, and the end. Nothing here runs; `tests/end_to_end/test_tempers.py` plays all rows at once.
"""

from dataclasses import dataclass, field
from typing import Any

from mail.event import EventKind

LIMITS = """
[sending]
greeting_timeout = "1s"
command_timeout = "1s"
data_timeout = "1s"
block_timeout = "1s"
dot_timeout = "1s"
[default_provider]
name = "default"
pause = "200ms"
idle = "200ms"
connect_timeout = "500ms"
connections = 3
[[provider]]
name = "strict"
domains = ["tls-broken-strict.test", "tls-refused-strict.test"]
tls = "required"
pause = "200ms"
[[stream]]
name = "default"
[stream.retry]
first = "300ms"
growth = 1.5
longest = "1s"
greylisted = "500ms"
unsure = "300ms"
rest = "100ms"
lifetime = "1h"
[[stream]]
name = "short"
[stream.retry]
first = "300ms"
growth = 1.5
longest = "1s"
rest = "100ms"
lifetime = "3s"
"""
"""Times of fractions of a second: what takes minutes in real life takes seconds here."""

LARGE = 8_000_000
"""Octets that no socket buffer holds."""

DELIVERED, BOUNCED, EXPIRED = EventKind.DELIVERED, EventKind.BOUNCED, EventKind.EXPIRED


@dataclass(frozen=True)
class Failure:
    """What the event of a failed attempt says."""

    phase: str
    category: str
    fault: str
    words: str
    unsure: bool = False


@dataclass(frozen=True)
class Case:
    """One provider, and how mail to it ends. `failures`: every kind that must be told, and no other may be, unless `may_fail`."""

    name: str
    tempers: list[dict[str, Any]] = field(default_factory=list)
    failures: tuple[Failure, ...] = ()
    end: EventKind = DELIVERED
    letters: int = 1
    size: int = 0
    stream: str = ""
    may_fail: bool = False
    clear: bool = False
    """What is delivered goes in the clear, because TLS cannot be had."""
    twice: int = 0
    """Letters that may arrive twice: their reply was lost."""
    mailboxes: dict[str, Any] = field(default_factory=dict)

    @property
    def recipients(self) -> list[str]:
        return [f"rcpt{number}@{self.name}.test" for number in range(self.letters)]


def silence(phase: str, words: str = "silent for too long") -> Failure:
    return Failure(phase, "network", "network", words)


def once(step: str, kind: str = "stall", **more: Any) -> list[dict[str, Any]]:
    """It happens to the first attempt only."""
    return [{"kind": kind, "step": step, "most": 1, **more}]


LOST = "closed by the peer"
UNHEARD = Failure("dot", "network", "network", "no reply to the final dot in time", unsure=True)
UNHEARD_LOST = Failure("dot", "network", "network", "the connection ended before the reply to the final dot", unsure=True)
TOO_MANY = Failure("data", "protocol", "receiver", "DATA was answered 250")
TOO_FEW = Failure("rcpt", "protocol", "receiver", "RCPT was answered 354")

STALLS = [
    Case("slow-banner", [{"kind": "stall", "step": "connect", "seconds": "300ms"}]),
    Case("stall-banner", once("connect"), (silence("banner", "no answer in time"),)),
    Case("stall-ehlo", once("ehlo"), (silence("ehlo", "no answer in time"),)),
    Case("stall-starttls", once("starttls"), (silence("starttls", "no answer in time"),)),
    Case("stall-handshake", once("handshake"), clear=True),
    Case("stall-mail", once("mail"), (silence("mail"),)),
    Case("stall-rcpt", once("rcpt"), (silence("rcpt"),)),
    Case("stall-data", once("data"), (silence("data"),)),
    Case("stall-body", once("body"), (silence("body"),), size=LARGE),
    Case("stall-dot", once("dot"), (UNHEARD,)),
    Case("stall-every-dot", [{"kind": "stall", "step": "dot"}], (UNHEARD,), end=BOUNCED),
]
"""Silence at each phase: the attempt ends when its time is over, and behind the final dot nobody knows."""

CUTS = [
    Case("cut-banner", once("connect", "drop"), (Failure("banner", "network", "network", LOST),)),
    Case("cut-ehlo", once("ehlo", "drop"), (Failure("ehlo", "network", "network", LOST),)),
    Case("cut-mail", once("mail", "drop"), (Failure("mail", "network", "network", LOST),)),
    Case("cut-rcpt", once("rcpt", "drop"), (Failure("rcpt", "network", "network", LOST),)),
    Case("cut-data", once("data", "drop"), (Failure("data", "network", "network", LOST),)),
    Case("cut-body", once("body", "drop", octets=1000), (Failure("body", "network", "network", ""),), size=LARGE),
    Case("cut-dot", once("dot", "drop"), (UNHEARD_LOST,)),
    Case("cut-dot-taken", once("dot", "drop", taken=True), (UNHEARD_LOST,), twice=1),
]
"""A connection closed instead of a reply."""

PIECES = [
    Case("split-replies", [{"kind": "slow-replies", "octets": 3, "pace": 0}], letters=12),
    Case("slow-replies", [{"kind": "slow-replies", "octets": 1, "pace": "1ms"}], letters=2),
    Case(
        "too-slow-replies",
        [{"kind": "slow-replies", "octets": 1, "pace": "400ms", "most": 1}],
        (silence("banner", "no answer in time"),),
    ),
    Case("slow-reading", [{"kind": "slow-reading", "octets": 8, "pace": "1ms"}], letters=2),
    Case(
        "too-slow-reading",
        [{"kind": "slow-reading", "octets": 1, "pace": "400ms", "most": 1}],
        (silence("ehlo", "no answer in time"),),
    ),
    Case(
        "too-slow-reading-of-a-large-body",
        [{"kind": "slow-reading", "octets": 40, "pace": "5ms", "most": 1}],
        (silence("body"),),
        size=LARGE,
    ),
]
"""Octet by octet: patience up to the limit of each reply, whatever comes in between."""

COUNTS = [
    Case("too-many-replies", [{"kind": "extra-reply", "step": "rcpt", "pipelined": True}], (TOO_MANY,), letters=4),
    Case("too-few-replies", [{"kind": "missing-reply", "step": "rcpt", "pipelined": True}], (TOO_FEW,), letters=4),
    Case("too-many-replies-to-mail", [{"kind": "extra-reply", "step": "mail", "pipelined": True}], (TOO_MANY,), letters=4),
    Case("too-few-replies-to-mail", [{"kind": "missing-reply", "step": "mail", "pipelined": True}], (TOO_FEW,), letters=4),
    Case("too-many-replies-to-the-dot", [{"kind": "extra-reply", "step": "dot"}], (TOO_MANY,), letters=6, may_fail=True),
    Case("no-reply-to-a-lone-dot", once("dot", "missing-reply"), (UNHEARD,), twice=1),
    Case("no-reply-to-a-dot", once("dot", "missing-reply"), (UNHEARD,), letters=4, twice=1, may_fail=True),
]
"""Replies that do not match their commands: what was taken is not sent again, what was not is, one command at a time."""


def farewell(step: str) -> list[dict[str, Any]]:
    """421 to the second message of a connection, in the middle of the overlap."""
    return [{"kind": "trouble", "step": step, "reply": "421 4.3.2 Service shutting down", "from_message": 2}]


CLOSING = Failure("", "receiver-trouble", "receiver", "Service shutting down")
OVERLAP = [
    Case("421-to-mail-in-an-overlap", farewell("mail"), letters=6),
    Case("421-to-rcpt-in-an-overlap", farewell("rcpt"), (CLOSING,), letters=6, may_fail=True),
    Case("421-to-data-in-an-overlap", farewell("data"), (CLOSING,), letters=6, may_fail=True),
    Case("421-to-the-dot-in-an-overlap", farewell("dot"), (CLOSING,), letters=6, may_fail=True),
    Case(
        "421-for-the-pace-in-an-overlap",
        [{"kind": "rate", "messages": 4, "per": "1s", "reply": "421 4.7.0 Slow down"}],
        (Failure("mail", "rate-limited", "sender-ip", "Slow down"),),
        letters=8,
        may_fail=True,
    ),
]
"""421 while the next envelope is already on the wire: that delivery was not tried."""

TLS = [
    Case("tls-garbage", [{"kind": "garbage"}], clear=True),
    Case("tls-cut", [{"kind": "drop", "step": "handshake"}], clear=True),
    Case("tls-unavailable", [{"kind": "tls-unavailable"}], clear=True),
    Case("tls-required", [{"kind": "tls-required"}]),
    Case(
        "tls-required-and-broken",
        [{"kind": "tls-required"}, {"kind": "garbage"}],
        (Failure("mail", "tls", "network", "Must issue a STARTTLS command first"),),
        end=EXPIRED,
        stream="short",
    ),
    Case(
        "tls-broken-strict",
        [{"kind": "garbage"}],
        (Failure("starttls", "tls", "receiver", "the TLS handshake with mx.tls-broken-strict.test failed"),),
        end=EXPIRED,
        stream="short",
    ),
    Case(
        "tls-refused-strict",
        [{"kind": "tls-unavailable"}],
        (Failure("starttls", "tls", "receiver", "454"),),
        end=EXPIRED,
        stream="short",
    ),
]
"""TLS that breaks falls back to the clear where it is opportunistic, and waits where it is required."""

HOSTS = [
    Case(
        "refused",
        failures=(Failure("connect", "network", "network", "Connection refused"),),
        end=EXPIRED,
        stream="short",
        mailboxes={"listening": False},
    ),
    Case(
        "some-dead",
        letters=4,
        mailboxes={
            "mx": [f"mx{number}.some-dead.test" for number in range(1, 6)],
            "dead": ["mx1.some-dead.test", "mx3.some-dead.test"],
            "silent": ["mx2.some-dead.test"],
        },
    ),
    Case(
        "all-silent",
        failures=(silence("connect", "took no connection in time"),),
        end=EXPIRED,
        stream="short",
        mailboxes={"mx": ["mx1.all-silent.test", "mx2.all-silent.test"], "silent": ["mx1.all-silent.test", "mx2.all-silent.test"]},
    ),
]
"""Hosts that cannot be reached."""

PASSING = [
    Case(
        "grey",
        [{"kind": "greylist", "seconds": "400ms"}],
        (Failure("rcpt", "greylisted", "", "greylisted"),),
        letters=6,
    ),
    Case(
        "changing",
        [
            {"kind": "rate", "messages": 3, "per": "1s", "until": "1s", "reply": "450 4.7.1 Too many messages, slow down"},
            {"kind": "rate", "messages": 0, "after": "1s", "until": "1500ms", "reply": "450 4.7.1 Nothing from you now, rate limited"},
        ],
        (Failure("mail", "rate-limited", "sender-ip", ""),),
        letters=12,
        may_fail=True,
    ),
    Case(
        "refused-in-the-body",
        [{"kind": "too-large", "step": "body", "octets": 1000}],
        (Failure("body", "network", "network", ""), Failure("dot", "message-too-large", "content", "Message too large")),
        end=BOUNCED,
        size=LARGE,
        may_fail=True,
    ),
]
"""Tolerance that depends on who asks, when, and how large it is."""

CASES = STALLS + CUTS + PIECES + COUNTS + OVERLAP + TLS + HOSTS + PASSING
