"""Settings of the ways in: listeners, accounts, and their limits."""

import enum
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.model import Model
from config.units import Duration, ExistingFile, HostPort, Network, NoneWord, Rate, Size, Word, check_domain_pattern

_HASH = re.compile(r"scrypt\$\d{1,9}\$\d{1,4}\$\d{1,3}\$[A-Za-z0-9+/]+=*\$[A-Za-z0-9+/]+=*")


class ListenerTls(enum.StrEnum):
    """How a listener speaks TLS."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Limits(Model):
    """Limits of one listener. Reaching one answers 4xx, never 5xx, except a message over `message_size` (552 5.3.4)."""

    connections: int = Field(1000, ge=1, description="Open connections in all; one more is answered 421 4.7.0.")
    connections_per_ip: int = Field(100, ge=1, description="Open connections from one address; one more is answered 421 4.7.0.")
    message_size: Size = Field(50_000_000, ge=1024, description="Largest message; announced by SIZE.")
    recipients: int = Field(1000, ge=1, le=100_000, description="Recipients per message; one more is answered 452 4.5.3.")
    messages_per_connection: int = Field(100_000, ge=1, description="Messages per connection, then 421.")
    errors: int = Field(20, ge=1, description="Refused or unknown commands in one connection, then 421 and close.")
    idle_commands: int = Field(
        1000, ge=10, description="NOOP, RSET, EHLO and others that carry no mail forward, since the last message, then 421 and close."
    )
    command_timeout: Duration = Field(300.0, description="Time a client may take to finish a command.")
    data_timeout: Duration = Field(1800.0, description="Time a client may take for one message.")
    minimum_rate: Size = Field(512, description="Least octets per second of a message, averaged over its transfer after the first 30 s.")
    session_timeout: Duration = Field(86_400.0, description="Longest life of a connection.")
    proxy_timeout: Duration = Field(10.0, description="Time a proxy may take to tell its client, from the start of the connection.")


class Listener(Model):
    """One listening socket for applications."""

    name: Word = Field("submission", description="Name in logs, metrics and events.")
    address: HostPort = Field("127.0.0.1:2525", description="IP address and port; `[::1]:2525` for IPv6.")
    tls: ListenerTls = Field(ListenerTls.NONE, description="`none`, `starttls` or `implicit`.")
    certificate: ExistingFile | None = Field(None, description="PEM file with the certificate chain; read again when the file changes.")
    key: ExistingFile | None = Field(None, description="PEM file with the private key; read again when the file changes.")
    trusted_networks: list[Network] = Field(
        default=["127.0.0.0/8", "::1/128"],
        description="Networks whose clients need no password and may give one without TLS. They act as `trusted_account`.",
    )
    trusted_account: Annotated[str | None, NoneWord] = Field(
        "default", description="The account trusted clients act as; `none`: they must log in."
    )
    proxy_networks: list[Network] = Field(
        default=[],
        description="Networks of proxies (load balancers) before this listener: they must begin with a PROXY header (version 1 or 2), "
        "and the client it names counts. Nobody else's is believed. A proxy's own address is in no trusted network.",
    )
    bare_newline: Literal["refuse", "normalise"] = Field("refuse", description="A bare CR or LF in a message: 550 5.6.0, or made CRLF.")
    long_lines: Literal["reencode", "refuse"] = Field("reencode", description="Body lines over 998 octets: re-encoded, or 554 5.6.0.")
    limits: Limits = Field(default_factory=Limits, description="Limits of this listener.")

    @model_validator(mode="after")
    def _tls_has_its_files(self) -> Self:
        if self.tls is not ListenerTls.NONE and (self.certificate is None or self.key is None):
            raise ValueError(f'tls = "{self.tls}" needs certificate and key')
        return self

    @field_validator("trusted_networks", "proxy_networks")
    @classmethod
    def _no_open_relay(cls, networks: list[str]) -> list[str]:
        if any(network.endswith("/0") for network in networks):
            raise ValueError("a network of everybody would make an open relay; name the networks of your applications or proxies")
        return networks


class Account(Model):
    """An authenticated application. Its envelope sender and From must be in one of its domains."""

    name: Word = Field(description="Login name; also the name in events.")
    password: str | None = Field(None, repr=False, description="Password hash as `mailwright account add` prints it; none: no login.")
    password_file: ExistingFile | None = Field(None, description="File that holds the password hash.")
    networks: list[Network] = Field(default=[], description="Networks from which the account needs no password.")
    domains: list[str] = Field(default=["*"], description="Sending domains it owns; `*` is every configured domain, `any` any at all.")
    stream: str = Field("default", description="Stream of mail that names none.")
    connections: int = Field(500, ge=1, description="Open connections of this account; one more is answered 421 4.7.0.")
    recipients: int = Field(1000, ge=1, description="Recipients per message; one more is answered 452 4.5.3.")
    message_size: Size = Field(50_000_000, ge=1024, description="Largest message, if smaller than the listener's.")
    refuse_suppressed: bool = Field(
        False,
        description="Recipients who are suppressed in every stream are refused with 550 5.7.1 instead of accepted and not written to.",
    )
    message_rate: Annotated[Rate | None, NoneWord] = Field(
        None, description="Messages it may hand in, smoothed: `3600/h` is one a second; beyond it 451 4.7.1. `none`: no limit."
    )
    message_burst: int = Field(100, ge=1, description="Messages that may come at once before `message_rate` holds.")
    recipient_rate: Annotated[Rate | None, NoneWord] = Field(
        None, description="Recipients of these messages, smoothed likewise; beyond it 451 4.7.1. `none`: no limit."
    )
    recipient_burst: int = Field(1000, ge=1, description="Recipients that may come at once before `recipient_rate` holds.")
    notify: Literal["events", "dsn", "both"] = Field(
        "both",
        description="How outcomes are told: by events, by reports to the envelope sender (DSN), or both. With `dsn` no events in the file.",
    )

    @field_validator("password")
    @classmethod
    def _is_a_hash(cls, password: str | None) -> str | None:
        if password is not None and not _HASH.fullmatch(password.strip()):
            raise ValueError("must be a hash as `mailwright account add` prints it, not the password itself")
        return password.strip() if password is not None else None

    @field_validator("domains")
    @classmethod
    def _domains(cls, domains: list[str]) -> list[str]:
        return [domain if domain in ("*", "any") else _pattern(domain) for domain in domains]

    @field_validator("networks")
    @classmethod
    def _no_open_relay(cls, networks: list[str]) -> list[str]:
        if any(network.endswith("/0") for network in networks):
            raise ValueError("a network of everybody would make an open relay; name the networks of your applications")
        return networks


def _pattern(domain: str) -> str:
    try:
        return check_domain_pattern(domain)
    except ValueError as error:
        raise ValueError(f"{error} (one is {domain!r})") from None


class Logins(Model):
    """Failed logins, counted for each address (IPv6: for its /64)."""

    failures: int = Field(10, ge=1, description="Failed logins of an address at which AUTH from there is answered 421 4.7.0, unseen.")
    expiry: Duration = Field(900.0, gt=0, description="Time in which so many failures are forgotten, one after the other.")
    delay: Duration = Field(0.5, description="Time the answer to the first failure waits; each one more waits twice as long.")
    longest_delay: Duration = Field(10.0, description="Longest wait of an answer.")
    addresses: int = Field(10_000, ge=1, description="Addresses remembered; whose last failure is oldest is forgotten first.")
