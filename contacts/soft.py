"""Soft failures of mailboxes, kept beside the list: when they were, and until when a mailbox is on probation. What follows is not decided
here (`bounce.consequence` does): this keeps times, and forgets them when a delivery shows that the mailbox works.

A delivery is by far the most frequent event, so which mailboxes have a past is also in memory, `MOST` of them; a delivery to any other
costs one look into a set. Of those beyond, deliveries do not forget the past. One thread writes, the loop reads.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from contacts.store import SuppressionStore

MOST = 100_000

_PUT = (
    "INSERT INTO soft (key, address, times, probation, changed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET times = excluded.times,"
    " probation = excluded.probation, changed = excluded.changed"
)
_TIDY = "DELETE FROM soft WHERE changed < ? AND probation < ? RETURNING address"

_times = msgspec.msgpack.Decoder(tuple[float, ...])
_encoder = msgspec.msgpack.Encoder()


class Past(msgspec.Struct, frozen=True):
    """What a mailbox did: times of failures (Unix seconds, ascending), and until when one more suppresses it (0: not on probation)."""

    times: tuple[float, ...] = ()
    probation: float = 0.0


NOTHING = Past()


class SoftFailures:
    """The table `soft` of the store."""

    def __init__(self, store: SuppressionStore) -> None:
        self._store = store
        self._known = {row[0] for row in store.rows("SELECT address FROM soft LIMIT ?", (MOST,))}

    def has_past(self, address: str) -> bool:
        """Whether a delivery to this address (in normal form) changes anything. From any thread."""
        return address in self._known

    @property
    def none(self) -> bool:
        """Nobody has a past."""
        return not self._known

    def past(self, address: str) -> Past:
        """What is known of an address in normal form. Loop thread. Raises StoreError."""
        return _past(self._store.rows("SELECT times, probation FROM soft WHERE key = ?", (self._store.keys.of(address),)))

    def revise(self, revisions: Iterable[tuple[str, Callable[[Past], Past]]], now: float) -> None:
        """Make the past of addresses what each function makes of it; `NOTHING` forgets. From the thread that writes. Raises StoreError."""
        with self._store.writing() as writer:
            for address, revised in revisions:
                key = self._store.keys.of(address)
                rows: list[Any] = writer.execute("SELECT times, probation FROM soft WHERE key = ?", (key,)).fetchall()
                past = revised(_past(rows))
                if past == NOTHING:
                    writer.execute("DELETE FROM soft WHERE key = ?", (key,))
                    self._known.discard(address)
                    continue
                writer.execute(_PUT, (key, address, _encoder.encode(past.times), past.probation, now))
                if len(self._known) < MOST:
                    self._known.add(address)

    def tidy(self, before: float, now: float) -> int:
        """Forget whose last change was before `before` and who is not on probation. How many. Raises StoreError."""
        with self._store.writing() as writer:
            rows: list[Any] = writer.execute(_TIDY, (before, now)).fetchall()
        self._known.difference_update(row[0] for row in rows)
        return len(rows)


def _past(rows: list[Any]) -> Past:
    if not rows:
        return NOTHING
    try:
        return Past(_times.decode(rows[0][0]), rows[0][1])
    except msgspec.DecodeError:
        return Past((), rows[0][1])  # a damaged past is none; probation still holds
