"""Soft bounces add up to a suppression that ends, over restarts and repeated lines; a delivery forgets them."""

import msgspec
import pytest

from config.suppression import Suppression
from contacts.soft import SoftFailures
from contacts.store import SuppressionStore
from gateway.core.soft import SoftBounces
from mail.event import Event, EventKind, seal
from tests.contacts.material import NOW, Clock, rules

DAY = 86_400.0
FULL = Event(
    "aaaaaaaaaaaaa.3",
    EventKind.BOUNCED,
    NOW,
    "Jane@Example.org",
    category="mailbox-full",
    fault="recipient",
    code=552,
    diagnostic="full",
    account="shop",
    stream="news",
)


class Rig:
    """A store, and the log as far as it was carried to disk."""

    def __init__(self, folder, **settings) -> None:
        self.folder, self.settings = folder, Suppression(soft_bounces=3, **settings)
        self.lines: list[bytes] = []
        self.open()

    def open(self) -> None:
        self.store = SuppressionStore(self.folder, rules(), Clock())
        self.soft = SoftBounces(SoftFailures(self.store), self.settings, pytest.fail)

    def happens(self, event: Event) -> Event | None:
        """The event is committed with its consequence, and both are carried to disk."""
        addition = self.soft.addition_of(event, event.at)
        self.lines += [seal(one) for one in (event, addition) if one is not None]
        self.soft.follow(self.lines[-2:], event.at)
        return addition

    def fails(self, day: float, **more) -> Event | None:
        return self.happens(msgspec.structs.replace(FULL, id=f"aaaaaaaaaaaaa.{day}", at=NOW + day * DAY, **more))


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.store.close()


def test_failures_on_as_many_days_suppress_for_a_while_with_the_last_as_evidence(rig):
    assert [rig.fails(day) for day in (0, 2)] == [None, None]
    addition = rig.fails(4)
    assert addition is not None
    assert (addition.kind, addition.reason, addition.scope) == (EventKind.SUPPRESSION_ADDED, "soft_bounce_limit", "global")
    assert (addition.evidence, addition.diagnostic) == ("aaaaaaaaaaaaa.4", "full")
    assert addition.expires == NOW + 4 * DAY + rig.settings.soft_expiry


def test_an_expired_delivery_counts_like_a_refused_one(rig):
    assert [rig.fails(day, kind=EventKind.EXPIRED) is not None for day in (0, 2, 4)] == [False, False, True]


@pytest.mark.parametrize(
    "more",
    [
        {"fault": "sender-ip"},
        {"category": "greylisted"},
        {"hard": True},
        {"kind": EventKind.DEFERRED},
        {"recipient": ""},
        {"category": "new-word"},
    ],
)
def test_nothing_else_counts(rig, more):
    assert [rig.fails(day, **more) for day in range(0, 12, 2)] == [None] * 6


def test_a_day_is_one_failure_however_often_mail_fails_or_a_line_comes_again(rig):
    assert [rig.fails(hour / 24) for hour in range(20)] == [None] * 20
    rig.soft.follow(rig.lines, NOW + DAY)
    assert rig.fails(2) is None
    assert rig.fails(4) is not None


def test_failures_too_long_ago_are_forgotten(rig):
    assert [rig.fails(day) for day in (0, 2, 40, 42)] == [None] * 4


def test_a_delivery_forgets(rig):
    rig.fails(0)
    rig.fails(2)
    rig.happens(msgspec.structs.replace(FULL, kind=EventKind.DELIVERED, at=NOW + 3 * DAY, fault="", category=""))
    assert [rig.fails(day) for day in (4, 6)] == [None, None]


def test_what_was_counted_survives_a_restart(rig):
    rig.fails(0)
    rig.fails(2)
    rig.store.close()
    rig.open()
    rig.happens(
        msgspec.structs.replace(FULL, kind=EventKind.DELIVERED, at=NOW + 3 * DAY, fault="", category="", recipient="other@example.org")
    )
    assert rig.fails(4) is not None


def test_after_its_end_one_failure_is_enough_until_probation_is_over(rig):
    for day in (0, 2, 4):
        rig.fails(day)
    end = 4 + rig.settings.soft_expiry / DAY
    assert rig.fails(end - 1) is None, "mail that was under way"
    again = rig.fails(end + 1)
    assert again is not None
    later = end + 1 + (rig.settings.soft_expiry + rig.settings.soft_probation) / DAY
    assert rig.fails(later + 1) is None


def test_taking_it_off_the_list_forgets_probation(rig):
    for day in (0, 2, 4):
        addition = rig.fails(day)
    assert addition is not None
    removal = msgspec.structs.replace(addition, kind=EventKind.SUPPRESSION_REMOVED, id="r", at=NOW + 5 * DAY)
    rig.happens(removal)
    assert rig.fails(6) is None


def test_it_can_be_switched_off(tmp_path):
    rig = Rig(tmp_path)
    rig.soft.reconfigure(Suppression(soft_bounces=0))
    assert [rig.fails(day) for day in range(0, 20, 2)] == [None] * 10
    rig.store.close()


def test_old_pasts_are_tidied_away(rig):
    rig.fails(0)
    assert rig.soft.tidy(NOW + 20 * DAY) == 0
    assert rig.soft.tidy(NOW + 31 * DAY) == 1
    assert not rig.soft.tidy(NOW + 31 * DAY)


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path):
    store = SuppressionStore(tmp_path, rules(), Clock())
    with store.writing() as writer:
        writer.execute("DROP TABLE soft; PRAGMA user_version = 1")
    store.close()
    rig = Rig(tmp_path)
    assert rig.fails(0) is None
    rig.store.close()
