"""Carries out a `Transaction` in SQL, inside a transaction that somebody else begins and commits.

Promises: the fields are carried out in their order; the number of statements grows with the kinds of work and not with the rows, so a
thread beside a busy event loop crosses the interpreter's lock a few times and not once a row; the moves of a delivery are those of
`lifecycle.MOVES`, with one more rule: only the lease's holder may deliver, defer or release, while an end without delivery (failed,
expired, cancelled), and a deferral that says so (`unleased`), may also come to a queued delivery of any owner. It opens, commits and
translates nothing: errors of apsw pass through.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import apsw
import msgspec

from bounce.report import Action
from gateway.spool.keyed import sift
from gateway.spool.lifecycle import FINAL, State, may_move
from gateway.spool.notice import Notice, Told
from gateway.spool.port import (
    Acceptance,
    Change,
    Hold,
    Leased,
    LeaseRequest,
    NewFlow,
    Note,
    Release,
    Repeated,
    Routed,
    Sweep,
    Transaction,
    Written,
)
from gateway.spool.queries import pieces, statement
from gateway.spool.rows import LEASE_ROWS, facts_of, notice_facts, queued_from
from gateway.spool.selection import where

DAY = 86_400.0

SLICE = 1000
"""Published events that one transaction removes, at most."""

TRIM_AT = 250
"""Published events that are worth a removal beside other work."""


class _Known(msgspec.Struct, frozen=True, gc=False):
    """What is known of the file without asking it: days with a ledger, days with keys, span of the outbox, how far it is published."""

    days: frozenset[int]
    keyed: frozenset[int]
    first: int
    last: int
    published: int = 0


_Standing = list[tuple[int, int, int, int, int]]
_standing = msgspec.json.Decoder(_Standing)
_identities = msgspec.json.Decoder(list[int])


class Work:
    """One connection's way to carry out transactions, under one lease number (owner and epoch). `damaged` gathers what would not decode."""

    def __init__(self, connection: apsw.Connection, lease: int, days: Iterable[int], keyed: Iterable[int], outbox: tuple[int, int]) -> None:
        self._connection = connection
        self._lease = lease
        self._known = _Known(frozenset(days), frozenset(keyed), *outbox)
        self._next = self._known
        self.damaged: list[int] = []

    def carry_out(self, transaction: Transaction) -> Written:
        """All of `transaction`, in the order of its fields."""
        events: list[bytes] = []
        self.damaged = []
        self._next = self._known
        self._each("flow.delete", transaction.flows_removed)
        if transaction.flows:
            self._add_flows(transaction.flows)
        repeated: list[Repeated] = []
        if transaction.acceptances:
            acceptances = transaction.acceptances
            if any(acceptance.key for acceptance in acceptances):
                acceptances, repeated = self._sift(acceptances)
            self._accept(acceptances, events)
        stale: list[int] = []
        if transaction.changes or transaction.releases:
            stale = self._move(transaction.changes, transaction.releases, events)
        if transaction.routed:
            self._route(transaction.routed)
        leased = [self._lease_some(request) for request in transaction.leases]
        self._keep_rules(transaction.holds, transaction.holds_removed, transaction.notes)
        swept = [self._sweep(sweep) for sweep in transaction.sweeps]
        position = self._log(events + transaction.events if transaction.events else events)
        self._trim(transaction.outbox_until, busy=bool(transaction.acceptances))
        for told in transaction.told:
            self._tell(told)
        return Written(leased, stale, swept, position, self.damaged, repeated)

    def keep(self) -> None:
        """The transaction is on disk."""
        self._known = self._next

    def forget_days(self, days: Iterable[int], keyed: Iterable[int]) -> None:
        """Only these days have a ledger, and these keys, now."""
        self._known = msgspec.structs.replace(self._known, days=frozenset(days), keyed=frozenset(keyed))

    def _rows(self, name: str, rows: Sequence[Sequence[Any]], day: int | None = None) -> None:
        for start, end in pieces(len(rows)):
            self._connection.execute(statement(name, end - start, day), tuple(chain.from_iterable(rows[start:end])))

    def _one(self, name: str, bindings: tuple[Any, ...]) -> Any:
        return self._connection.execute(statement(name), bindings).get

    def _each(self, name: str, identities: Sequence[int], *before: Any) -> None:
        """A statement about a set of identities."""
        if identities:
            self._connection.execute(statement(name), (*before, apsw.carray(array("q", identities))))

    def _add_flows(self, flows: list[NewFlow]) -> None:
        rows = []
        for flow in flows:
            key = flow.key
            without = msgspec.json.encode(key.without).decode()
            labels = (key.account, key.stream, key.campaign, key.priority, key.only, without)
            rows.append((flow.number, key.provider, key.route, key.pool, *labels))
        self._rows("flow.insert", rows)

    def _sift(self, acceptances: list[Acceptance]) -> tuple[list[Acceptance], list[Repeated]]:
        """Without what was accepted before under the same keys; a message of which nothing is left leaves its other events only."""
        sifted = sift(self._connection, acceptances, sorted(self._next.keyed))
        for day, rows in sifted.rows.items():
            if rows and day not in self._next.keyed:
                self._connection.execute(statement("keyed.create", day=day))
                self._next = msgspec.structs.replace(self._next, keyed=self._next.keyed | {day})
            self._rows("keyed.insert", rows, day)
        return sifted.acceptances, sifted.repeated

    def _accept(self, acceptances: list[Acceptance], events: list[bytes]) -> None:
        messages, bodies, deliveries = [], [], []
        wishing: list[tuple[Any, ...]] = []
        for accepted in acceptances:
            if accepted.told is not None:
                self._tell(accepted.told)
            message = accepted.message
            events += accepted.events
            if accepted.key and not accepted.deliveries:
                continue
            labels = (message.account, message.stream, message.campaign, message.message_id)
            messages.append((message.id, len(accepted.deliveries), *labels, facts_of(message)))
            bodies.append((message.id, accepted.content))
            expires = accepted.expires
            for new in accepted.deliveries:
                state, lease = (1, self._lease) if new.leased else (0, 0)
                envelope = (new.recipient, new.domain, new.return_path)
                if new.notify or new.orcpt:
                    wishing.append((new.id, message.id, new.flow, state, lease, new.due, expires, *envelope, new.notify, new.orcpt))
                else:
                    deliveries.append((new.id, message.id, new.flow, state, lease, new.due, expires, *envelope))
        self._rows("message.insert", messages)
        self._rows("body.insert", bodies)
        self._rows("delivery.insert", deliveries)
        self._rows("delivery.insert_wishing", wishing)

    def _move(self, changes: list[Change], releases: list[Release], events: list[bytes]) -> list[int]:
        """Changes and releases; those that are refused are returned, and their events are not written."""
        wanted = array("q", [change.delivery for change in changes] + [release.delivery for release in releases])
        found = self._one("delivery.standing", (self._lease, apsw.carray(wanted)))
        standing = {identity: rest for identity, *rest in _standing.decode(found)}
        stale: list[int] = []
        ended: list[tuple[Change, list[int]]] = []
        kept: list[Change] = []
        noticed: list[tuple[int, Notice]] = []
        for change in changes:
            stands = standing.pop(change.delivery, None)  # popped: a second change of one delivery in a transaction is stale too
            if stands is None or not _allowed(State(stands[0]), change, mine=bool(stands[1])):
                stale.append(change.delivery)
                continue
            events += change.events
            if change.notice is not None:
                noticed.append((stands[2], change.notice))
            if change.state in FINAL:
                ended.append((change, stands))
            else:
                kept.append(change)
        freed = []
        for release in releases:
            stands = standing.pop(release.delivery, None)
            if stands is None or not stands[1]:
                stale.append(release.delivery)
            else:
                freed.append((release.delivery, release.flow, release.due))
        self._end(ended)
        self._requeue(kept)
        self._rows("delivery.release", freed)
        if noticed:
            self._notice(noticed)
        return stale

    def _end(self, ended: list[tuple[Change, list[int]]]) -> None:
        """Final states: ledger rows first, then the deliveries go, and with the last one of a message its bytes."""
        if not ended:
            return
        by_day: dict[int, list[tuple[int, int, float]]] = {}
        number: dict[int, int] = {}
        remaining: dict[int, int] = {}
        for change, (_, _, message, left) in ended:
            by_day.setdefault(int(change.at // DAY), []).append((change.delivery, int(change.state), change.at))
            number[message] = number.get(message, 0) + (change.notice is None)  # a notice holds the message in the delivery's place
            remaining[message] = left
        for day, rows in by_day.items():
            self._need_day(day)
            self._rows("sent.insert", rows, day)
        self._each("delivery.delete", [change.delivery for change, _ in ended])
        gone = [message for message, count in number.items() if remaining[message] <= count]
        self._each("body.delete", gone)
        self._each("message.delete", gone)
        self._rows("message.ended", [(message, count) for message, count in number.items() if 0 < count < remaining[message]])

    def _notice(self, noticed: list[tuple[int, Notice]]) -> None:
        """Notices hold their message; that of a delay is one more, for its delivery stays. A delay is told once, whatever changes say: a
        delivery without a route may be read, and deferred, once more before its first deferral is on disk."""
        delayed = [(message, one) for message, one in noticed if one.action is Action.DELAYED]
        if delayed:
            new = self._mark_delayed([one.delivery for _, one in delayed])
            delayed = [(message, one) for message, one in delayed if one.delivery in new]
            noticed = delayed + [(message, one) for message, one in noticed if one.action is not Action.DELAYED]
        rows = [(message, one.action.value, one.delivery, one.due, notice_facts(one)) for message, one in noticed]
        self._rows("notice.insert", rows)
        self._rows("message.ended", [(message, -count) for message, count in Counter(message for message, _ in delayed).items()])

    def _mark_delayed(self, deliveries: list[int]) -> set[int]:
        """Those of `deliveries` of whose delay nobody was told before."""
        marked = self._connection.execute(statement("delivery.delay_told"), (apsw.carray(array("q", deliveries)),))
        return {identity for (identity,) in marked}

    def _tell(self, told: Told) -> None:
        """Notices go, and with the last one the message that nothing else needs."""
        self._each("notice.delete", told.deliveries, told.message, told.action.value)
        gone = self._connection.changes() if told.deliveries else 0
        left = self._one("message.remaining", (told.message,)) if gone else None
        if left is None:
            return
        if left > gone:
            self._rows("message.ended", [(told.message, gone)])
        else:
            self._each("body.delete", [told.message])
            self._each("message.delete", [told.message])

    def _need_day(self, day: int) -> None:
        if day not in self._next.days:
            self._connection.execute(statement("sent.create", day=day))
            self._next = msgspec.structs.replace(self._next, days=self._next.days | {day})

    def _requeue(self, kept: list[Change]) -> None:
        rows = []
        for change in kept:
            counters = (change.attempts, change.steps, change.unsure, change.sources_tried, change.eligible_until)
            rows.append((change.delivery, change.flow, change.due, *counters, change.reason, change.at))
        self._rows("delivery.requeue", rows)

    def _route(self, routed: list[Routed]) -> None:
        self._rows("delivery.route", [(move.delivery, move.flow, move.eligible_until) for move in routed])

    def _lease_some(self, request: LeaseRequest) -> Leased:
        found = LEASE_ROWS.decode(self._one("lease.find", (request.flow, request.now, request.limit)))
        self._each("lease.take", [row[0] for row in found], self._lease, request.next_due)
        next_due = self._one("lease.next_due", (request.flow,))
        return Leased(request.flow, queued_from(found, self.damaged), next_due or 0.0)

    def _keep_rules(self, holds: list[Hold], removed: list[int], notes: list[Note]) -> None:
        for hold in holds:
            self._connection.execute(statement("hold.put"), msgspec.structs.astuple(hold))
        self._each("hold.delete", removed)
        for note in notes:
            if note.value is None:
                self._connection.execute(statement("note.delete"), (note.key,))
            else:
                self._connection.execute(statement("note.put"), (note.key, note.value))

    def _forget(self, deliveries: list[int]) -> list[int]:
        """Rows of the sent ledger go before their day."""
        for day in sorted(self._next.days):
            self._connection.execute(statement("sent.forget", day=day), (apsw.carray(array("q", deliveries)),))
        return deliveries

    def _sweep(self, sweep: Sweep) -> list[int]:
        if sweep.action == "forget":
            return self._forget(sweep.selection.ids) if sweep.selection.ids else []
        condition, bindings = where(sweep.selection)
        text = (
            "SELECT json_group_array(id) FROM (SELECT delivery.id AS id FROM delivery LEFT JOIN message ON message.id = delivery.message"
            f" WHERE state = 0 AND delivery.id > ? AND {condition} ORDER BY delivery.id LIMIT ?)"
        )
        touched = _identities.decode(self._connection.execute(text, (sweep.after, *bindings, sweep.limit)).get)
        self._each(f"sweep.{sweep.action}", touched, sweep.at)
        return touched

    def _log(self, events: list[bytes]) -> int:
        """Events enter the outbox. The position of the last one, 0 when there are none."""
        if not events:
            return 0
        self._connection.execute(statement("outbox.append"), (apsw.carray(tuple(events)),))
        position = self._connection.last_insert_rowid()
        self._next = msgspec.structs.replace(self._next, last=position)
        return position

    def _trim(self, published: int, busy: bool) -> None:
        """Published events go, `SLICE` at most; beside other work only when there are enough of them. The newest row always stays."""
        known = self._next
        published = max(published, known.published)
        until = min(published, known.first + SLICE - 1, known.last - 1)
        first = known.first
        if until - first >= (TRIM_AT if busy else 0):
            self._connection.execute(statement("outbox.trim"), (until,))
            first = until + 1
        if published != known.published or first != known.first:
            self._next = msgspec.structs.replace(known, first=first, published=published)


def _allowed(before: State, change: Change, mine: bool) -> bool:
    """Whether a delivery that is `before` may change so (see the module's docstring)."""
    if not may_move(before, change.state):
        return False
    return mine or (before is State.QUEUED and (change.state in FINAL or change.unleased))
