"""What the spool knows of one recipient: deliveries in the queue, and those that ended within the return window.

Nothing is indexed by address, so this reads the queue and the ledger from end to end: for a person who asks, from a thread or another
process, on a connection of its own. Addresses are compared without regard to case.
"""

from pathlib import Path
from typing import Any

import msgspec

from gateway.spool.connection import open_reader, translated
from gateway.spool.lifecycle import State
from gateway.spool.port import SpoolError
from gateway.spool.queries import statement

_QUEUED = (
    "SELECT delivery.id, state, coalesce(account, ''), coalesce(stream, ''), coalesce(campaign, ''), coalesce(message_id, ''),"
    " due, attempts FROM delivery LEFT JOIN message ON message.id = delivery.message WHERE lower(recipient) = ?"
)
_SENT = "SELECT id, state, account, stream, campaign, message_id, at FROM sent_{} WHERE lower(recipient) = ?"
_WAITING = "SELECT count(*) FROM outbox WHERE instr(lower(CAST(event AS TEXT)), ?) > 0"


class InQueue(msgspec.Struct, frozen=True):
    """A delivery that has not ended."""

    id: int
    state: State
    account: str
    stream: str
    campaign: str
    message_id: str
    due: float
    attempts: int


class Ended(msgspec.Struct, frozen=True):
    """A delivery in the sent ledger."""

    id: int
    state: State
    account: str
    stream: str
    campaign: str
    message_id: str
    at: float


class PersonReader:
    """Reads for one thread. `address` is in normal form."""

    def __init__(self, folder: Path) -> None:
        with translated("open for reading"):
            self._connection = open_reader(folder)

    def queued(self, address: str) -> list[InQueue]:
        """Deliveries in the queue."""
        return [InQueue(row[0], State(row[1]), *row[2:]) for row in self._rows(_QUEUED, address)]

    def ended(self, address: str) -> list[Ended]:
        """Deliveries in the sent ledger, the oldest day first."""
        with translated("read"):
            days: list[Any] = self._connection.execute(statement("sent.days")).fetchall()
        found: list[Ended] = []
        for (day,) in days:
            try:
                found += [Ended(row[0], State(row[1]), *row[2:]) for row in self._rows(_SENT.format(int(day)), address)]
            except SpoolError as error:
                if "no such table" not in str(error):  # that day was dropped meanwhile
                    raise
        return found

    def waiting(self, address: str) -> int:
        """Events that name the address and still wait for a reader of the log, or for the next ones to push them out."""
        return int(self._rows(_WAITING, address)[0][0])

    def _rows(self, sql: str, address: str) -> list[Any]:
        with translated("read"):
            return self._connection.execute(sql, (address,)).fetchall()

    def close(self) -> None:
        """End."""
        self._connection.close()
