"""pyproject.toml and constraints.txt agree with what the rooms import, and with each other."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
ROOMS = ("gateway", "bounce", "fbl", "warmup", "contacts", "mail", "config", "sandbox")
IMPORT_NAMES = {"dnspython": "dns", "prometheus-client": "prometheus_client", "dkimpy": "dkim"}
"""Packages whose import name is not their own."""
PART_OF = {"pydantic_core": "pydantic", "starlette": "fastapi"}
"""Imports that come with a dependency and are its own base."""


def _project() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"runtime": project["dependencies"], "dev": project["optional-dependencies"]["dev"]}


def _names(requirements: list[str]) -> set[str]:
    return {Requirement(entry).name for entry in requirements}


def _imported() -> set[str]:
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.partition(".")[0])
    return found - set(ROOMS) - set(sys.stdlib_module_names)


def test_every_import_is_a_direct_dependency_and_every_dependency_is_imported() -> None:
    declared = {IMPORT_NAMES.get(name, name) for name in _names(_project()["runtime"])}
    used = {PART_OF.get(name, name) for name in _imported()}
    assert used == declared


def test_constraints_pin_every_dependency_by_name_and_version_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in lines)
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(names)
    pinned = set(names)
    project = _project()
    assert _names(project["runtime"]) | _names(project["dev"]) <= pinned
