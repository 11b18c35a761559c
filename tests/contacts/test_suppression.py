"""What keeps whose mail back, and that the order and number of events does not matter. The same for the model and for the file."""

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.consequence import hard_bounce_addition
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Reason, Scope, SuppressionView
from mail.event import Event, EventKind, seal
from tests.contacts.material import NOW, Clock, addition, address, bounced, removal, rules

JANE = address("jane@example.org")


class OnDisk:
    """A store in which every event goes to the file at once."""

    def __init__(self, store):
        self.reason, self.entries, self._store = store.reason, store.entries, store
        self._positions = itertools.count(1)

    def apply(self, event):
        return self._store.catch_up([(next(self._positions), seal(event))]).changed


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "overlay", "file"])
def view(request, tmp_path, clock):
    """The model; the store with events pending in memory; the store with events on disk."""
    if request.param == "memory":
        yield SuppressionView(rules(), clock)
        return
    store = SuppressionStore(tmp_path, rules(), clock)
    yield store if request.param == "overlay" else OnDisk(store)
    store.close()


def test_nobody_is_suppressed_in_an_empty_list(view):
    assert view.reason("shop", "news", JANE) is None


def test_a_hard_bounce_keeps_everybodys_mail_back(view):
    assert view.apply(addition("a"))
    assert view.reason("shop", "news", JANE) == "hard_bounce"
    assert view.reason("crm", "receipts", address("JANE@Example.org")) == "hard_bounce"
    assert view.reason("shop", "news", address("jane+x@example.org")) is None


def test_an_event_applied_twice_changes_nothing(view):
    assert view.apply(addition("a"))
    assert not view.apply(addition("a"))
    assert view.apply(removal("r", "a"))
    assert not view.apply(removal("r", "a"))
    assert view.reason("shop", "news", JANE) is None


def test_a_removed_entry_does_not_come_back_late_and_a_new_one_does(view):
    view.apply(removal("r", "a"))
    assert not view.apply(addition("a"))
    assert view.reason("shop", "news", JANE) is None
    assert view.apply(addition("b"))
    assert view.reason("shop", "news", JANE) == "hard_bounce"


def test_removing_one_reason_leaves_the_other(view):
    view.apply(addition("a"))
    view.apply(addition("b", reason="complaint"))
    view.apply(removal("r", "a"))
    assert view.reason("shop", "news", JANE) == "complaint"


def test_the_gravest_reason_is_named(view):
    for number, reason in enumerate(reversed(Reason)):
        view.apply(addition(str(number), reason=reason.value))
    assert view.reason("shop", "news", JANE) == "hard_bounce"


def test_transactional_mail_passes_an_unsubscribe_but_no_complaint(view):
    view.apply(addition("a", reason="unsubscribe", scope="account", account="shop"))
    assert view.reason("shop", "news", JANE) == "unsubscribe"
    assert view.reason("shop", "receipts", JANE) is None
    assert view.reason("shop", "a stream nobody configured", JANE) == "unsubscribe"
    view.apply(addition("b", reason="complaint"))
    assert view.reason("shop", "receipts", JANE) == "complaint"


SCOPED = [
    ({"scope": "global"}, {("shop", "news"), ("shop", "offers"), ("crm", "news")}),
    ({"scope": "account", "account": "shop"}, {("shop", "news"), ("shop", "offers")}),
    ({"scope": "stream", "stream": "news"}, {("shop", "news"), ("crm", "news")}),
    ({"scope": "stream", "stream": "news", "account": "shop"}, {("shop", "news")}),
]


@pytest.mark.parametrize(("scope", "held"), SCOPED)
def test_an_entry_holds_within_its_scope(view, scope, held):
    view.apply(addition("a", **scope))
    pairs = set(itertools.product(["shop", "crm"], ["news", "offers"])) - {("crm", "offers")}
    assert {pair for pair in pairs if view.reason(*pair, JANE)} == held


def test_a_list_entry_holds_for_its_list_only(view):
    view.apply(addition("a", reason="unsubscribe", scope="list", list="weekly.shop.example", account="shop"))
    assert view.reason("shop", "news", JANE, "weekly.shop.example") == "unsubscribe"
    assert view.reason("shop", "news", JANE, "daily.shop.example") is None
    assert view.reason("shop", "news", JANE) is None


def test_an_entry_on_probation_ends_by_itself(view, clock):
    view.apply(addition("a", reason="soft_bounce_limit", expires=NOW + 10))
    assert view.reason("shop", "news", JANE) == "soft_bounce_limit"
    clock.now = NOW + 10
    assert view.reason("shop", "news", JANE) is None


def test_why_gives_the_evidence(view):
    event = hard_bounce_addition(bounced(), NOW)
    view.apply(event)
    [entry] = view.entries(JANE)
    assert (entry.reason, entry.scope, entry.origin, entry.evidence) == (Reason.HARD_BOUNCE, Scope.GLOBAL, "smtp", "aaaaaaaaaaaaa.1")
    assert (entry.code, entry.enhanced, entry.campaign, entry.message_id) == (550, "5.1.1", "spring", "<1@shop.example>")


SENSELESS = [
    addition("a", reason="because"),
    addition("a", scope="planet"),
    addition("a", recipient="nobody"),
    addition("a", scope="account"),
    addition("a", scope="list"),
    addition("x" * 256),
    removal("r", ""),
    bounced(),
    Event(id="i", kind=EventKind.SUPPRESSION_IMPORTED, at=NOW, recipient="", batch="b", counts={"added": 3}),
]


@pytest.mark.parametrize("event", SENSELESS, ids=range(len(SENSELESS)))
def test_an_event_that_makes_no_sense_changes_nothing(view, event):
    assert not view.apply(event)
    assert view.reason("shop", "news", JANE) is None


def test_a_hash_keeps_the_address_back_that_nobody_knows(view):
    view.apply(addition("a", recipient="sha256:" + hashlib.sha256(b"jane@example.org").hexdigest(), reason="imported"))
    assert view.reason("shop", "news", address("Jane@example.org")) == "imported"
    view.apply(removal("r", "a"))
    assert view.reason("shop", "news", JANE) is None


@given(st.data())
def test_any_order_and_any_number_of_times_gives_one_view(data):
    events = [addition(name, recipient=f"{name[0]}@example.org") for name in ("a1", "a2", "b1", "c1")]
    events += [removal("r1", "a1", "a@example.org"), removal("r2", "c1", "c@example.org")]
    shuffled = data.draw(st.permutations(events * 2))
    view = SuppressionView(rules(), Clock())
    for event in shuffled:
        view.apply(event)
    assert [entry.id for name in "abc" for entry in view.entries(address(f"{name}@example.org"))] == ["a2", "b1"]


def test_the_policy_gives_scopes_and_what_may_pass():
    passes = {"transactional": frozenset(), "marketing": frozenset({Reason.MANUAL})}
    policy = Policy(passes=passes, unsubscribe_scopes={"news": Scope.STREAM})
    assert policy.scope_of(Reason.HARD_BOUNCE, "news") is Scope.GLOBAL
    assert policy.scope_of(Reason.UNSUBSCRIBE, "news") is Scope.STREAM
    assert policy.scope_of(Reason.UNSUBSCRIBE, "other") is Scope.ACCOUNT
    view = SuppressionView(rules(policy), Clock())
    view.apply(addition("a", reason="unsubscribe"))
    view.apply(addition("b", "joe@example.org", reason="manual"))
    assert view.reason("shop", "receipts", JANE) == "unsubscribe"
    assert view.reason("shop", "news", address("joe@example.org")) is None
