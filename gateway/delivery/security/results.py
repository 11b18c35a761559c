"""What TLS towards domains with a policy came to, by day, domain and policy: the figures of TLS reports (RFC 8460 section 4; pure).

Promises: memory is bounded in domains, in kinds of failure for each, and in days; what is beyond it is counted as `dropped` and not
reported. A session counts once for each domain whose mail it carried, at that domain's first message. Figures leave as bytes for a note of
the spool, and come back from it. Only domains that publish MTA-STS or DANE are counted: others cost nothing here.
"""

import datetime
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.calls import TlsFacts, TlsFailure

MOST_POLICIES: Final = 5_000
"""Pairs of domain and policy, in all days."""
MOST_FAILURES: Final = 50
"""Kinds of failure of one pair; more are counted in its sum only."""
MOST_SESSIONS: Final = 64
"""Sessions of one pair that are remembered, so that they count once."""
MOST_DAYS: Final = 3

KINDS: Final = {"dane": "tlsa", "dane-unusable": "tlsa", "mta-sts": "sts", "mta-sts-testing": "sts"}
"""Policy of a connection to policy-type of a report (RFC 8460 section 4.4)."""
_VERIFIED: Final = frozenset({"dane", "certificate"})


class Source(msgspec.Struct, frozen=True, gc=False):
    """The addresses of a sending source, "" where the system chooses or there is none."""

    four: str = ""
    six: str = ""


NO_SOURCE: Final = Source()


class Failures(msgspec.Struct, gc=False):
    """Failures of one kind."""

    result: str
    source: str
    """Address of the sending source, or ""."""
    host: str
    address: str
    why: str
    count: int = 0


class Figures(msgspec.Struct, gc=False):
    """One day of one domain and policy."""

    domain: str
    kind: str
    """tlsa or sts."""
    lines: tuple[str, ...] = ()
    """The policy's own lines, or the TLSA records."""
    mx: tuple[str, ...] = ()
    successes: int = 0
    failed: int = 0
    failures: list[Failures] = []
    sessions: list[float] = []


class Described(msgspec.Struct, frozen=True, gc=False):
    """A policy as a report names it."""

    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


def day_of(now: float) -> str:
    """The UTC day of `now` (Unix seconds) as 2026-11-28."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date().isoformat()


class Results:
    """See the module."""

    limit = MOST_POLICIES

    def __init__(self) -> None:
        self.changed = False
        """Something changed since `export`."""
        self.dropped = 0
        self._days: dict[str, dict[tuple[str, str], Figures]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def session(self, domain: str, facts: TlsFacts, session: float, source: Source, describe: Callable[[], Described], now: float) -> None:
        """A delivery to `domain` was tried over a connection of which `facts` tell. `session` is a number of the connection's own;
        `describe` is asked for the policy where it is a new one."""
        kind = KINDS.get(facts.policy)
        figures = self._figures(domain, kind, now) if kind is not None else None
        if figures is None or session in figures.sessions:
            return
        self.changed = True
        figures.sessions.append(session)
        del figures.sessions[:-MOST_SESSIONS]
        described = describe()
        figures.lines, figures.mx = described.lines or figures.lines, described.mx or figures.mx
        figures.successes += facts.result in _VERIFIED or (facts.policy == "dane-unusable" and not facts.failures)
        for failure in facts.failures:
            self._fail(figures, failure, source)

    def discovery(self, domain: str, failure: TlsFailure, now: float) -> None:
        """The MTA-STS policy of `domain` could not be had."""
        figures = self._figures(domain, "sts", now)
        if figures is not None:
            self.changed = True
            self._fail(figures, failure, NO_SOURCE)

    def _fail(self, figures: Figures, failure: TlsFailure, source: Source) -> None:
        figures.failed += 1
        origin = source.six if ":" in failure.address else source.four
        for known in figures.failures:
            if (known.result, known.source, known.host, known.address) == (failure.result, origin, failure.host, failure.address):
                known.count += 1
                return
        if len(figures.failures) < MOST_FAILURES:
            figures.failures.append(Failures(failure.result, origin, failure.host, failure.address, failure.why[:200], 1))

    def _figures(self, domain: str, kind: str, now: float) -> Figures | None:
        day = self._days.setdefault(day_of(now), {})
        while len(self._days) > MOST_DAYS:
            self._drop(min(self._days))
        figures = day.get((domain, kind))
        if figures is None:
            if self._count >= MOST_POLICIES:
                self.dropped += 1
                return None
            self._count += 1
            figures = day[domain, kind] = Figures(domain, kind, failures=[], sessions=[])
        return figures

    def _drop(self, day: str) -> None:
        self._count -= len(self._days.pop(day, {}))

    # For reports.

    def finished(self, now: float) -> list[str]:
        """Days with figures that are over, the oldest first."""
        return sorted(day for day, figures in self._days.items() if figures and day < day_of(now))

    def domains(self, day: str) -> list[str]:
        """Domains of a day, each once."""
        return list(dict.fromkeys(domain for domain, _ in self._days.get(day, ())))

    def look(self, day: str, domain: str) -> list[Figures]:
        """The figures of a domain."""
        return [figures for (name, _), figures in self._days.get(day, {}).items() if name == domain]

    def take(self, day: str, domain: str) -> list[Figures]:
        """The figures of a domain, which are forgotten with this; an empty day goes too."""
        of_day = self._days.get(day, {})
        keys = [key for key in of_day if key[0] == domain]
        found = [of_day.pop(key) for key in keys]
        self._count -= len(found)
        self.changed = self.changed or bool(found)
        if not of_day:
            self._days.pop(day, None)
        return found

    # For the spool.

    def export(self) -> bytes:
        """All figures, without the sessions that are open: their numbers end with the process."""
        self.changed = False
        written = {day: [msgspec.structs.replace(one, sessions=[]) for one in figures.values()] for day, figures in self._days.items()}
        return msgspec.msgpack.encode(written)

    def restore(self, note: bytes) -> None:
        """Figures of `export`. Raises msgspec.DecodeError or UnicodeDecodeError, and changes nothing then."""
        found = msgspec.msgpack.decode(note, type=dict[str, list[Figures]])
        self._days = {day: {(one.domain, one.kind): one for one in figures} for day, figures in found.items()}
        self._count = sum(map(len, self._days.values()))
