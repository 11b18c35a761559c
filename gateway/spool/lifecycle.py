"""The states of a delivery and the moves between them, as one table (DESIGN section 3).

| state     | what is on disk                                  | who is responsible | after a crash                               |
|-----------|--------------------------------------------------|--------------------|---------------------------------------------|
| queued    | delivery row, message row, body                  | us                 | stays; tried when due                       |
| leased    | the same, with owner and epoch; `due` is already the next attempt's | us | queued again, due as written: never hammers |
| delivered | a row of the sent ledger and a final event       | the next hop       | stays                                       |
| failed    | the same                                         | nobody             | stays                                       |
| expired   | the same                                         | nobody             | stays                                       |
| cancelled | the same                                         | nobody             | stays                                       |

A deferral, a send-at date and a retry are `queued` with a later due time. A hold is a row about flows, not a state. An absent pair in
`MOVES` is a bug of ours and is refused. Final states have no moves; the row is gone from the queue and its ledger row remains.
"""

import enum


class State(enum.IntEnum):
    """Numbers as the spool stores them; never renumber."""

    QUEUED = 0
    LEASED = 1
    DELIVERED = 2
    FAILED = 3
    EXPIRED = 4
    CANCELLED = 5


FINAL = frozenset({State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED})

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.QUEUED, State.LEASED, State.FAILED, State.EXPIRED, State.CANCELLED}),
    State.LEASED: frozenset({State.QUEUED, State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED}),
    State.DELIVERED: frozenset(),
    State.FAILED: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}


def may_move(before: State, after: State) -> bool:
    """Whether a delivery may go from `before` to `after`."""
    return after in MOVES[before]
