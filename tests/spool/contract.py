"""The contract of the spool's port, as functions that run against every engine (tests/spool/test_contract.py hands them the engines).

Two owners take turns on one storage. An engine is reached through `Storage`: `as_owner` gives its spool after a start of that owner.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
import pytest

from bounce.report import Action
from gateway.calls import Message
from gateway.spool.lifecycle import State
from gateway.spool.notice import Notice, Told
from gateway.spool.port import (
    Acceptance,
    Change,
    FlowKey,
    Hold,
    LeaseRequest,
    NewDelivery,
    NewFlow,
    Note,
    Queued,
    Recovered,
    Release,
    Repeated,
    Routed,
    Selection,
    Spool,
    SpoolRefused,
    Sweep,
    Transaction,
)
from mail.address import Address
from mail.reply import Reply

NOW = 1_760_000_000.0
FLOW = 7
KEY = FlowKey("google", "mx1,mx2", "default", "crm", "marketing", "spring", without=("source-a", "source-b"))
CONTENT = b"Subject: hello\r\n\r\nbody\r\n"


class Storage(Protocol):
    """One storage, as an engine keeps it."""

    def as_owner(self, owner: int) -> tuple[Spool, Recovered]:
        """The spool after a start of `owner`, whose earlier epochs are over."""

    def reopened(self, owner: int) -> tuple[Spool, Recovered]:
        """The same after a crash: nothing was closed in order."""


def message(number: int, **labels: str) -> Message:
    """Facts of message `number`."""
    chosen = {"account": "crm", "stream": "marketing", "campaign": "spring"} | labels
    sender = Address("bounces@shop.example", "shop.example")
    facts = {"from_domain": "shop.example", "received_at": NOW, "size": len(CONTENT), "message_id": f"<{number}@shop.example>"}
    return Message(sender=sender, id=number, **chosen, **facts)  # type: ignore[arg-type]


def accept(number: int, recipients: int = 1, *, leased: bool = False, flow: int = FLOW, due: float = NOW, **labels: str) -> Acceptance:
    """Message `number` with deliveries `number` + 1 and on."""
    deliveries = [
        NewDelivery(number + index, f"r{index}@d{index}.example", f"d{index}.example", f"b+{number}@return.example", flow, due, leased)
        for index in range(1, recipients + 1)
    ]
    return Acceptance(message(number, **labels), CONTENT, NOW + 86_400, deliveries, [b"accepted %d" % one.id for one in deliveries])


def keyed(number: int, *recipients: str, key: bytes = b"k" * 16, body: int = 1, received: float = NOW, leased: bool = False) -> Acceptance:
    """Message `number` under an idempotency key, with deliveries `number` + 1 and on to `recipients`."""
    deliveries = [
        NewDelivery(number + index, recipient, recipient.rpartition("@")[2].lower(), "b@return.example", FLOW, NOW, leased)
        for index, recipient in enumerate(recipients, 1)
    ]
    facts = msgspec.structs.replace(message(number), received_at=received)
    told = [b"accepted %d" % delivery.id for delivery in deliveries]
    return Acceptance(facts, CONTENT, NOW + 86_400, deliveries, told, key, body)


def begin(storage: Storage, *acceptances: Acceptance, owner: int = 1) -> Spool:
    """A spool with one flow and these messages."""
    spool, _ = storage.as_owner(owner)
    spool.write(Transaction(flows=[NewFlow(FLOW, KEY)], acceptances=list(acceptances)))
    return spool


def one(spool: Spool, delivery: int) -> Queued:
    """A delivery in the queue."""
    (found,) = spool.find(Selection(ids=[delivery]), 0, 10)
    return found


def events(spool: Spool) -> list[bytes]:
    """All events, in order."""
    return [event for _, event in spool.events(0, 1000)]


def an_accepted_message_is_there_with_its_bytes_its_deliveries_and_its_events(storage: Storage) -> None:
    spool = begin(storage, accept(10, 2))
    first, second = spool.find(Selection(), 0, 10)
    assert (first.id, second.id) == (11, 12)
    assert first.message == message(10)
    assert (first.recipient, first.domain, first.return_path) == ("r1@d1.example", "d1.example", "b+10@return.example")
    assert (first.flow, first.state, first.due, first.expires) == (FLOW, State.QUEUED, NOW, NOW + 86_400)
    assert (first.attempts, first.steps, first.unsure, first.sources_tried, first.first_attempt, first.reason) == (0, 0, 0, 0, 0.0, "")
    assert spool.content(10) == CONTENT
    assert events(spool) == [b"accepted 11", b"accepted 12"]


def what_a_sender_wants_to_be_told_stays_with_its_delivery(storage: Storage) -> None:
    plain, asking = accept(10, 2), accept(20, leased=True)
    facts = msgspec.structs.replace(asking.message, ret="FULL", envid="QQ+2B")
    wishing = msgspec.structs.replace(asking.deliveries[0], notify="SUCCESS,DELAY", orcpt="rfc822;Bob@d1.example")
    begin(storage, plain, msgspec.structs.replace(asking, message=facts, deliveries=[wishing]))
    spool, _ = storage.as_owner(1)
    (found,) = spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 1, NOW)])).leased[0].deliveries
    assert (found.id, found.notify, found.orcpt, found.delay_told) == (11, "", "", False)
    found = one(spool, 21)
    assert (found.notify, found.orcpt, found.message.ret, found.message.envid) == (
        "SUCCESS,DELAY",
        "rfc822;Bob@d1.example",
        "FULL",
        "QQ+2B",
    )


def notice(delivery: int, action: Action = Action.FAILED, *, due: float = NOW, retry_until: float = 0.0) -> Notice:
    """What the sender of a delivery is to be told."""
    return Notice(delivery, action, NOW, due, f"r{delivery}@d.example", "rfc822;x", True, Reply(550, "no", "5.1.1"), "mx", retry_until)


def a_notice_holds_its_message_until_it_is_told(storage: Storage) -> None:
    spool = begin(storage, accept(10, 2, leased=True))
    spool.write(Transaction(changes=[Change(11, State.FAILED, NOW, notice=notice(11, due=NOW + 5)), Change(12, State.DELIVERED, NOW)]))
    assert (spool.notices(NOW + 4, 10), spool.count(Selection()), spool.content(10)) == ([], 0, CONTENT)
    spool, _ = storage.reopened(1)
    (pending,) = spool.notices(NOW + 5, 10)
    assert pending.told == Told(10, Action.FAILED, [11])
    assert (pending.message, pending.notices) == (message(10), [notice(11, due=NOW + 5)])
    assert (spool.excerpt(10, 7), spool.excerpt(10, 1000), spool.excerpt(99, 7)) == (CONTENT[:7], CONTENT, None)
    spool.write(Transaction(told=[pending.told]))
    assert (spool.notices(NOW + 5, 10), spool.content(10)) == ([], None)
    assert spool.sent(11) is not None


def notices_of_one_message_and_action_come_together_and_go_with_the_report_that_tells_them(storage: Storage) -> None:
    spool = begin(storage, accept(10, 4, leased=True), accept(20, leased=True))
    spool.write(Transaction(changes=[Change(11, State.FAILED, NOW, notice=notice(11)), Change(21, State.FAILED, NOW, notice=notice(21))]))
    later = notice(12, due=NOW + 60)
    spool.write(Transaction(changes=[Change(12, State.EXPIRED, NOW, notice=later), Change(13, State.DELIVERED, NOW)]))
    first, second = spool.notices(NOW, 10)
    assert (first.told, second.told) == (Told(10, Action.FAILED, [11, 12]), Told(20, Action.FAILED, [21]))
    spool.write(
        Transaction(
            acceptances=[msgspec.structs.replace(accept(30), told=first.told), msgspec.structs.replace(accept(40), told=second.told)]
        )
    )
    assert (spool.notices(NOW + 60, 10), spool.content(10), spool.content(20), spool.content(30)) == ([], CONTENT, None, CONTENT)
    spool.write(Transaction(told=[first.told], changes=[Change(14, State.DELIVERED, NOW)]))
    assert spool.content(10) is None


def a_delay_is_told_once_beside_its_delivery(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    delayed = notice(11, Action.DELAYED, retry_until=NOW + 900)
    spool.write(Transaction(changes=[Change(11, State.QUEUED, NOW, due=NOW, notice=delayed)]))
    (queued,) = spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 1, NOW)])).leased[0].deliveries
    assert queued.delay_told
    spool.write(Transaction(changes=[Change(11, State.FAILED, NOW, notice=notice(11))]))
    assert [pending.told.action for pending in spool.notices(NOW, 10)] == [Action.DELAYED, Action.FAILED]
    spool.write(Transaction(told=[Told(10, Action.DELAYED, [11])]))
    assert spool.content(10) == CONTENT
    spool.write(Transaction(told=[Told(10, Action.DELAYED, [11]), Told(10, Action.FAILED, [11, 12])]))
    assert spool.content(10) is None


def a_delay_that_is_told_by_two_changes_is_one_notice(storage: Storage) -> None:
    """A delivery without a route may be read, and deferred, once more before its first deferral is on disk."""
    spool = begin(storage, accept(10))
    for delayed in (notice(11, Action.DELAYED, due=NOW), notice(11, Action.DELAYED, due=NOW + 5)):
        deferred = Change(11, State.QUEUED, NOW, due=NOW, unleased=True, notice=delayed)
        assert spool.write(Transaction(changes=[deferred])).stale == []
    (pending,) = spool.notices(NOW + 5, 10)
    assert pending.notices == [notice(11, Action.DELAYED, due=NOW)]
    spool.write(Transaction(told=[pending.told], changes=[Change(11, State.CANCELLED, NOW)]))
    assert (spool.notices(NOW + 5, 10), spool.content(10)) == ([], None)


def a_change_that_is_refused_tells_nobody(storage: Storage) -> None:
    begin(storage, accept(10, leased=True))
    other, _ = storage.as_owner(2)
    assert other.write(Transaction(changes=[Change(11, State.FAILED, NOW, notice=notice(11))])).stale == [11]
    assert other.notices(NOW, 10) == []


def a_delivery_that_ends_leaves_a_ledger_row_and_the_bytes_go_with_the_last(storage: Storage) -> None:
    spool = begin(storage, accept(10, 3, leased=True))
    spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW + 5, [b"delivered 11"])]))
    spool.write(Transaction(changes=[Change(12, State.FAILED, NOW + 6, [b"bounced 12"])]))
    assert spool.content(10) == CONTENT
    assert spool.count(Selection()) == 1
    spool.write(Transaction(changes=[Change(13, State.EXPIRED, NOW + 90_000)]))
    assert spool.content(10) is None
    assert spool.count(Selection()) == 0
    entry = spool.sent(11)
    assert entry is not None
    assert (entry.delivery, entry.recipient, entry.account, entry.stream, entry.campaign) == (
        11,
        "r1@d1.example",
        "crm",
        "marketing",
        "spring",
    )
    assert (entry.message_id, entry.state, entry.at) == ("<10@shop.example>", State.DELIVERED, NOW + 5)
    assert [found.state for found in map(spool.sent, (12, 13)) if found] == [State.FAILED, State.EXPIRED]
    assert spool.sent(99) is None
    assert events(spool)[3:] == [b"delivered 11", b"bounced 12"]


def all_deliveries_of_a_message_may_end_in_one_transaction(storage: Storage) -> None:
    spool = begin(storage, accept(10, 40, leased=True), accept(60, 3, leased=True))
    ends = [Change(10 + index, State.DELIVERED, NOW) for index in range(1, 41)]
    spool.write(Transaction(changes=[*ends, Change(61, State.DELIVERED, NOW)]))
    assert (spool.content(10), spool.content(60)) == (None, CONTENT)
    assert [found.id for found in spool.find(Selection(), 0, 10)] == [62, 63]


def a_deferral_is_queued_with_its_new_values_and_keeps_the_time_of_its_first_attempt(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    change = Change(11, State.QUEUED, NOW + 1, [b"deferred"], -1, NOW + 300, 1, 2, 3, 4, NOW + 900, "450 4.2.0 later")
    spool.write(Transaction(changes=[change]))
    found = one(spool, 11)
    assert (found.state, found.due, found.flow) == (State.QUEUED, NOW + 300, FLOW)
    assert (found.attempts, found.steps, found.unsure, found.sources_tried) == (1, 2, 3, 4)
    assert (found.eligible_until, found.first_attempt, found.reason) == (NOW + 900, NOW + 1, "450 4.2.0 later")
    spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW + 300, 1, NOW + 600)]))
    spool.write(Transaction(changes=[Change(11, State.QUEUED, NOW + 301, flow=0, due=NOW + 700, attempts=2)]))
    found = one(spool, 11)
    assert (found.first_attempt, found.attempts, found.flow) == (NOW + 1, 2, 0)


def a_lease_takes_what_is_due_earliest_first_and_says_when_the_next_is_due(storage: Storage) -> None:
    dues = {10: NOW - 1, 20: NOW - 5, 30: NOW + 50, 40: NOW - 3}
    spool = begin(storage, *(accept(number, due=due) for number, due in dues.items()))
    written = spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 2, NOW + 600)]))
    (leased,) = written.leased
    assert [found.id for found in leased.deliveries] == [21, 41]
    assert (leased.flow, leased.next_due) == (FLOW, NOW - 1)
    assert leased.deliveries[0].message == message(20)
    assert leased.deliveries[0].due == NOW - 5
    assert (one(spool, 21).state, one(spool, 21).due) == (State.LEASED, NOW + 600)
    written = spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 9, NOW + 600), LeaseRequest(FLOW, NOW + 50, 9, NOW + 601)]))
    assert [[found.id for found in leased.deliveries] for leased in written.leased] == [[11], [31]]
    assert written.leased[1].next_due == 0


def a_release_gives_a_delivery_back_untouched(storage: Storage) -> None:
    spool = begin(storage, accept(10, 2, leased=True))
    spool.write(Transaction(releases=[Release(11, NOW + 9), Release(12, NOW + 8, 0)]))
    assert [(found.state, found.due, found.flow, found.attempts) for found in spool.find(Selection(), 0, 9)] == [
        (State.QUEUED, NOW + 9, FLOW, 0),
        (State.QUEUED, NOW + 8, 0, 0),
    ]


def a_settlement_by_another_owner_changes_nothing_and_says_so(storage: Storage) -> None:
    begin(storage, accept(10, 2, leased=True), owner=1)
    other, recovered = storage.as_owner(2)
    assert recovered.returned == 0
    before = events(other)
    written = other.write(
        Transaction(
            changes=[Change(11, State.DELIVERED, NOW, [b"no"]), Change(12, State.CANCELLED, NOW, [b"no"])], releases=[Release(12, NOW)]
        )
    )
    assert sorted(set(written.stale)) == [11, 12]
    assert events(other) == before
    assert [found.state for found in other.find(Selection(), 0, 9)] == [State.LEASED, State.LEASED]
    assert other.content(10) == CONTENT


def a_settlement_of_an_earlier_epoch_changes_nothing(storage: Storage) -> None:
    begin(storage, accept(10, leased=True, due=NOW + 333))
    spool, recovered = storage.as_owner(1)
    assert (recovered.returned, recovered.epoch) == (1, 2)
    assert (one(spool, 11).state, one(spool, 11).due) == (State.QUEUED, NOW + 333)
    written = spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW, [b"no"])], releases=[]))
    assert written.stale == [11]
    written = spool.write(Transaction(changes=[Change(11, State.QUEUED, NOW, [b"no"], due=1.0)]))
    assert written.stale == [11]
    assert one(spool, 11).due == NOW + 333


def each_owner_gets_back_its_own(storage: Storage) -> None:
    begin(storage, accept(10, leased=True), owner=1)
    second, _ = storage.as_owner(2)
    second.write(Transaction(acceptances=[accept(20, leased=True)]))
    third, recovered = storage.as_owner(1)
    assert recovered.returned == 1
    assert [found.state for found in third.find(Selection(), 0, 9)] == [State.QUEUED, State.LEASED]


def an_end_without_delivery_may_come_to_a_queued_delivery(storage: Storage) -> None:
    spool = begin(storage, accept(10, 4))
    ends = [
        Change(11, State.CANCELLED, NOW),
        Change(12, State.EXPIRED, NOW),
        Change(13, State.FAILED, NOW),
        Change(14, State.DELIVERED, NOW),
    ]
    assert spool.write(Transaction(changes=ends)).stale == [14]
    assert [found.id for found in spool.find(Selection(), 0, 9)] == [14]


def a_deferral_may_come_to_a_queued_delivery_that_says_so(storage: Storage) -> None:
    spool = begin(storage, accept(10, 2))
    deferred = Change(11, State.QUEUED, NOW, [b"no route"], due=NOW + 60, attempts=1, steps=1, unleased=True)
    assert spool.write(Transaction(changes=[deferred, Change(12, State.QUEUED, NOW, due=NOW + 60)])).stale == [12]
    found, other = spool.find(Selection(), 0, 9)
    assert (found.due, found.attempts, found.steps, other.due) == (NOW + 60, 1, 1, NOW)
    assert events(spool)[-1] == b"no route"


def a_second_end_of_one_delivery_is_stale(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    written = spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW, [b"one"]), Change(11, State.FAILED, NOW, [b"two"])]))
    assert written.stale == [11]
    assert events(spool)[-1] == b"one"
    assert spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW, [b"three"])])).stale == [11]


def an_identity_that_comes_twice_is_refused_and_nothing_of_it_is_written(storage: Storage) -> None:
    spool = begin(storage, accept(10))
    with pytest.raises(SpoolRefused):
        spool.write(Transaction(acceptances=[accept(20), accept(10)], events=[b"lost"]))
    assert spool.count(Selection()) == 1
    assert events(spool) == [b"accepted 11"]
    spool.write(Transaction(acceptances=[accept(20)]))
    assert spool.count(Selection()) == 2


def unrouted_deliveries_are_found_and_get_their_route(storage: Storage) -> None:
    spool = begin(storage, accept(10, 3, flow=0))
    assert [found.id for found in spool.unrouted(0, 2)] == [11, 12]
    assert [found.id for found in spool.unrouted(12, 2)] == [13]
    assert spool.flows_due(0, NOW, 10) == []
    spool.write(Transaction(routed=[Routed(11, FLOW), Routed(13, FLOW), Routed(999, FLOW)]))
    assert [found.id for found in spool.unrouted(0, 9)] == [12]
    assert spool.flows_due(0, NOW, 10) == [FLOW]


def due_times_and_flows_due_are_told(storage: Storage) -> None:
    spool = begin(storage, accept(10, due=NOW), accept(20, due=NOW + 10, flow=8), accept(30, due=NOW + 5, flow=0))
    assert spool.flows_due(0, NOW - 1, 10) == []
    assert spool.flows_due(0, NOW, 10) == [FLOW]
    assert spool.flows_due(NOW, NOW + 10, 10) == [8]
    assert sorted(spool.flows_due(0, NOW + 10, 10)) == [FLOW, 8]
    assert len(spool.flows_due(0, NOW + 10, 1)) == 1
    assert [spool.next_due(at) for at in (0, NOW, NOW + 10)] == [NOW, NOW + 10, 0]


def what_expires_and_what_lapses_is_found(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True), accept(20))
    assert [found.id for found in spool.expiring(NOW + 86_400, 9)] == [21]
    assert spool.expiring(NOW + 86_399, 9) == []
    spool.write(Transaction(changes=[Change(11, State.QUEUED, NOW, due=NOW, eligible_until=NOW + 60)]))
    assert spool.lapsed(NOW + 59, 9) == []
    assert [found.id for found in spool.lapsed(NOW + 60, 9)] == [11]
    spool.write(Transaction(routed=[Routed(11, 8, 0.0)]))
    assert spool.lapsed(NOW + 60, 9) == []
    assert one(spool, 11).flow == 8


def a_selection_matches_by_every_field(storage: Storage) -> None:
    spool = begin(storage, accept(10, 2), accept(20, 1, flow=0, account="shop", stream="transactional", campaign=""))
    table: list[tuple[Selection, list[int]]] = [
        (Selection(), [11, 12, 21]),
        (Selection(ids=[12]), [12]),
        (Selection(ids=[10]), [11, 12]),
        (Selection(domain="d1.example"), [11, 21]),
        (Selection(provider="google"), [11, 12]),
        (Selection(account="shop"), [21]),
        (Selection(stream="marketing"), [11, 12]),
        (Selection(campaign="spring", domain="d2.example"), [12]),
        (Selection(account="nobody"), []),
        (Selection(older_than=NOW * 2), [11, 12, 21]),
        (Selection(older_than=1_000_000_000.0), []),
    ]
    for selection, expected in table:
        assert [found.id for found in spool.find(selection, 0, 99)] == expected, selection
        assert spool.count(selection) == len(expected), selection
    assert [found.id for found in spool.find(Selection(), 11, 1)] == [12]


def a_sweep_goes_in_slices_and_leaves_the_leased_alone(storage: Storage) -> None:
    spool = begin(storage, accept(10, 5, due=NOW + 999), accept(20, 1, leased=True))
    first = Sweep("retry", Selection(campaign="spring"), NOW, limit=3)
    assert spool.write(Transaction(sweeps=[first])).swept == [[11, 12, 13]]
    assert spool.write(Transaction(sweeps=[Sweep("retry", Selection(), NOW, after=13)])).swept == [[14, 15]]
    assert {found.due for found in spool.find(Selection(ids=[10]), 0, 9)} == {NOW}
    written = spool.write(Transaction(sweeps=[Sweep("reroute", Selection(domain="d2.example"), NOW + 1)]))
    assert written.swept == [[12]]
    assert [found.id for found in spool.unrouted(0, 9)] == [12]


def backlog_counts_by_flow(storage: Storage) -> None:
    spool = begin(storage, accept(10, 3, due=NOW + 4), accept(20, 2, leased=True), accept(30, 1, leased=True, flow=9))
    found = {count.number: count for count in spool.backlog()}
    assert {number: (count.queued, count.leased, count.next_due) for number, count in found.items()} == {
        FLOW: (3, 2, NOW + 4),
        9: (0, 1, 0.0),
    }


def holds_notes_and_flows_survive_a_crash(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    hold = Hold(5, NOW, NOW + 60, campaign="spring", reason="asked by marketing")
    gone = Hold(6, NOW, account="crm")
    spool.write(Transaction(holds=[hold, gone], notes=[Note("limit", b"1"), Note("other", b"x")]))
    spool.write(Transaction(holds_removed=[6], notes=[Note("limit", b"2"), Note("other", None)]))
    assert (spool.note("limit"), spool.note("other"), spool.note("never")) == (b"2", None, None)
    spool, recovered = storage.reopened(1)
    assert recovered.holds == [hold]
    assert recovered.flows == [NewFlow(FLOW, KEY)]
    assert (recovered.returned, recovered.clean, recovered.last_identity, recovered.position) == (1, False, 11, 1)
    assert spool.note("limit") == b"2"


def a_flow_without_deliveries_is_forgotten_at_a_start(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW)]))
    _, recovered = storage.reopened(1)
    assert (recovered.flows, recovered.last_identity) == ([], 11)


def positions_are_never_given_twice(storage: Storage) -> None:
    spool = begin(storage)
    assert spool.write(Transaction(events=[b"a", b"b", b"c"])).position == 3
    spool.write(Transaction(outbox_until=3))
    assert spool.events(3, 10) == []
    spool, recovered = storage.reopened(1)
    assert recovered.position == 3
    assert spool.write(Transaction(events=[b"d"])).position == 4
    assert spool.events(3, 10) == [(4, b"d")]


def published_events_go(storage: Storage) -> None:
    spool = begin(storage)
    spool.write(Transaction(events=[b"%d" % number for number in range(2500)]))
    spool.write(Transaction(outbox_until=2400))
    for _ in range(3):
        spool.write(Transaction(notes=[Note("any", b"")]))
    assert spool.events(0, 1)[0][0] > 2000
    assert spool.events(2400, 1) == [(2401, b"2400")]


def events_come_in_pages_in_the_order_of_the_transaction(storage: Storage) -> None:
    spool = begin(storage, accept(10, leased=True))
    spool.write(
        Transaction(acceptances=[accept(20)], changes=[Change(11, State.DELIVERED, NOW, [b"delivered 11"])], events=[b"suppressed"])
    )
    assert events(spool) == [b"accepted 11", b"accepted 21", b"delivered 11", b"suppressed"]
    assert spool.events(1, 2) == [(2, b"accepted 21"), (3, b"delivered 11")]


def recipients_known_under_a_key_are_not_written_again_and_new_ones_are(storage: Storage) -> None:
    spool = begin(storage)
    assert spool.write(Transaction(acceptances=[keyed(10, "a@x.example", "b@x.example")])).repeated == []
    written = spool.write(
        Transaction(acceptances=[keyed(20, "b@X.example", "c@x.example"), keyed(30, "a@x.example", "b@x.example", body=2)])
    )
    assert written.repeated == [Repeated(20, 10, [21], differs=False), Repeated(30, 10, [31, 32], differs=True)]
    assert [found.id for found in spool.find(Selection(), 0, 99)] == [11, 12, 22]
    assert events(spool) == [b"accepted 11", b"accepted 12", b"accepted 22"]
    assert (spool.content(20), spool.content(30)) == (CONTENT, None)
    spool.write(Transaction(changes=[Change(22, State.CANCELLED, NOW)]))
    assert spool.content(20) is None, "the message counts the deliveries that it has"


def acceptances_of_one_transaction_see_the_keys_of_those_before_them(storage: Storage) -> None:
    spool = begin(storage)
    batch = [keyed(10, "a@x.example"), keyed(20, "a@x.example", "b@x.example"), keyed(30, "b@x.example", "b@x.example"), accept(40)]
    written = spool.write(Transaction(acceptances=[*batch, keyed(50, "a@x.example", key=b"other key, 16 by")]))
    assert written.repeated == [Repeated(20, 10, [21], differs=False), Repeated(30, 20, [31, 32], differs=False)]
    assert [found.id for found in spool.find(Selection(), 0, 99)] == [11, 22, 41, 51]


def a_key_outlives_its_deliveries_a_crash_and_its_owner(storage: Storage) -> None:
    spool = begin(storage, keyed(10, "a@x.example", leased=True))
    spool.write(Transaction(changes=[Change(11, State.FAILED, NOW)]))
    again = Transaction(acceptances=[keyed(20, "a@x.example", received=NOW + 3 * 86_400)])
    assert spool.write(again).repeated == [Repeated(20, 10, [21], differs=False)]
    spool, _ = storage.reopened(1)
    assert spool.write(again).repeated == [Repeated(20, 10, [21], differs=False)]
    other, _ = storage.as_owner(2)
    assert other.write(again).repeated == [Repeated(20, 10, [21], differs=False)]
    assert other.count(Selection()) == 0


def a_refused_transaction_leaves_no_keys(storage: Storage) -> None:
    spool = begin(storage, accept(10))
    with pytest.raises(SpoolRefused):
        spool.write(Transaction(acceptances=[keyed(20, "a@x.example"), accept(10)]))
    assert spool.write(Transaction(acceptances=[keyed(30, "a@x.example")])).repeated == []
    assert [found.id for found in spool.find(Selection(), 0, 99)] == [11, 31]


def many_recipients_under_one_key_are_each_written_once(storage: Storage) -> None:
    spool = begin(storage)
    mailboxes = [f"r{number}@x.example" for number in range(300)]
    spool.write(Transaction(acceptances=[keyed(1000, *mailboxes[:200])]))
    written = spool.write(Transaction(acceptances=[keyed(2000, *mailboxes), keyed(3000, *mailboxes)]))
    assert [(one.message, one.first, len(one.deliveries)) for one in written.repeated] == [(2000, 1000, 200), (3000, 1000, 300)]
    assert spool.count(Selection()) == 300


def other_events_are_written_when_every_recipient_is_known(storage: Storage) -> None:
    spool = begin(storage, keyed(10, "a@x.example"))
    again = keyed(20, "a@x.example")
    spool.write(Transaction(acceptances=[msgspec.structs.replace(again, events=[b"suppressed", *again.events])]))
    assert events(spool) == [b"accepted 11", b"suppressed"]


CONTRACT: list[Callable[[Storage], None]] = [
    an_accepted_message_is_there_with_its_bytes_its_deliveries_and_its_events,
    what_a_sender_wants_to_be_told_stays_with_its_delivery,
    a_notice_holds_its_message_until_it_is_told,
    notices_of_one_message_and_action_come_together_and_go_with_the_report_that_tells_them,
    a_delay_is_told_once_beside_its_delivery,
    a_delay_that_is_told_by_two_changes_is_one_notice,
    a_change_that_is_refused_tells_nobody,
    a_delivery_that_ends_leaves_a_ledger_row_and_the_bytes_go_with_the_last,
    all_deliveries_of_a_message_may_end_in_one_transaction,
    a_deferral_is_queued_with_its_new_values_and_keeps_the_time_of_its_first_attempt,
    a_lease_takes_what_is_due_earliest_first_and_says_when_the_next_is_due,
    a_release_gives_a_delivery_back_untouched,
    a_settlement_by_another_owner_changes_nothing_and_says_so,
    a_settlement_of_an_earlier_epoch_changes_nothing,
    each_owner_gets_back_its_own,
    an_end_without_delivery_may_come_to_a_queued_delivery,
    a_deferral_may_come_to_a_queued_delivery_that_says_so,
    a_second_end_of_one_delivery_is_stale,
    an_identity_that_comes_twice_is_refused_and_nothing_of_it_is_written,
    unrouted_deliveries_are_found_and_get_their_route,
    due_times_and_flows_due_are_told,
    what_expires_and_what_lapses_is_found,
    a_selection_matches_by_every_field,
    a_sweep_goes_in_slices_and_leaves_the_leased_alone,
    backlog_counts_by_flow,
    holds_notes_and_flows_survive_a_crash,
    a_flow_without_deliveries_is_forgotten_at_a_start,
    positions_are_never_given_twice,
    published_events_go,
    events_come_in_pages_in_the_order_of_the_transaction,
    recipients_known_under_a_key_are_not_written_again_and_new_ones_are,
    acceptances_of_one_transaction_see_the_keys_of_those_before_them,
    a_key_outlives_its_deliveries_a_crash_and_its_owner,
    a_refused_transaction_leaves_no_keys,
    many_recipients_under_one_key_are_each_written_once,
    other_events_are_written_when_every_recipient_is_known,
]
"""Every rule."""
