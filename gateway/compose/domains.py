"""Which configured domain speaks for a name: the exact one, else the nearest parent that covers its subdomains.

Promises: the same answer for equal names, in constant time but for the first; names are compared in normal form. Pure.
"""

from collections.abc import Iterable

from config.sending import Domain
from mail.address import normalise_domain

_REMEMBERED = 16_384


def bare_name(domain: Domain) -> str:
    """The name without the mark of subdomains (a leading dot or `*.`), in normal form; this is the d= of its signatures."""
    written = domain.name.removeprefix("*").removeprefix(".")
    return normalise_domain(written) or written.lower()


def covers_subdomains(domain: Domain) -> bool:
    """Whether the configured name means its subdomains too."""
    return domain.name.startswith((".", "*."))


class Domains:
    """The configured sending domains, for looking up."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        self._exact: dict[str, Domain] = {}
        self._parents: dict[str, Domain] = {}
        for domain in domains:
            name = bare_name(domain)
            if covers_subdomains(domain):
                self._parents.setdefault(name, domain)
            else:
                self._exact.setdefault(name, domain)
        self._found: dict[str, tuple[Domain, ...]] = {}

    def candidates(self, name: str) -> tuple[Domain, ...]:
        """Every configured domain that speaks for `name`, the nearest first; () when none does."""
        found = self._found.get(name)
        if found is None:
            found = tuple(self._search(name))
            if len(self._found) < _REMEMBERED:
                self._found[name] = found
        return found

    def find(self, name: str) -> Domain | None:
        """The nearest configured domain that speaks for `name`, or None."""
        found = self.candidates(name)
        return found[0] if found else None

    def _search(self, name: str) -> Iterable[Domain]:
        exact = self._exact.get(name)
        if exact is not None:
            yield exact
        suffix = name
        while suffix:
            parent = self._parents.get(suffix)
            if parent is not None:
                yield parent
            suffix = suffix.partition(".")[2]
