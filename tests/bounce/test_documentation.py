"""The page that names categories for others leaves none out."""

from pathlib import Path

from bounce.consequence import DAY, DEFAULT
from bounce.report import Kind
from bounce.rules import shipped
from mail.outcome import Category

PAGE = (Path(__file__).parents[2] / "docs" / "bounce-categories.md").read_text()


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


def test_every_category_and_every_pair_that_a_rule_gives_is_named() -> None:
    named = {(row[0], fault.strip()) for row in rows() if len(row) == 7 for fault in row[1].split(",")}
    assert {category for category, _ in named} >= set(Category)
    assert {(rule.category, rule.fault) for rule in shipped().rules} <= named


def test_every_kind_is_named() -> None:
    assert {row[0] for row in rows() if len(row) == 3} >= {kind for kind in Kind if kind is not Kind.BOUNCE}


def test_the_numbers_of_the_policy_are_those_of_the_program() -> None:
    assert (DEFAULT.soft_threshold, DEFAULT.soft_window, DEFAULT.soft_expiry) == (5, 30 * DAY, 90 * DAY)
    assert "five on different days within 30 days suppress for 90 days" in PAGE
