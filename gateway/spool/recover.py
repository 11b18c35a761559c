"""What a start does with the file: a new epoch, the leases of earlier ones returned, and what the scheduler must know.

Deliveries go back in slices, each its own transaction, so that a start that is killed has done part of the work and nothing wrong. Their
due times are those written with the lease: a crash never hammers a receiver. Rows of other owners stay as they are.
"""

from typing import Any

import apsw

from gateway.spool.port import Hold, Recovered
from gateway.spool.queries import statement
from gateway.spool.rows import flow_from

SLICE = 1000


def lease_number(owner: int, epoch: int) -> int:
    """Owner and epoch as the one number that a lease carries."""
    return owner << 32 | epoch


def ledger_days(connection: apsw.Connection) -> list[int]:
    """Days that have a sent ledger, oldest first."""
    return [day for (day,) in _rows(connection, "sent.days")]


def keyed_days(connection: apsw.Connection) -> list[int]:
    """Days that have idempotency keys, oldest first."""
    return [day for (day,) in _rows(connection, "keyed.days")]


def outbox_span(connection: apsw.Connection) -> tuple[int, int]:
    """First and last position in the outbox; (1, 0) when there never was an event."""
    first, last = _rows(connection, "outbox.span")[0]
    return int(first), int(last)


def start(connection: apsw.Connection, owner: int) -> Recovered:
    """Open a new epoch of `owner` and bring its deliveries back."""
    before = _rows(connection, "node.get", owner)
    clean = not before or bool(before[0][1])  # a spool that is new was not stopped badly
    with connection:
        connection.execute(statement("node.start"), (owner,))
    epoch = _rows(connection, "node.get", owner)[0][0]
    returned = _give_back(connection, owner)
    with connection:
        connection.execute(statement("recover.forget_flows"))
    flows = [flow_from(row) for row in _rows(connection, "recover.flows")]
    holds = [Hold(*row) for row in _rows(connection, "hold.all")]
    _, position = outbox_span(connection)
    return Recovered(owner, epoch, last_identity(connection), returned, flows, holds, position, clean)


def last_identity(connection: apsw.Connection) -> int:
    """The largest identity that the file knows: in the queue, and in the sent ledger."""
    last = _number(connection, "recover.last_identity")
    return max([last, *(_number(connection, "sent.last", day) for day in ledger_days(connection))])


def _give_back(connection: apsw.Connection, owner: int) -> int:
    returned = 0
    while True:
        with connection:
            connection.execute(statement("recover.slice"), (lease_number(owner, 0), lease_number(owner + 1, 0), SLICE))
            number = connection.changes()
        returned += number
        if number < SLICE:
            return returned


def _rows(connection: apsw.Connection, name: str, *bindings: Any) -> list[Any]:
    return connection.execute(statement(name), bindings).fetchall()


def _number(connection: apsw.Connection, name: str, day: int | None = None) -> int:
    found: Any = connection.execute(statement(name, day=day)).get
    return int(found or 0)
