"""Settings of the ways out: domains and their keys, streams, sources, pools, routes, providers, DNS."""

import enum
from pathlib import Path
from typing import Literal

from pydantic import Field

from config.model import Model
from config.units import Duration, Rate


class DkimAlgorithm(enum.StrEnum):
    """RFC 6376 with RFC 8301, and RFC 8463."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


class DkimKey(Model):
    """One signing key of a domain. While two keys of the same algorithm are listed, the first signs; the others wait to be published."""

    selector: str = Field(description="Selector: the record is at SELECTOR._domainkey.DOMAIN.")
    file: Path = Field(description="PEM file with the private key, relative to the configuration file.")
    algorithm: DkimAlgorithm = Field(DkimAlgorithm.RSA_SHA256, description="`rsa-sha256` or `ed25519-sha256`.")


class Domain(Model):
    """A sending domain."""

    name: str = Field(description="The domain; a leading dot or `*.` means its subdomains too.")
    return_domain: str | None = Field(None, description="Domain of return paths; none: the gateway's. Its MX must point here.")
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


class Stream(Model):
    """A kind of mail: its pool, priority, retries."""

    name: str = Field(description="Name, as header fields and events carry it.")
    kind: Literal["transactional", "marketing"] = Field("marketing", description="Transactional mail has no campaign.")
    pool: str = Field("default", description="Pool of sources it leaves by.")
    priority: Literal["high", "normal", "low"] = Field(
        "normal", description="Class; a higher one is served first, each has a reserved share."
    )
    retry: Retry = Field(default_factory=Retry, description="Retry schedule.")
    unsure: Literal["retry", "fail"] = Field(
        "retry", description="A reply lost after the final dot: retried once after 15 minutes (a duplicate is possible), or not at all."
    )


class Source(Model):
    """An egress IP with its EHLO name."""

    name: str = Field(description="Name in lanes, logs and metrics.")
    address: str | None = Field(None, description="IPv4 address to send from; none: the system chooses.")
    address6: str | None = Field(None, description="IPv6 address to send from; none: no IPv6.")
    ehlo: str | None = Field(None, description="EHLO name; none: the gateway's hostname.")


class Pool(Model):
    """Sources with weights."""

    name: str = Field(description="Name.")
    members: dict[str, int] = Field(description="Source name to weight (1 to 1000).")


class RouteTls(enum.StrEnum):
    """TLS towards the next hop."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


class StaticRoute(Model):
    """A next hop for some domains, instead of their MX."""

    domain: str = Field(description="Recipient domain; `*.example` its subdomains; `*` every domain that no other route names.")
    host: str = Field(description="Host name or IP address.")
    port: int = Field(25, ge=1, le=65_535, description="Port.")
    tls: RouteTls | None = Field(None, description="none, opportunistic or required; none given: the provider's.")
    provider: str = Field("smarthost", description="Provider whose limits hold for this next hop.")


class Provider(Model):
    """A mailbox operator as the receiver sees us, and what it tolerates per source (a lane)."""

    name: str = Field(description="Name in lanes, metrics and events.")
    mx: list[str] = Field(default=[], description="MX host suffixes, such as `.google.com`; a trailing dot is ignored.")
    domains: list[str] = Field(default=[], description="Recipient domains, for operators whose MX names say nothing.")
    connections: int = Field(10, ge=1, description="Open connections per lane.")
    messages_per_connection: int = Field(100, ge=1, description="Messages after which a connection is closed.")
    rate: Rate | None = Field(100.0, description="Messages per second per lane; none: no limit.")
    burst: int = Field(10, ge=1, description="Messages that may leave at once before the rate holds.")
    tls: RouteTls = Field(RouteTls.OPPORTUNISTIC, description="none, opportunistic or required.")
    connect_timeout: Duration = Field(30.0, gt=0, description="Time for a TCP connection.")
    idle: Duration = Field(5.0, ge=0, description="Time a connection without work is kept for the next message.")


class Dns(Model):
    """How names are resolved."""

    servers: list[str] = Field(default=[], description="Name servers as `IP` or `IP:port`; none: the system's.")
    timeout: Duration = Field(10.0, gt=0, description="Time for one question, with its repeats.")
    cache_entries: int = Field(100_000, ge=100, description="Entries kept in RAM.")
    longest_ttl: Duration = Field(3600.0, description="Answers are asked again after this, whatever their TTL.")
    negative_ttl: Duration = Field(300.0, description="How long a missing name is remembered, at most.")
    stale: Duration = Field(86_400.0, description="How long an old answer is used while the servers do not answer.")
    allow_private: bool = Field(
        False, description="Deliver to private, loopback and own addresses found in an MX. For the sandbox and tests."
    )
    port: int = Field(25, ge=1, le=65_535, description="SMTP port of MX hosts. Other than 25 only in tests.")


class Sending(Model):
    """What holds for every message that leaves."""

    unsettled: int = Field(256, ge=16, le=10_000, description="`max_unsettled`: outcomes not yet on disk before connections stop pulling.")
    window: int = Field(200, ge=4, description="Deliveries of one flow kept in RAM.")
    windows: int = Field(20_000, ge=100, description="Deliveries kept in RAM in all.")
    body_memory: int = Field(64_000_000, ge=0, description="Octets of just accepted messages kept in RAM for their first attempt.")
    connections: int = Field(2000, ge=1, description="Outgoing connections in all.")
    signing_threads: int = Field(2, ge=1, le=64, description="Threads that sign.")
    greeting_timeout: Duration = Field(300.0, gt=0, description="RFC 5321 4.5.3.2.1: time for the 220 greeting.")
    command_timeout: Duration = Field(300.0, gt=0, description="RFC 5321 4.5.3.2.2 and .3: time for the replies to EHLO, MAIL and RCPT.")
    data_timeout: Duration = Field(120.0, gt=0, description="RFC 5321 4.5.3.2.4: time for the 354.")
    block_timeout: Duration = Field(180.0, gt=0, description="RFC 5321 4.5.3.2.5: time in which a block of the message must leave.")
    dot_timeout: Duration = Field(600.0, gt=0, description="RFC 5321 4.5.3.2.6: time for the reply to the final dot.")
