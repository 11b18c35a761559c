"""Replies and outcomes: codes, enhanced codes, and which failure is hard."""

import itertools

import pytest

from mail.outcome import Category, Delivered, Failed, Outcome, is_hard
from mail.reply import Reply, reply_from_lines


@pytest.mark.parametrize(
    ("code", "lines", "enhanced", "text"),
    [
        (550, ["5.1.1 No such user"], "5.1.1", "No such user"),
        (550, ["5.1.1 No", "5.1.1 such user"], "5.1.1", "No\nsuch user"),
        (550, ["5.1.1 No", "such user"], "5.1.1", "No\nsuch user"),
        (550, ["4.1.1 No such user"], "", "4.1.1 No such user"),
        (250, ["2.0.0"], "2.0.0", ""),
        (250, ["ok 5.1.1"], "", "ok 5.1.1"),
        (550, ["5.1.1234 x"], "", "5.1.1234 x"),
        (421, [], "", ""),
    ],
)
def test_the_enhanced_code_is_taken_off_when_it_fits_the_code(code: int, lines: list[str], enhanced: str, text: str) -> None:
    reply = reply_from_lines(code, lines)
    assert (reply.code, reply.enhanced, reply.text) == (code, enhanced, text)


def test_a_reply_is_written_on_one_line() -> None:
    assert str(Reply(550, "No\nsuch user", "5.1.1")) == "550 5.1.1 No such user"
    assert str(Reply(250, "")) == "250"


@pytest.mark.parametrize("code", range(200, 600))
def test_a_code_is_of_one_kind(code: int) -> None:
    reply = Reply(code, "")
    assert [reply.positive, reply.transient, reply.permanent].count(True) == 1


def test_only_dead_addresses_are_hard_and_only_permanently() -> None:
    hard = {category for category, permanent in itertools.product(Category, (True, False)) if is_hard(category, permanent)}
    assert hard == {Category.BAD_MAILBOX, Category.BAD_DOMAIN, Category.MOVED}
    assert not any(is_hard(category, False) for category in Category)


def test_an_outcome_is_a_closed_type() -> None:
    assert Delivered in Outcome.__args__
    assert Failed in Outcome.__args__
    assert len(Outcome.__args__) == 4
