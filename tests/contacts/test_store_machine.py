"""The file against the model: whatever is applied, carried to disk, repeated, interrupted by a restart, both say the same."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contacts.store import SuppressionStore
from contacts.suppression import SuppressionView
from mail.event import seal
from tests.contacts.material import NOW, Clock, addition, address, removal, rules

PEOPLE = [address(f"{name}@example.org") for name in "abc"]
ENTRIES = st.integers(0, 5)
PLACES = [("shop", "news"), ("crm", "news"), ("shop", "receipts")]


class StoreAgainstModel(RuleBasedStateMachine):
    """The log grows; the loop applies at once, another hand carries it to disk some time later."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.log: list[tuple[int, bytes]] = []
        self.model = SuppressionView(rules(), self.clock)
        self.store = self.opened()

    def opened(self):
        return SuppressionStore(Path(self.folder.name), rules(), self.clock)

    def happens(self, event):
        self.log.append((len(self.log) + 1, seal(event)))
        assert bool(self.store.apply(event)) == bool(self.model.apply(event))

    @rule(
        number=ENTRIES, reason=st.sampled_from(["hard_bounce", "unsubscribe"]), account=st.sampled_from(["", "shop"]), brief=st.booleans()
    )
    def add(self, number, reason, account, brief):
        person = PEOPLE[number % 3].text
        scope = "account" if account else "global"
        expires = NOW + 5 if brief else 0.0
        self.happens(addition(f"e{number}", person, reason, scope, account=account, expires=expires))

    @rule(number=ENTRIES)
    def remove(self, number):
        self.happens(removal(f"r{number}", f"e{number}", PEOPLE[number % 3].text))

    @rule(back=st.integers(0, 4), left=st.integers(0, 3))
    def carry(self, back, left):
        start = max(0, self.store.position() - back)
        self.store.catch_up(self.log[start : max(start, len(self.log) - left)])

    @rule()
    def restart(self):
        self.store.close()
        self.store = self.opened()
        self.store.catch_up(self.log)

    @rule(seconds=st.integers(0, 6))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @invariant()
    def both_say_the_same(self):
        for person in PEOPLE:
            assert [entry.id for entry in self.store.entries(person)] == [entry.id for entry in self.model.entries(person)]
            for account, stream in PLACES:
                assert self.store.reason(account, stream, person) == self.model.reason(account, stream, person)

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
