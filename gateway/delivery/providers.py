"""Which mailbox operator stands behind a set of MX hosts (pure): the pair (source, provider) is what receivers judge.

A configured provider is found by recipient domain, else by MX suffix: on label boundaries, trailing dots ignored, longest match
wins, the first in the configuration at equal length. Where the MX hosts of a domain disagree, the majority of the most preferred decides.
Everybody else is named by the registrable domains of the most preferred MX hosts, so that a thousand domains hosted at one company share
one lane.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from publicsuffixlist import PublicSuffixList

from config.sending import Provider
from mail.address import normalise_domain

_MOST_NAMES: Final = 3
"""Registrable domains in the name of an unconfigured provider."""


class ProviderTable:
    """The configured providers, indexed."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._names: dict[str, Provider] = {}
        self._suffixes: dict[str, str] = {}
        self._domains: dict[str, str] = {}
        for provider in providers:
            self._names.setdefault(provider.name, provider)
            for suffix in provider.mx:
                self._suffixes.setdefault(suffix.lower().strip().strip(".").removeprefix("*."), provider.name)
            for domain in provider.domains:
                self._domains.setdefault(normalise_domain(domain) or domain, provider.name)

    def named(self, name: str) -> Provider | None:
        """The configured provider called `name`."""
        return self._names.get(name)

    def of_host(self, host: str) -> str | None:
        """The provider whose longest MX suffix `host` ends with."""
        rest = host.rstrip(".").lower()
        while rest:
            name = self._suffixes.get(rest)
            if name is not None:
                return name
            rest = rest.partition(".")[2]
        return None

    def of(self, domain: str, hosts: Sequence[tuple[int, str]]) -> tuple[str, bool]:
        """Name of the provider of `domain` with `hosts` (preference, name), and whether the domain itself decided."""
        named = self._domains.get(domain)
        if named is not None:
            return named, True
        best = min(preference for preference, _ in hosts)
        leaders = sorted({name for preference, name in hosts if preference == best})
        votes = Counter(self.of_host(name) for name in leaders)
        winner = min(votes, key=lambda name: (-votes[name], name is None, name or ""))
        return (winner if winner is not None else default_name(leaders)), False


def default_name(hosts: Sequence[str]) -> str:
    """The name of a provider that nobody configured: the registrable domains of `hosts`."""
    return "+".join(sorted({registrable(host) for host in hosts})[:_MOST_NAMES])


@functools.lru_cache(maxsize=16_384)
def registrable(host: str) -> str:
    """The registrable domain of `host` by the public suffix list, or `host` itself when it has none."""
    found = _suffix_list().privatesuffix(host)
    return str(found) if found else host


@functools.cache
def _suffix_list() -> PublicSuffixList:
    return PublicSuffixList()
