"""What a scenario file says: the mailbox providers of the fake Internet, their tempers, and names that only the name server knows.

A temper is a condition and what the provider then does. Most kinds are answers: tried in the order of the file at each step of the
dialogue, the first that fires decides by its reply or by hanging up. Those in `MANNERS` are ways to speak and to listen: all that fire
hold, and the dialogue goes on. `kind` gives the defaults (step, reply, category), every field can be said instead. Chance is a hash of
provider, temper and recipient, so that the same scenario treats the same recipients the same way every time, and one can predict it. A
wrong scenario is refused with every error at once.
"""

import enum
import tomllib
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from config.model import Model
from config.units import Duration, Size
from mail.outcome import Category

Certificate = Literal["self-signed", "good", "expired", "wrong-name", "untrusted"]

SCENARIOS = Path(__file__).parent / "scenarios"


class Step(enum.StrEnum):
    """Where in the dialogue a temper acts."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    """The 220 to STARTTLS is said, the handshake is due."""
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    """354 is said, and `octets` of the message have come."""
    DOT = "dot"


MANNERS: Final = frozenset({"stall", "slow-replies", "slow-reading", "extra-reply", "missing-reply", "garbage"})
"""Kinds that do not answer: they change how the dialogue goes on."""


class Temper(Model):
    """One habit of a provider: all conditions that are given must hold, then it replies, or drops the connection."""

    kind: Literal[
        "unknown-user",
        "inactive-user",
        "mailbox-full",
        "greylist",
        "rate",
        "connections",
        "drop",
        "trouble",
        "content",
        "policy",
        "reputation",
        "domain-reputation",
        "unauthenticated",
        "too-large",
        "relaying",
        "refusal",
        "tls-required",
        "tls-unavailable",
        "stall",
        "slow-replies",
        "slow-reading",
        "extra-reply",
        "missing-reply",
        "garbage",
    ] = Field(description="What it is; gives the defaults of `step`, `reply` and `category`.")
    step: Step | None = Field(None, description="connect, ehlo, starttls, handshake, mail, rcpt, data, body or dot; none: the kind's own.")
    reply: str | None = Field(None, description="Code, enhanced code and text; newlines make a multi-line reply; none: the voice's words.")
    category: Category | None = Field(None, description="Under which name it is counted; none: the kind's own.")
    part: float = Field(1.0, ge=0, le=1, description="Part of the recipients it concerns, chosen by a hash of the address.")
    recipients: list[str] = Field(default=[], description="Patterns (`*`, `?`) of recipients it concerns; none: all.")
    senders: list[str] = Field(default=[], description="Patterns of envelope senders it concerns; none: all.")
    sources: list[str] = Field(default=[], description="Networks of the client addresses it concerns; none: all.")
    contains: str | None = Field(None, description="Only messages that contain this text.")
    unsigned: bool = Field(False, description="Only messages without a DKIM signature.")
    clear: bool = Field(False, description="Only connections without TLS.")
    pipelined: bool = Field(False, description="Only commands with more behind them in what has arrived.")
    from_message: int = Field(1, ge=1, description="Only from the so-manieth MAIL of a connection on.")
    larger: Size | None = Field(None, description="Only messages of more octets than this.")
    times: int = Field(0, ge=0, description="Only the first attempts of a delivery, so many; 0: every attempt.")
    most: int = Field(0, ge=0, description="It fires so many times in all, then never again; 0: without end.")
    after: Duration = Field(0.0, description="Only from so long after the provider's first visitor on.")
    until: Duration | None = Field(None, description="Only until so long after the provider's first visitor; none: without end.")
    every: Duration | None = Field(None, gt=0, description="`after` and `until` begin anew each time this is over; none: once.")
    seconds: Duration = Field(
        0.0,
        description="greylist: refuse until so long after the first attempt of (network, sender, recipient). stall: so long; 0: for ever.",
    )
    octets: int = Field(1, ge=1, description="slow-replies, slow-reading: octets at once. At the step body: octets that come before it.")
    pace: Duration = Field(1.0, description="slow-replies, slow-reading: time from one piece to the next.")
    messages: int = Field(0, ge=0, description="rate: messages in `per` that pass; connections: connections open at once.")
    per: Duration = Field(1.0, gt=0, description="rate: length of the sliding window.")
    penalty: Duration = Field(0.0, description="rate: after the limit was reached, nothing passes for so long.")
    taken: bool = Field(False, description="drop at the dot: the message was taken although no reply came.")


class Mailboxes(Model):
    """One mailbox provider: its domains, where it listens, what it offers and how it behaves."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="Name in counts and reports.")
    domains: list[str] = Field(min_length=1, description="Recipient domains; their MX points here.")
    mx: list[str] = Field(default=[], description="MX host names, best first; none: `mx.NAME.test`.")
    dead: list[str] = Field(default=[], description="Those of `mx` at whose address connections are refused.")
    silent: list[str] = Field(default=[], description="Those of `mx` at whose address nothing answers, not even a refusal.")
    address: str | None = Field(None, description="Loopback address; none: the next free one of 127.0.0.11 and up.")
    voice: str = Field("plain", description="Whose words it uses: a section of words.toml.")
    pipelining: bool = Field(True, description="Offers PIPELINING.")
    eight_bit: bool = Field(True, description="Offers 8BITMIME.")
    smtputf8: bool = Field(True, description="Offers SMTPUTF8.")
    starttls: bool = Field(True, description="Offers STARTTLS.")
    certificate: Certificate = Field("self-signed", description="What its hosts show: see sandbox.certificate.")
    tlsa: Literal["none", "key", "issuer", "wrong", "unusable"] = Field(
        "none",
        description="TLSA records of its hosts: of the key (3 1 1), the issuer (2 0 1), another key, or only of a usage SMTP has not.",
    )
    requiretls: bool = Field(False, description="Offers REQUIRETLS under TLS.")
    size: Size = Field(25_000_000, ge=1000, description="Largest message, announced by SIZE.")
    delay: Duration = Field(0.0, description="Time before each reply.")
    weight: int = Field(10, ge=0, description="How much of a campaign goes to its domains, beside the weights of the others.")
    listening: bool = Field(True, description="False: nobody answers at its address (connection refused).")
    temper: list[Temper] = Field(default=[], description="Habits, tried in order.")

    @model_validator(mode="after")
    def _known_hosts(self) -> Self:
        unknown = sorted({*self.dead, *self.silent} - set(self.mx))
        if unknown:
            raise ValueError(f"dead and silent name hosts that are not in mx: {', '.join(unknown)}")
        return self


class Name(Model):
    """What the name server says about one name (`*.example` for names below it), beside what follows from the providers."""

    name: str = Field(description="Owner name.")
    records: list[str] = Field(default=[], description='Such as "MX 10 mx.example.test.", "MX 0 .", "A 127.0.0.9", "CNAME x.test."')
    trouble: Literal["none", "servfail", "refused", "hang", "truncate"] = Field(
        "none", description="Answer SERVFAIL or REFUSED, nothing at all, or over UDP always truncated."
    )
    ttl: int = Field(300, ge=0, description="Time to live of the records, in seconds.")


class PolicyHost(Model):
    """The MTA-STS policy of one domain: the web server `mta-sts.DOMAIN`, and the TXT record that announces it."""

    domain: str = Field(description="The recipient domain.")
    policy: str = Field("", description="The policy file; its lines end with CRLF on the way.")
    id: str = Field("1", description="The id in the TXT record; empty: no record.")
    certificate: Certificate = Field("good", description="What the web server shows.")
    trouble: Literal["none", "hang", "too-long", "redirect", "missing", "html", "garbage", "chunked"] = Field(
        "none", description="How it answers badly (`chunked` is not bad, only long-winded)."
    )
    listening: bool = Field(True, description="False: nobody answers at its address.")


class Scenario(Model):
    """A fake Internet."""

    title: str = Field("", description="What it is for, in a line.")
    provider: list[Mailboxes] = Field(default=[], description="Mailbox providers.")
    name: list[Name] = Field(default=[], description="Names of the name server.")
    policy: list[PolicyHost] = Field(default=[], description="MTA-STS policies.")
    signed: list[str] = Field(default=[], description="Zones signed with DNSSEC; others are not.")
    bogus: list[str] = Field(default=[], description="Zones whose signatures are wrong.")
    elsewhere: dict[str, int] = Field(default={}, description="Recipient domains of nobody, and how much of a campaign goes there.")
    keep: int = Field(1000, ge=0, description="Received messages kept for verification, in all.")


def load(path: Path) -> Scenario:
    """The scenario in `path`. Raises OSError, tomllib.TOMLDecodeError or pydantic.ValidationError."""
    return Scenario.model_validate(tomllib.loads(path.read_text("utf-8")))


def shipped(name: str) -> Scenario:
    """The shipped scenario `name` (a file of sandbox/scenarios without its suffix). Raises ValueError where there is none."""
    names = sorted(file.stem for file in SCENARIOS.glob("*.toml"))
    if name not in names:
        raise ValueError(f"there is no scenario {name}; there are {', '.join(names)}, and files that end with .toml")
    return load(SCENARIOS / f"{name}.toml")
