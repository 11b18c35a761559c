"""What a start does with the file: a new epoch, the leases of earlier ones returned, and what the scheduler must know.

Deliveries go back in slices, each its own transaction, so that a start that is killed has done part of the work and nothing wrong. Their
due times are those written with the lease: a crash never hammers a receiver. Rows of other owners stay as they are.
"""

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
    return [day for (day,) in connection.execute(statement("sent.days")).fetchall()]


def start(connection: apsw.Connection, owner: int) -> Recovered:
    """Open a new epoch of `owner` and bring its deliveries back."""
    before = connection.execute(statement("node.get"), (owner,)).fetchall()
    clean = not before or bool(before[0][1])  # a spool that is new was not stopped badly
    with connection:
        connection.execute(statement("node.start"), (owner,))
    epoch = connection.execute(statement("node.get"), (owner,)).fetchall()[0][0]
    returned = _give_back(connection, owner)
    with connection:
        connection.execute(statement("recover.forget_flows"))
    flows = [flow_from(row) for row in connection.execute(statement("recover.flows")).fetchall()]
    holds = [Hold(*row) for row in connection.execute(statement("hold.all")).fetchall()]
    position = connection.execute(statement("outbox.position")).get or 0
    return Recovered(owner, epoch, last_identity(connection), returned, flows, holds, position, clean)


def last_identity(connection: apsw.Connection) -> int:
    """The largest identity that the file knows: in the queue, and in the sent ledger."""
    last = connection.execute(statement("recover.last_identity")).get or 0
    for day in ledger_days(connection):
        last = max(last, connection.execute(statement("sent.last", day=day)).get or 0)
    return int(last)


def _give_back(connection: apsw.Connection, owner: int) -> int:
    returned = 0
    while True:
        with connection:
            connection.execute(statement("recover.slice"), (lease_number(owner, 0), lease_number(owner + 1, 0), SLICE))
            number = connection.changes()
        returned += number
        if number < SLICE:
            return returned
