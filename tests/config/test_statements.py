"""The customer's SQL: names become parameters, and only names."""

import pytest

from config.statements import statement


def test_names_become_parameters_and_nothing_else_does():
    made = statement("bounced", "UPDATE c SET s = ':code', d = :diagnostic::text, \":x\" = 1 WHERE e = :recipient AND f = :diagnostic;")
    assert made.sql == "UPDATE c SET s = ':code', d = $1::text, \":x\" = 1 WHERE e = $2 AND f = $1"
    assert made.fields == ("diagnostic", "recipient")


@pytest.mark.parametrize(
    ("kind", "text", "why"), [("exploded", "SELECT 1", "kind"), ("bounced", "SELECT :password", "no field"), ("bounced", " ; ", "empty")]
)
def test_what_makes_no_sense_is_said_when_it_is_read(kind, text, why):
    with pytest.raises(ValueError, match=why):
        statement(kind, text)
