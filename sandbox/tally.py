"""What a provider counts: every attempt, and for each delivery how it stands.

A delivery is told by its envelope (sender, recipient): a gateway's return path carries a token, so the pair names one delivery and stays
the same in every attempt. Once accepted it stays accepted; else its last answer counts. A second copy of an accepted message (same
Message-ID and recipient, or the same envelope) is a duplicate. Bounded: beyond `REMEMBERED` deliveries new ones are not kept, and
`complete` is false.
"""

from collections import Counter

import msgspec

from mail.outcome import Category

REMEMBERED = 2_000_000
"""Deliveries remembered at most."""


class Counts(msgspec.Struct, frozen=True):
    """A provider's books. `deferrals` and `drops` count answers; `accepted`, `refused`, `deferred` and `dropped` count deliveries."""

    connections: int = 0
    connections_refused: int = 0
    tls: int = 0
    attempts: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: dict[str, int] = {}
    deferred: dict[str, int] = {}
    dropped: int = 0
    deferrals: dict[str, int] = {}
    drops: int = 0
    complete: bool = True

    @property
    def deliveries(self) -> int:
        """Deliveries seen in any way."""
        return self.accepted + sum(self.refused.values()) + sum(self.deferred.values()) + self.dropped

    @property
    def refusals(self) -> int:
        """Deliveries that ended with a 5yz reply."""
        return sum(self.refused.values())


class Tally:
    """The books while they are kept. Not thread-safe: one loop writes."""

    def __init__(self) -> None:
        self.connections = 0
        self.connections_refused = 0
        self.tls = 0
        self.attempts = 0
        self.open = 0
        self._standing: dict[tuple[str, str], str] = {}
        self._copies: set[tuple[str, str]] = set()
        self._duplicates = 0
        self._deferrals: Counter[str] = Counter()
        self._drops = 0
        self._complete = True

    def attempt(self, sender: str, recipient: str) -> None:
        """A recipient was named: what was counted for the sender alone, refused at MAIL in an earlier attempt, is this delivery."""
        self.attempts += 1
        if recipient and self._standing.get((sender, ""), "accepted") != "accepted":
            del self._standing[sender, ""]

    def accepted(self, sender: str, recipient: str, message_id: str) -> None:
        """A message was taken (or taken although its reply was lost)."""
        key, copy = (sender, recipient), (message_id or sender, recipient)
        if self._standing.get(key) == "accepted" or copy in self._copies:
            self._duplicates += 1
        if len(self._copies) < REMEMBERED:
            self._copies.add(copy)
        self._stand(key, "accepted")

    def refused(self, sender: str, recipient: str, category: Category) -> None:
        """A 5yz reply."""
        self._stand((sender, recipient), f"5{category}")

    def deferred(self, sender: str, recipient: str, category: Category) -> None:
        """A 4yz reply."""
        self._deferrals[str(category)] += 1
        self._stand((sender, recipient), f"4{category}")

    def dropped(self, sender: str, recipient: str) -> None:
        """The connection was closed instead of a reply."""
        self._drops += 1
        self._stand((sender, recipient), "dropped")

    def _stand(self, key: tuple[str, str], standing: str) -> None:
        if self._standing.get(key) == "accepted":
            return
        if key not in self._standing and len(self._standing) >= REMEMBERED:
            self._complete = False
            return
        self._standing[key] = standing

    def standing(self, recipient: str) -> list[str]:
        """How each delivery to `recipient` stands: `accepted`, `dropped`, or code class and category, such as `5bad-mailbox`."""
        return [standing for (_, to), standing in self._standing.items() if to == recipient]

    def counts(self) -> Counts:
        """The books as they are now."""
        standings = Counter(self._standing.values())
        return Counts(
            connections=self.connections,
            connections_refused=self.connections_refused,
            tls=self.tls,
            attempts=self.attempts,
            accepted=standings["accepted"],
            duplicates=self._duplicates,
            refused={standing[1:]: count for standing, count in sorted(standings.items()) if standing[0] == "5"},
            deferred={standing[1:]: count for standing, count in sorted(standings.items()) if standing[0] == "4"},
            dropped=standings["dropped"],
            deferrals=dict(sorted(self._deferrals.items())),
            drops=self._drops,
            complete=self._complete,
        )
