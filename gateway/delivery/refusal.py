"""What a refusal does: one table over (permanence, category, fault), read by the engine and by nothing else (DESIGN section 4).

In words, in the order of the rows, first match wins:

- greylisted: retried after five minutes from the same source.
- rate-limited or ip-reputation, 4xx: retried when the lane allows; no step of the retry schedule is used up.
- ip-reputation or rate-limited, 5xx: another source, at most twice, then failed with fault sender-ip.
- recipient's fault, 5xx: failed; suppression as policy says. 4xx: retried; at its end `expired` and a soft count.
- tls, where the message itself demands it (REQUIRETLS, the content's fault) 5xx: failed.
- auth-failed, domain-reputation, sender-rejected, content, policy 5xx: failed, counted by the breaker.
- network, tls, receiver or config: the next MX was tried already; retried.
- a loop, a route that cannot be or a message too large: failed when permanent.
- anything else: 5xx failed, 4xx retried.
- unsure: retried once after fifteen minutes (a duplicate is possible, and the event says so) or not at all, per stream.

Pure: says what to do, does nothing, reads no clock.
"""

import enum
from typing import assert_never

import msgspec

from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Outcome, Unsure, Verdict

MOST_SOURCE_CHANGES = 2
"""An IP-reputation refusal is answered by another source at most this often."""


class Action(enum.Enum):
    """What becomes of a delivery after an attempt."""

    DELIVERED = "delivered"
    FAIL = "fail"
    FAIL_COUNTED = "fail, counted by the breaker"
    RETRY = "retry by the schedule"
    RETRY_LANE = "retry when the lane allows, no step used"
    RETRY_SAME_SOURCE = "retry from the same source"
    OTHER_SOURCE = "another source"
    RETRY_UNSURE = "retry once, a duplicate is possible"


class Row(msgspec.Struct, frozen=True):
    """One row: a refusal matches when each field that is not None contains it."""

    name: str
    action: Action
    permanent: bool | None = None
    categories: frozenset[Category] | None = None
    faults: frozenset[Fault] | None = None


_LANE = frozenset({Category.RATE_LIMITED, Category.IP_REPUTATION})
_SENDER = frozenset({Category.AUTH_FAILED, Category.DOMAIN_REPUTATION, Category.SENDER_REJECTED, Category.CONTENT, Category.POLICY})
_PASSING = frozenset({Fault.NETWORK, Fault.RECEIVER, Fault.CONFIG})

TABLE: tuple[Row, ...] = (
    Row("greylisted", Action.RETRY_SAME_SOURCE, categories=frozenset({Category.GREYLISTED})),
    Row("lane-4xx", Action.RETRY_LANE, permanent=False, categories=_LANE),
    Row("ip-reputation-5xx", Action.OTHER_SOURCE, permanent=True, categories=_LANE),
    Row("recipient-5xx", Action.FAIL, permanent=True, faults=frozenset({Fault.RECIPIENT})),
    Row("recipient-4xx", Action.RETRY, permanent=False, faults=frozenset({Fault.RECIPIENT})),
    Row("sender-5xx", Action.FAIL_COUNTED, permanent=True, categories=_SENDER),
    Row("requiretls-5xx", Action.FAIL, permanent=True, categories=frozenset({Category.TLS}), faults=frozenset({Fault.CONTENT})),
    Row("sender-domain-5xx", Action.FAIL_COUNTED, permanent=True, faults=frozenset({Fault.SENDER_DOMAIN, Fault.CONTENT})),
    Row("unroutable-5xx", Action.FAIL, permanent=True, categories=frozenset({Category.ROUTING, Category.LOOP})),
    Row("too-large-5xx", Action.FAIL, permanent=True, categories=frozenset({Category.MESSAGE_TOO_LARGE})),
    Row("passing", Action.RETRY, faults=_PASSING),
    Row("tls", Action.RETRY, categories=frozenset({Category.TLS, Category.NETWORK})),
    Row("any-5xx", Action.FAIL, permanent=True),
    Row("any-4xx", Action.RETRY, permanent=False),
)


def row_for(verdict: Verdict, permanent: bool) -> Row:
    """The row of the table that decides. The last two rows match everything, so there always is one."""
    for row in TABLE:
        if row.permanent is not None and row.permanent != permanent:
            continue
        if row.categories is not None and verdict.category not in row.categories:
            continue
        if row.faults is not None and verdict.fault not in row.faults:
            continue
        return row
    raise AssertionError("the refusal table has no last row")


class Past(msgspec.Struct, frozen=True, gc=False):
    """What the decision must know of the delivery: earlier attempts that ended Unsure, source changes, and what is left to try."""

    unsure: int
    sources_tried: int
    another_source: bool
    """Whether a source remains in the pool that is not excluded."""
    retry_unsure: bool
    """The stream's choice."""


def action_for(outcome: Outcome, past: Past) -> Action:
    """What to do after `outcome`."""
    match outcome:
        case Delivered():
            return Action.DELIVERED
        case Deferred(verdict):
            return row_for(verdict, permanent=False).action
        case Failed(verdict):
            action = row_for(verdict, permanent=True).action
            if action is Action.OTHER_SOURCE and (past.sources_tried >= MOST_SOURCE_CHANGES or not past.another_source):
                return Action.FAIL
            return action
        case Unsure():
            return Action.RETRY_UNSURE if past.retry_unsure and past.unsure == 0 else Action.FAIL
        case _:
            assert_never(outcome)
