"""The pages tell the truth: links lead somewhere, examples load, standards and commands that are named exist."""

import re
from pathlib import Path

import pytest

from config.labels import shipped_rows
from config.load import load
from gateway.cli import app
from gateway.doors.passwords import NOBODY

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = ("mail", "config", "gateway", "bounce", "fbl", "warmup", "contacts", "sandbox")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs/decisions").glob("0*.md"):
        assert f"({page.name})" in listed


def test_the_configuration_of_the_readme_loads(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mailwright.toml").write_text(text, encoding="utf-8")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "crm.hash").write_text(NOBODY)
    (tmp_path / "keys" / "shop.example.mw1.pem").touch()
    assert load(tmp_path / "mailwright.toml", {}).account[0].domains == ["shop.example"]


def _commands() -> set[str]:
    """Every command as people type it, without `mailwright`."""
    found = {str(command.name) for command in app.registered_commands}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        found.add(str(group.name))
        found |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
    return found


def test_commands_that_pages_name_exist() -> None:
    commands = _commands()
    for page in PAGES:
        for name, second in re.findall(r"(?:^    |`)(?:\S*/)?mailwright ([a-z]+)(?: ([a-z]+)\b)?", page.read_text(encoding="utf-8"), re.M):
            groups = {command.partition(" ")[0] for command in commands if " " in command}
            assert name in commands, f"{page.name}: mailwright {name}"
            if second and name in groups and name != "lanes":
                assert f"{name} {second}" in commands, f"{page.name}: mailwright {name} {second}"


def test_standards_have_a_row_with_modules_and_tests_that_exist() -> None:
    page = (ROOT / "docs/rfcs.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 40
    for standard, section, here, module, test in rows:
        assert re.match(r"yes|partial|no", here), f"{standard} {section}: {here}"
        if here.startswith("no"):
            continue
        for file in (module, test):
            assert (ROOT / file).exists(), f"{standard} {section} names {file}"


def test_every_standard_the_code_names_has_a_row() -> None:
    page = (ROOT / "docs/rfcs.md").read_text(encoding="utf-8")
    listed = {number for line in page.splitlines() if line.startswith("|") for number in re.findall(r"\b\d{4}\b", line.split("|")[1])}
    named: dict[str, str] = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for number in re.findall(r"RFC (\d{3,5})", path.read_text(encoding="utf-8")):
                named.setdefault(number, path.relative_to(ROOT).as_posix())
    assert {number: place for number, place in named.items() if number not in listed} == {}


def test_every_shipped_label_field_is_on_its_page() -> None:
    page = (ROOT / "docs/labels.md").read_text(encoding="utf-8")
    rows = {}
    for line in page.splitlines():
        if line.startswith("| ") and line.count("|") == 5:
            _, _, names, label, _, _ = line.split("|")
            rows.update(dict.fromkeys(re.findall(r"`([^`]+)`", names), label))
    assert set(rows) == {row.header for row in shipped_rows()}
    for row in shipped_rows():
        assert row.feeds.value in rows[row.header]
        assert f"`{row.path}`" in rows[row.header] or not row.path


def test_the_configuration_of_the_labels_page_loads(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/labels.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mailwright.toml").write_text(text, encoding="utf-8")
    assert [row.header for row in load(tmp_path / "mailwright.toml", {}).labels.field] == ["X-Mailing", "X-CRM"]
