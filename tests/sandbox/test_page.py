"""docs/sandbox.md and the shipped scenario of tempers: every kind is there, and everything there can be read."""

import re
import tomllib
from pathlib import Path

import pytest

from sandbox.scenario import Scenario, Temper, shipped
from sandbox.temper import KINDS
from sandbox.world import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text("utf-8")
EXAMPLES = [match[0] for match in re.finditer(r"\{ kind = [^}]+\}", PAGE)]
BLOCKS = [block for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[" in block]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_temper_of_the_page_can_be_read(example: str) -> None:
    Temper.model_validate(tomllib.loads(f"temper = {example}")["temper"])


@pytest.mark.parametrize("block", BLOCKS)
def test_every_scenario_of_the_page_can_run(block: str) -> None:
    Sandbox(Scenario.model_validate(tomllib.loads(block)))


def test_the_page_shows_every_kind() -> None:
    shown = {tomllib.loads(f"temper = {example}")["temper"]["kind"] for example in EXAMPLES}
    assert shown == set(KINDS)


def test_the_shipped_tempers_have_every_kind() -> None:
    scenario = shipped("tempers")
    assert {temper.kind for provider in scenario.provider for temper in provider.temper} == set(KINDS)
    assert all(provider.domains == [f"{provider.name}.test"] for provider in scenario.provider)
