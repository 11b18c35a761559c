"""From a cause to its suppression: which causes, with which id and scope."""

import msgspec
import pytest

from contacts.consequence import addition_of, hard_bounce_addition
from contacts.suppression import Policy, Scope
from mail.event import Event, EventKind, seal, unseal
from tests.contacts.material import NOW, bounced


def test_a_dead_address_is_added_once_however_often_its_cause_is_seen():
    first, second = hard_bounce_addition(bounced(), NOW), hard_bounce_addition(bounced(), NOW + 60)
    assert first is not None
    assert second is not None
    assert first.id == second.id == first.entry == "aaaaaaaaaaaaa.1.s"
    assert (first.kind, first.reason, first.scope, first.evidence) == (
        EventKind.SUPPRESSION_ADDED,
        "hard_bounce",
        "global",
        "aaaaaaaaaaaaa.1",
    )
    assert first.at == NOW
    assert first.time == "2027-01-15T08:00:00.000Z"
    assert unseal(seal(first)) == first


@pytest.mark.parametrize("kind", sorted(set(EventKind) - {EventKind.BOUNCED}))
def test_nothing_but_a_bounce_is_a_hard_bounce(kind):
    assert hard_bounce_addition(msgspec.structs.replace(bounced(), kind=kind), NOW) is None


def test_a_bounce_that_is_not_the_recipients_fault_suppresses_nobody():
    assert hard_bounce_addition(bounced(suppression_proposed=False, fault="sender-ip"), NOW) is None


def unsubscribed(**more):
    return Event(id="u", kind=EventKind.UNSUBSCRIBED, at=NOW, recipient="jane@example.org", **more)


@pytest.mark.parametrize(
    ("scope", "facts", "expected"),
    [
        (Scope.ACCOUNT, {"account": "shop", "stream": "news"}, "account"),
        (Scope.STREAM, {"account": "shop", "stream": "news"}, "stream"),
        (Scope.LIST, {"account": "shop", "stream": "news", "list": "weekly"}, "list"),
        (Scope.LIST, {"account": "shop", "stream": "news"}, "stream"),
        (Scope.STREAM, {"account": "shop"}, "account"),
        (Scope.ACCOUNT, {}, "global"),
    ],
)
def test_an_unsubscription_has_the_scope_of_its_stream_or_the_next_wider_one(scope, facts, expected):
    policy = Policy(unsubscribe_scopes={"news": scope, "": scope}, scopes={})
    event = addition_of(unsubscribed(**facts), NOW, policy)
    assert event is not None
    assert (event.reason, event.scope) == ("unsubscribe", expected)


def test_a_complaint_holds_for_everybody():
    event = addition_of(msgspec.structs.replace(unsubscribed(account="shop"), kind=EventKind.COMPLAINED), NOW)
    assert event is not None
    assert (event.reason, event.scope, event.origin) == ("complaint", "global", "feedback")
