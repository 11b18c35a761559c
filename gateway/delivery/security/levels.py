"""How TLS to one host must be: the table that decides from everything known (pure).

What is known: what the operator configured (`tls` of provider, route or stream), the domain's MTA-STS policy, DANE of the host, what the
message itself demands (REQUIRETLS, or `TLS-Required: No`). The answer is `Ways`, the ways to talk to this host in the order to try them,
or `Shut`: not at all, and why.

In words, first match wins:
- the message demands REQUIRETLS (RFC 8689 section 4.2.1): a host whose name is authenticated (DNSSEC, MTA-STS, or the operator's own route)
  and a verified certificate, by DANE where there is DANE; nothing else.
- the operator said `none`: in the clear, whatever the domain publishes.
- the message says `TLS-Required: No` (RFC 8689 section 4.2.2): the domain's policies are passed over.
- DANE records that could not be had, or are bogus: not this host (RFC 7672 section 2.1.1).
- usable DANE records: DANE. MTA-STS never overrides it, in neither direction (RFC 8461 section 2).
- MTA-STS in mode enforce: the certificate must be valid for the host, and the host named by the policy (RFC 8461 section 4).
- MTA-STS in mode testing: the same is tried first and reported, then as without a policy (RFC 8461 section 5).
- DANE records of which none is usable: TLS, with any certificate (RFC 7672 section 2.2).
- else as configured.
What the operator asks for (required, verified) is a floor below all of these.
"""

import enum
from typing import Final

import msgspec

from config.sending import RouteTls
from gateway.delivery.security.dane import Dane
from gateway.delivery.security.result import Result
from gateway.delivery.security.sts_policy import Mode


class Way(enum.Enum):
    """How a connection is protected. The value is its name in events and metrics."""

    CLEAR = "clear"
    ENCRYPTED = "encrypted"
    CERTIFICATE = "certificate"
    """The certificate is valid for the host's name, by a known authority."""
    DANE = "dane"


class Demand(enum.StrEnum):
    """What a message or its stream demands beside the domain's policies. The value is a part of a flow's route key."""

    NOTHING = ""
    REQUIRED = "required"
    VERIFIED = "verified"
    REQUIRETLS = "requiretls"
    UNPROVEN = "requiretls-unproven"
    """REQUIRETLS, to a domain whose MX hosts nobody authenticates: it cannot be sent."""
    DOUBTED = "requiretls-doubted"
    """REQUIRETLS, to a domain of which nobody could say that now: its MTA-STS policy could not be had."""
    RELAXED = "relaxed"
    """TLS-Required: No."""


class Security(msgspec.Struct, frozen=True, gc=False):
    """What a domain publishes: the mode of its MTA-STS policy and which MX hosts the policy names; whether its hosts may have DANE."""

    mode: Mode = Mode.NONE
    named: tuple[str, ...] = ()
    dane: bool = False


class Ways(msgspec.Struct, frozen=True, gc=False):
    """In this order. `policy` says what asked for it, for events; `broken` is a failure that is known before connecting and prevents
    nothing, with `why` for people."""

    ways: tuple[Way, ...]
    policy: str = ""
    broken: Result | None = None
    why: str = ""


class Shut(msgspec.Struct, frozen=True, gc=False):
    """This host must not be used. `lasting`: it will not become better, so a message that asks for this cannot be sent."""

    policy: str
    why: str
    result: Result
    lasting: bool = False


_FLOOR: Final = {RouteTls.NONE: 0, RouteTls.OPPORTUNISTIC: 0, RouteTls.REQUIRED: 1, RouteTls.VERIFIED: 2}
_STRENGTH: Final = {Way.CLEAR: 0, Way.ENCRYPTED: 1, Way.CERTIFICATE: 2, Way.DANE: 2}
_CONFIGURED: Final = {
    RouteTls.NONE: Ways((Way.CLEAR,)),
    RouteTls.OPPORTUNISTIC: Ways((Way.ENCRYPTED, Way.CLEAR)),
    RouteTls.REQUIRED: Ways((Way.ENCRYPTED,), "required"),
    RouteTls.VERIFIED: Ways((Way.CERTIFICATE,), "verified"),
}
_BROKEN_MX: Final = "is not named by the MTA-STS policy of the domain"


def level(tls: RouteTls, demand: Demand) -> RouteTls:
    """What is configured, when the stream demands more than the provider."""
    asked = {Demand.REQUIRED: RouteTls.REQUIRED, Demand.VERIFIED: RouteTls.VERIFIED}.get(demand, tls)
    return asked if _FLOOR[asked] > _FLOOR[tls] else tls


def ways(tls: RouteTls, demand: Demand, security: Security | None, host: str, dane: Dane | None) -> Ways | Shut:
    """How to talk to `host`. See the module."""
    tls = level(tls, demand)
    if demand in (Demand.REQUIRETLS, Demand.UNPROVEN, Demand.DOUBTED):
        return _requiretls(tls, demand, security, host, dane)
    if tls is RouteTls.NONE or demand is Demand.RELAXED or security is None:
        return _CONFIGURED[tls]
    asked = _published(security, host, dane)
    if asked is None:
        return _CONFIGURED[tls]
    return asked if isinstance(asked, Shut) else _at_least(asked, tls)


def _published(security: Security, host: str, dane: Dane | None) -> Ways | Shut | None:
    """What the domain's own policies ask."""
    if dane is not None and dane.trouble:
        return Shut("dane", dane.trouble, Result.DNSSEC_INVALID)
    if dane is not None and dane.records:
        return Ways((Way.DANE,), "dane")
    named = host in security.named
    if security.mode is Mode.ENFORCE:
        return Ways((Way.CERTIFICATE,), "mta-sts") if named else Shut("mta-sts", f"{host} {_BROKEN_MX}", Result.VALIDATION)
    any_certificate = dane is not None
    opportunistic = (Way.ENCRYPTED,) if any_certificate else (Way.ENCRYPTED, Way.CLEAR)
    if security.mode is Mode.TESTING and named:
        return Ways((Way.CERTIFICATE, *opportunistic), "mta-sts-testing")
    if security.mode is Mode.TESTING:
        return Ways(opportunistic, "mta-sts-testing", Result.VALIDATION, f"{host} {_BROKEN_MX}")
    if any_certificate:
        return Ways(opportunistic, "dane-unusable", Result.TLSA_INVALID, f"no TLSA record of {host} is usable")
    return None


def _at_least(asked: Ways, tls: RouteTls) -> Ways:
    """Of what was asked, what satisfies the operator too."""
    kept = tuple(way for way in asked.ways if _STRENGTH[way] >= _FLOOR[tls])
    if kept == asked.ways:
        return asked
    return Ways(kept or _CONFIGURED[tls].ways, asked.policy, asked.broken, asked.why)


def _requiretls(tls: RouteTls, demand: Demand, security: Security | None, host: str, dane: Dane | None) -> Ways | Shut:
    if tls is RouteTls.NONE:
        return Shut("requiretls", f"TLS to {host} is switched off", Result.NO_STARTTLS, lasting=True)
    if dane is not None and dane.trouble:
        return Shut("requiretls", dane.trouble, Result.DNSSEC_INVALID)
    if demand is not Demand.REQUIRETLS:
        why = f"neither DNSSEC nor MTA-STS proves that {host} serves the domain"
        return Shut("requiretls", why, Result.VALIDATION, lasting=demand is Demand.UNPROVEN)
    if dane is not None and dane.records:
        return Ways((Way.DANE,), "requiretls")
    if security is not None and security.mode is not Mode.NONE and host not in security.named:
        return Shut("requiretls", f"{host} {_BROKEN_MX}", Result.VALIDATION, lasting=True)
    return Ways((Way.CERTIFICATE,), "requiretls")
