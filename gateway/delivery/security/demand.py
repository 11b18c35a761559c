"""The name of a route as flows carry it: MX hosts, what the domains' policies ask of them, and what the mail demands (pure).

    mx1.example,mx2.example            no policy: what every domain at these hosts shares
    mx1.example,mx2.example;sts        domains whose MTA-STS policy names all of these hosts
    …;sts(mx1.example)                 … names only this one;   ;sts-testing, ;dane, ;dane,sts
    …;sts!requiretls                   mail of these domains that demands REQUIRETLS

A connection serves one such name, so it satisfies everybody whose mail it is handed, and one domain's broken policy has a name, a pause and
connections of its own (decision 0020).
"""

from collections.abc import Sequence

from gateway.delivery.security.levels import Demand, Security
from gateway.delivery.security.sts_policy import Mode

_TAGS = {Mode.ENFORCE: "sts", Mode.TESTING: "sts-testing"}


def tag(security: Security, hosts: Sequence[str]) -> str:
    """What `security` adds to the name of the route by `hosts`; "" when it asks for nothing."""
    parts = ["dane"] if security.dane else []
    if security.mode is not Mode.NONE:
        named = [host for host in hosts if host in security.named]
        parts.append(_TAGS[security.mode] + ("" if len(named) == len(hosts) else f"({' '.join(sorted(named))})"))
    return f";{','.join(parts)}" if parts else ""


def demanded(key: str, demand: Demand) -> str:
    """The name of the route `key` for mail with this demand."""
    return f"{key}!{demand.value}" if demand is not Demand.NOTHING else key


def undemanded(key: str) -> tuple[str, Demand]:
    """The name without the demand, and the demand; of a name that nobody gave, NOTHING."""
    base, mark, name = key.rpartition("!")
    return (base, Demand(name)) if mark and name in list(Demand) else (key, Demand.NOTHING)


def demand_of(stream_tls: str | None, requiretls: bool, relaxed: bool, proven: bool, doubted: bool = False) -> Demand:
    """What mail of a stream with `tls` demands. REQUIRETLS goes before `TLS-Required: No` (RFC 8689 section 3); a stream
    asks for less than the one and does not give in to the other. `proven`: the domain's MX hosts are authenticated;
    `doubted`: that could not be found out."""
    if requiretls:
        return Demand.REQUIRETLS if proven else Demand.DOUBTED if doubted else Demand.UNPROVEN
    if stream_tls is not None:
        return Demand(stream_tls)
    return Demand.RELAXED if relaxed else Demand.NOTHING
