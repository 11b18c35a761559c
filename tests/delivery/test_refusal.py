"""The refusal table of DESIGN section 4, row by row, and that every combination has an answer."""

import itertools

import pytest

from gateway.delivery.refusal import MOST_SOURCE_CHANGES, Action, Past, action_for, row_for
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Unsure, Verdict
from mail.reply import Reply

FRESH = Past(unsure=0, sources_tried=0, another_source=True, retry_unsure=True)


def verdict(category: Category, fault: Fault, code: int) -> Verdict:
    return Verdict(Reply(code, "text"), category, fault)


ROWS = [
    (550, Category.BAD_MAILBOX, Fault.RECIPIENT, Action.FAIL),
    (550, Category.INACTIVE_MAILBOX, Fault.RECIPIENT, Action.FAIL),
    (552, Category.MAILBOX_FULL, Fault.RECIPIENT, Action.FAIL),
    (556, Category.BAD_DOMAIN, Fault.RECIPIENT, Action.FAIL),
    (450, Category.BAD_MAILBOX, Fault.RECIPIENT, Action.RETRY),
    (452, Category.MAILBOX_FULL, Fault.RECIPIENT, Action.RETRY),
    (451, Category.GREYLISTED, Fault.RECEIVER, Action.RETRY_SAME_SOURCE),
    (421, Category.RATE_LIMITED, Fault.SENDER_IP, Action.RETRY_LANE),
    (421, Category.IP_REPUTATION, Fault.SENDER_IP, Action.RETRY_LANE),
    (554, Category.IP_REPUTATION, Fault.SENDER_IP, Action.OTHER_SOURCE),
    (550, Category.AUTH_FAILED, Fault.SENDER_DOMAIN, Action.FAIL_COUNTED),
    (550, Category.DOMAIN_REPUTATION, Fault.SENDER_DOMAIN, Action.FAIL_COUNTED),
    (550, Category.SENDER_REJECTED, Fault.SENDER_DOMAIN, Action.FAIL_COUNTED),
    (554, Category.CONTENT, Fault.CONTENT, Action.FAIL_COUNTED),
    (550, Category.POLICY, Fault.UNKNOWN, Action.FAIL_COUNTED),
    (451, Category.CONTENT, Fault.CONTENT, Action.RETRY),
    (451, Category.AUTH_FAILED, Fault.SENDER_DOMAIN, Action.RETRY),
    (451, Category.NETWORK, Fault.NETWORK, Action.RETRY),
    (554, Category.TLS, Fault.NETWORK, Action.RETRY),
    (554, Category.RECEIVER_TROUBLE, Fault.RECEIVER, Action.RETRY),
    (550, Category.RELAYING, Fault.CONFIG, Action.RETRY),
    (554, Category.LOOP, Fault.CONFIG, Action.FAIL),
    (554, Category.OTHER, Fault.UNKNOWN, Action.FAIL),
    (451, Category.OTHER, Fault.UNKNOWN, Action.RETRY),
]


@pytest.mark.parametrize(("code", "category", "fault", "action"), ROWS)
def test_each_row_says_what_the_design_says(code: int, category: Category, fault: Fault, action: Action) -> None:
    outcome = Failed(verdict(category, fault, code)) if code >= 500 else Deferred(verdict(category, fault, code))
    assert action_for(outcome, FRESH) is action


def test_every_combination_has_a_row() -> None:
    for category, fault, permanent in itertools.product(Category, Fault, (False, True)):
        row_for(verdict(category, fault, 550 if permanent else 450), permanent)


def test_a_recipient_is_never_blamed_for_our_address() -> None:
    assert action_for(Failed(verdict(Category.IP_REPUTATION, Fault.SENDER_IP, 554)), FRESH) is Action.OTHER_SOURCE


def test_another_source_is_tried_twice_at_most() -> None:
    tired = Past(unsure=0, sources_tried=MOST_SOURCE_CHANGES, another_source=True, retry_unsure=True)
    assert action_for(Failed(verdict(Category.IP_REPUTATION, Fault.SENDER_IP, 554)), tired) is Action.FAIL


def test_without_another_source_an_ip_refusal_is_the_end() -> None:
    alone = Past(unsure=0, sources_tried=0, another_source=False, retry_unsure=True)
    assert action_for(Failed(verdict(Category.IP_REPUTATION, Fault.SENDER_IP, 554)), alone) is Action.FAIL


def test_an_unsure_attempt_is_repeated_once_where_the_stream_says_so() -> None:
    unsure = Unsure(verdict(Category.NETWORK, Fault.NETWORK, 451))
    again = Past(unsure=1, sources_tried=0, another_source=True, retry_unsure=True)
    never = Past(unsure=0, sources_tried=0, another_source=True, retry_unsure=False)
    assert action_for(unsure, FRESH) is Action.RETRY_UNSURE
    assert action_for(unsure, again) is Action.FAIL
    assert action_for(unsure, never) is Action.FAIL


def test_a_delivery_is_delivered() -> None:
    assert action_for(Delivered(Reply(250, "ok")), FRESH) is Action.DELIVERED
