"""What is published about TLS for one domain at its MX hosts: MTA-STS policy and DANE records, asked together (RFC 8461, RFC 7672).

DANE needs three secure answers: MX, the host's addresses, TLSA (RFC 7672 sections 2.2.1 and 2.2.2). Where the first two are not both
secure TLSA is not asked for, because broken name servers of unsigned zones answer that badly. A TLSA answer that fails where the
addresses were secure is no absence of DANE: the host must not be used until it is there (section 2.1.1).
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from config.sending import Trust
from gateway.delivery.resolver import Missing, Records, Resolver, Trouble
from gateway.delivery.security.dane import Dane, usable
from gateway.delivery.security.levels import Security
from gateway.delivery.security.sts_policies import StsPolicies
from gateway.delivery.security.sts_policy import Mode, names_host


class Guarded(msgspec.Struct, frozen=True, gc=False):
    """`security` is None where nothing is published. `dane` by host; `until` (Unix seconds) the answers hold. `doubted`: whether there is
    an MTA-STS policy could not be found out."""

    security: Security | None
    dane: dict[str, Dane]
    until: float
    doubted: bool = False


FOREVER: Final = float("inf")


class Guard:
    """See the module. `port` is where the MX hosts listen; `policies` is None where nobody asks for MTA-STS."""

    def __init__(self, trust: Trust, resolver: Resolver, policies: StsPolicies | None, port: int) -> None:
        self._resolver = resolver
        self._policies = policies
        self.reconfigure(trust, port)

    def reconfigure(self, trust: Trust, port: int) -> None:
        """Ask as these settings say from now on."""
        self._dane = trust.dane
        self._port = port
        if self._policies is not None:
            self._policies.reconfigure(trust)

    def domains(self) -> list[str]:
        """Domains with an MTA-STS policy that is known without asking."""
        return [] if self._policies is None else self._policies.domains()

    async def look(self, domain: str, hosts: Sequence[str], mx_secure: bool) -> Guarded:
        """What is published for `domain` at `hosts`; `mx_secure`: the answer that named them was secure."""
        policy = None if self._policies is None else await self._policies.of(domain)
        dane, until = await self._records(hosts) if mx_secure else ({}, FOREVER)
        if policy is None and not dane:
            doubt = 0.0 if self._policies is None else self._policies.in_doubt(domain)
            return Guarded(None, {}, min(until, doubt or FOREVER), doubt > 0)
        mode = Mode.NONE if policy is None else policy.mode
        named = () if policy is None else tuple(host for host in hosts if names_host(policy, host))
        return Guarded(Security(mode, named, bool(dane)), dane, until)

    async def again(self, hosts: Sequence[tuple[str, Dane | None]]) -> dict[str, Dane]:
        """DANE of hosts that had it a while ago, as it is now: records change with certificates, connections come long after a route."""
        found, _ = await self._records([name for name, dane in hosts if dane is not None])
        return found

    async def _records(self, hosts: Sequence[str]) -> tuple[dict[str, Dane], float]:
        if not self._dane or not self._resolver.validating:
            return {}, FOREVER
        answers = await asyncio.gather(*(self._of_host(host) for host in hosts))
        found = {host: dane for host, (dane, _) in zip(hosts, answers, strict=True) if dane is not None}
        return found, min((until for _, until in answers), default=FOREVER)

    async def _of_host(self, host: str) -> tuple[Dane | None, float]:
        """DANE of one host. RFC 7672 section 2.2.2: of an alias, the name that has the addresses is asked first, then the one MX names."""
        addresses = await self._addresses(host)
        if isinstance(addresses, Trouble):
            return Dane(host, trouble=f"the address of {host}: {addresses.why}"), FOREVER
        if not addresses.secure:
            return None, FOREVER
        until = FOREVER
        for base in filter(None, (addresses.canonical, host)):
            found = await self._resolver.tlsa(base, self._port)
            until = min(until, found.until)
            match found.answer:
                case Trouble(why=why):
                    return Dane(base, trouble=f"the TLSA records of {base}: {why}"), until
                case Records(secure=True, tlsa=records) if records:
                    return Dane(base, usable(records)), until
                case Records() | Missing():
                    pass
        return None, until

    async def _addresses(self, host: str) -> Records | Trouble:
        """The answer that gave the host's addresses; it is in the cache, because the host has a route."""
        for six in (False, True):
            answer = (await self._resolver.addresses(host, six)).answer
            if isinstance(answer, Trouble) or (isinstance(answer, Records) and answer.addresses):
                return answer
        return Records()
