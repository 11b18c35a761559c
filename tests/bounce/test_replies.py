"""What hosts really say, and what a person would call it."""

import tomllib
from pathlib import Path

import pytest

from bounce.classify import classify, reply_of

SAID = tomllib.loads((Path(__file__).parent / "replies.toml").read_text())["said"]


@pytest.mark.parametrize(("category", "fault", "said"), SAID, ids=[entry[2][:60] for entry in SAID])
def test_a_refusal_is_understood(category: str, fault: str, said: str) -> None:
    found = classify(reply_of(said))
    assert (found.category, found.fault) == (category, fault)
