"""Settings of the ways out: domains and their keys, streams, sources, pools, routes, providers, DNS."""

import enum
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.model import Model
from config.units import (
    DomainName,
    DomainPattern,
    Duration,
    ExistingFile,
    Ip,
    NameServer,
    NoneWord,
    Rate,
    Word,
    check_domain,
    check_domain_pattern,
)


class DkimAlgorithm(enum.StrEnum):
    """RFC 6376 with RFC 8301, and RFC 8463."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


class DkimKey(Model):
    """One signing key of a domain. While two keys of the same algorithm are listed, the first signs; the others wait to be published."""

    selector: DomainName = Field(description="Selector: the record is at SELECTOR._domainkey.DOMAIN.")
    file: ExistingFile = Field(description="PEM file with the private key, relative to the configuration file.")
    algorithm: DkimAlgorithm = Field(DkimAlgorithm.RSA_SHA256, description="`rsa-sha256` or `ed25519-sha256`.")


class Domain(Model):
    """A sending domain."""

    name: DomainPattern = Field(description="The domain; a leading dot or `*.` means its subdomains too.")
    return_domain: DomainName | None = Field(None, description="Domain of return paths; none: the gateway's. Its MX must point here.")
    dkim: list[DkimKey] = Field(default=[], description="Keys that sign mail From this domain.")
    without_key: Literal["gateway", "unsigned", "refuse"] = Field(
        "gateway", description="With no key: sign as the gateway's domain only, send unsigned, or refuse (550 5.7.1)."
    )


class Retry(Model):
    """Retry schedule of a stream: delay(n) = first * growth ** (n - 1), at most `longest`, with jitter, until `lifetime` is over."""

    first: Duration = Field(300.0, gt=0, description="Delay after the first deferral.")
    growth: float = Field(2.0, ge=1, le=10, description="Factor from one delay to the next.")
    longest: Duration = Field(14_400.0, gt=0, description="Longest delay.")
    jitter: float = Field(0.1, ge=0, le=0.5, description="Part of a delay, at most, that chance adds or takes away.")
    lifetime: Duration = Field(259_200.0, gt=0, description="Time after acceptance at which a delivery expires.")
    greylisted: Duration = Field(300.0, gt=0, description="Delay after greylisting; the same source tries again.")
    unsure: Duration = Field(900.0, gt=0, description="Delay after a reply lost behind the final dot.")
    rest: Duration = Field(60.0, gt=0, description="Least delay after a rate or reputation limit; the lane may rest longer.")

    @model_validator(mode="after")
    def _delays_grow(self) -> Self:
        if self.longest < self.first:
            raise ValueError("longest must not be shorter than first")
        return self


class Stream(Model):
    """A kind of mail: its pool, priority, retries."""

    name: Word = Field(description="Name, as header fields and events carry it.")
    kind: Literal["transactional", "marketing"] = Field("marketing", description="Transactional mail has no campaign.")
    pool: str = Field("default", description="Pool of sources it leaves by.")
    priority: Literal["high", "normal", "low"] = Field(
        "normal", description="Class; a higher one is served first, each has a reserved share."
    )
    retry: Retry = Field(default_factory=Retry, description="Retry schedule.")
    tls: Annotated[Literal["required", "verified"] | None, NoneWord] = Field(
        None, description="Least TLS for its mail, whatever the provider: `required` or `verified` (see `tls` of a provider)."
    )
    unsure: Literal["retry", "fail"] = Field(
        "retry", description="A reply lost after the final dot: retried once after 15 minutes (a duplicate is possible), or not at all."
    )


class Source(Model):
    """An egress IP with its EHLO name."""

    name: Word = Field(description="Name in lanes, logs and metrics.")
    address: Ip | None = Field(None, description="IPv4 address to send from; none: the system chooses.")
    address6: Ip | None = Field(None, description="IPv6 address to send from; none: no IPv6.")
    ehlo: DomainName | None = Field(None, description="EHLO name; none: the gateway's hostname.")

    @model_validator(mode="after")
    def _addresses_are_of_their_kind(self) -> Self:
        if self.address is not None and ":" in self.address:
            raise ValueError("address is an IPv4 address; an IPv6 address goes into address6")
        if self.address6 is not None and ":" not in self.address6:
            raise ValueError("address6 is an IPv6 address; an IPv4 address goes into address")
        return self


class Pool(Model):
    """Sources with weights. Where none is configured, all sources are in the pool `default`."""

    name: Word = Field(description="Name.")
    members: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(min_length=1, description="Source name to weight (1 to 1000).")


class RouteTls(enum.StrEnum):
    """TLS towards the next hop. `required` promises encryption, with any certificate; `verified` wants one valid for the host's name."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


class StaticRoute(Model):
    """A next hop for some domains, instead of their MX."""

    domain: str = Field(description="Recipient domain; `*.example` its subdomains; `*` every domain that no other route names.")
    host: str = Field(description="Host name or IP address.")
    port: int = Field(25, ge=1, le=65_535, description="Port.")
    tls: RouteTls | None = Field(None, description="As `tls` of a provider; none given: the provider's.")
    provider: str = Field("smarthost", description="Provider whose limits hold for this next hop.")

    @field_validator("domain")
    @classmethod
    def _domain_or_star(cls, domain: str) -> str:
        return domain if domain == "*" else check_domain_pattern(domain)


class Provider(Model):
    """A mailbox operator as the receiver sees us, and what it tolerates per source (a lane)."""

    name: Word = Field(description="Name in lanes, metrics and events.")
    mx: list[str] = Field(default=[], description="MX host suffixes, such as `.google.com`; a trailing dot is ignored.")
    domains: list[DomainName] = Field(default=[], description="Recipient domains, for operators whose MX names say nothing.")
    connections: int = Field(10, ge=1, description="Open connections per lane.")
    messages_per_connection: int = Field(100, ge=1, description="Messages after which a connection is closed.")
    rate: Annotated[Rate | None, NoneWord] = Field(100.0, description="Messages per second per lane; `none`: no limit.")
    burst: int = Field(10, ge=1, description="Messages that may leave at once before the rate holds.")
    tls: RouteTls = Field(
        RouteTls.OPPORTUNISTIC,
        description="none, opportunistic, required (never in the clear, any certificate) or verified (the certificate must be valid "
        "for the host). What a domain publishes (MTA-STS, DANE) can ask for more, except with none.",
    )
    connect_timeout: Duration = Field(30.0, gt=0, description="Time for a TCP connection.")
    pause: Duration = Field(
        30.0,
        gt=0,
        le=900,
        description="First pause of a lane that was told to slow down; each further one is twice as long, up to 15 minutes.",
    )
    idle: Duration = Field(5.0, ge=0, description="Time a connection without work is kept for the next message.")

    @field_validator("mx")
    @classmethod
    def _suffixes(cls, mx: list[str]) -> list[str]:
        """In the form they are compared in: lower case, no trailing dot (with one, a suffix would never match)."""
        return [("." if suffix.startswith(".") else "") + check_domain(suffix.strip(".")) for suffix in mx]


class Dns(Model):
    """How names are resolved."""

    servers: list[NameServer] = Field(default=[], description="Name servers as `IP` or `IP:port`; none: the system's.")
    timeout: Duration = Field(10.0, gt=0, description="Time for one question, with its repeats.")
    cache_entries: int = Field(100_000, ge=100, description="Entries kept in RAM.")
    longest_ttl: Duration = Field(3600.0, description="Answers are asked again after this, whatever their TTL.")
    negative_ttl: Duration = Field(300.0, description="How long a missing name is remembered, at most.")
    stale: Duration = Field(86_400.0, description="How long an old answer is used while the servers do not answer.")
    allow_private: bool = Field(
        False, description="Deliver to private, loopback and own addresses found in an MX. For the sandbox and tests."
    )
    port: int = Field(25, ge=1, le=65_535, description="SMTP port of MX hosts. Other than 25 only in tests.")
    validating: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether the name servers check DNSSEC and may be believed when they say so (DANE needs it). "
        "`auto`: yes when all of them are on this machine's loopback.",
    )


class Trust(Model):
    """How the identity of next hops is checked, and what is told to domains that ask for reports."""

    mta_sts: bool = Field(True, description="Look for MTA-STS policies of recipient domains, and keep to them.")
    dane: bool = Field(True, description="Look for DANE records of MX hosts, where `dns.validating` allows it.")
    authorities: ExistingFile | None = Field(None, description="PEM file of the authorities to trust; none given: the system's.")
    policy_timeout: Duration = Field(10.0, gt=0, le=60, description="Time for fetching an MTA-STS policy.")
    policies: int = Field(20_000, ge=10, le=1_000_000, description="MTA-STS policies kept.")
    policy_port: int = Field(443, ge=1, le=65_535, description="Port of hosts with MTA-STS policies. Other than 443 only in tests.")
    reports: bool = Field(True, description="Send a TLS report a day to domains with MTA-STS or DANE that ask for it.")
    report_contact: str = Field("", max_length=200, description="Contact named in reports; empty: the postmaster of the gateway's domain.")


class Sending(Model):
    """What holds for every message that leaves."""

    tls: Trust = Field(default_factory=Trust, description="How the identity of next hops is checked.")

    unsettled: int = Field(256, ge=16, le=10_000, description="`max_unsettled`: outcomes not yet on disk before connections stop pulling.")
    window: int = Field(200, ge=4, description="Deliveries of one flow kept in RAM.")
    windows: int = Field(20_000, ge=100, description="Deliveries kept in RAM in all.")
    body_memory: int = Field(64_000_000, ge=0, description="Octets of just accepted messages kept in RAM for their first attempt.")
    connections: int = Field(2000, ge=1, description="Outgoing connections in all.")
    signing_processes: int = Field(1, ge=1, le=64, description="Processes that make RSA signatures; one makes about 4,000 a second.")
    greeting_timeout: Duration = Field(300.0, gt=0, description="RFC 5321 4.5.3.2.1: time for the 220 greeting.")
    command_timeout: Duration = Field(300.0, gt=0, description="RFC 5321 4.5.3.2.2 and .3: time for the replies to EHLO, MAIL and RCPT.")
    data_timeout: Duration = Field(120.0, gt=0, description="RFC 5321 4.5.3.2.4: time for the 354.")
    block_timeout: Duration = Field(180.0, gt=0, description="RFC 5321 4.5.3.2.5: time in which a block of the message must leave.")
    dot_timeout: Duration = Field(600.0, gt=0, description="RFC 5321 4.5.3.2.6: time for the reply to the final dot.")
