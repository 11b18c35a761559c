"""Whatever becomes of deliveries and of what senders are told, in one transaction or in many: a message is there, with its bytes and the
right count, as long as a delivery or a notice needs it, and each mailbox under a key is accepted once."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bounce.report import Action
from gateway.spool.integrity import findings
from gateway.spool.lifecycle import State
from gateway.spool.notice import Notice, Told
from gateway.spool.port import Change, NewFlow, Release, Selection, Transaction
from tests.spool.contract import FLOW, KEY, NOW, accept, keyed
from tests.spool.test_sqlite import DAY, opened

MESSAGES = (100, 200, 300)
PEOPLE = ("a@x.example", "b@x.example", "c@X.example", "a@X.example")

ENDS = st.tuples(
    st.sampled_from([number + index for number in MESSAGES for index in (1, 2, 3)]),
    st.sampled_from([State.QUEUED, State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED]),
    st.booleans(),
)
REPORTS = st.tuples(st.sampled_from(MESSAGES), st.sampled_from(list(Action)), st.sets(st.sampled_from([1, 2, 3]), max_size=3))
STEPS = st.lists(st.tuples(st.lists(ENDS, max_size=5), st.lists(REPORTS, max_size=2), st.booleans()), max_size=8)


def _change(delivery: int, state: State, told: bool) -> Change:
    action = {State.QUEUED: Action.DELAYED, State.DELIVERED: Action.RELAYED}.get(state, Action.FAILED)
    notice = Notice(delivery, action, NOW, NOW, "r@x.example") if told and state is not State.CANCELLED else None
    return Change(delivery, state, NOW, due=NOW, unleased=True, notice=notice)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_messages_are_there_as_long_as_a_delivery_or_a_notice_needs_them(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = opened(Path(folder))
        spool.write(Transaction(flows=[NewFlow(FLOW, KEY)], acceptances=[accept(number, 3, leased=True) for number in MESSAGES]))
        for ends, reports, released in steps:
            changes = [_change(*end) for end in ends]
            told = [Told(message, action, [message + index for index in indexes]) for message, action, indexes in reports]
            releases = [Release(MESSAGES[0] + 1, NOW)] if released else []
            spool.write(Transaction(changes=changes, releases=releases, told=told))
            assert findings(spool.store._connection) == []
            needed = {queued.message.id for queued in spool.find(Selection(), 0, 100)}
            needed |= {pending.told.message for pending in spool.notices(NOW, 100)}
            assert {number for number in MESSAGES if spool.content(number) is not None} == needed
        spool.write(Transaction(told=[pending.told for pending in spool.notices(NOW, 100)]))
        left = [queued.id for queued in spool.find(Selection(), 0, 100)]
        spool.write(Transaction(changes=[Change(delivery, State.CANCELLED, NOW) for delivery in left]))
        assert [spool.content(number) for number in MESSAGES] == [None] * len(MESSAGES)
        assert findings(spool.store._connection) == []
        spool.close(clean=True)


SENDS = st.tuples(st.sampled_from([b"k" * 16, b"l" * 16]), st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4, unique=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(SENDS, min_size=1, max_size=4), max_size=6))
def test_each_mailbox_is_accepted_once_under_a_key_however_sends_fall_into_commits(batches: list[list[tuple[bytes, list[str]]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = opened(Path(folder))
        spool.write(Transaction(flows=[NewFlow(FLOW, KEY)]))
        first: dict[tuple[bytes, str], int] = {}
        number = 0
        for day, batch in enumerate(batches):
            acceptances, expected = [], {}
            for key, people in batch:
                number += 100
                acceptances.append(keyed(number, *people, key=key, received=NOW + day * DAY))
                known = [first.setdefault((key, person.lower()), number) for person in people]
                again = [
                    number + index for index, person in enumerate(people, 1) if _again(people, index - 1) or known[index - 1] != number
                ]
                expected[number] = (again, min((message for message in known if message != number), default=number))
            repeated = spool.write(Transaction(acceptances=acceptances)).repeated
            assert {one.message: (one.deliveries, one.first) for one in repeated} == {
                message: told for message, told in expected.items() if told[0]
            }
        queued = [(queued.message.id, queued.recipient.lower()) for queued in spool.find(Selection(), 0, 1000)]
        assert sorted(queued) == sorted((message, person) for (_, person), message in first.items())
        assert findings(spool.store._connection) == []
        spool.close(clean=True)


def _again(people: list[str], at: int) -> bool:
    """Whether the same mailbox stands before it in the same message."""
    return people[at].lower() in [person.lower() for person in people[:at]]
