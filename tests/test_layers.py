"""The house keeps its floors: imports point down, siblings do not know each other, and nothing grows beyond reading.

Reads the source, imports nothing. A room or module that is not in a table here is a failure too: it must be given its place first.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60

ROOMS: dict[str, frozenset[str]] = {
    "mail": frozenset(),
    "config": frozenset({"mail"}),
    "bounce": frozenset({"mail", "config"}),
    "fbl": frozenset({"mail", "config"}),
    "warmup": frozenset({"mail", "config"}),
    "contacts": frozenset({"mail", "config"}),
    "sandbox": frozenset({"mail", "config"}),
    "gateway": frozenset({"mail", "config", "bounce", "fbl", "warmup", "contacts"}),
}
"""Each room, and the rooms it may import. Nothing imports gateway."""

MAY_START_THE_SANDBOX = frozenset({"cli", "demo", "commands"})
"""Parts of gateway that may import sandbox: the demo shows the gateway against it."""

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"calls"}),
    frozenset({"observe"}),
    frozenset({"smtp"}),
    frozenset({"spool"}),
    frozenset({"traffic"}),
    frozenset({"compose"}),
    frozenset({"doors", "delivery"}),
    frozenset({"notices"}),
    frozenset({"core"}),
    frozenset({"publishing"}),
    frozenset({"admin"}),
    frozenset({"app"}),
    frozenset({"process"}),
    frozenset({"demo"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
)
"""Parts of gateway from the ground up; a part imports itself and what is below. Parts of one floor do not know each other."""

PURE = (
    "mail",
    "bounce",
    "fbl",
    "warmup",
    "gateway/smtp",
    "gateway/traffic",
    "gateway/calls.py",
    "gateway/delivery/refusal.py",
    "gateway/notices",
    *(f"gateway/delivery/security/{name}.py" for name in ("dane", "demand", "levels", "report", "result", "results", "sts_policy")),
)
"""Rooms that do no input or output and read no clock."""

IMPURE_MODULES = frozenset(
    {"asyncio", "socket", "ssl", "threading", "subprocess", "time", "logging", "structlog", "apsw", "sqlite3", "select"}
)
EDGES_OF_PURE_ROOMS = frozenset({"bounce/command.py", "fbl/command.py"})
"""Command line ends: they open the files that a person names."""

SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: relative import"
            module = node.module or ""
            yield from ((node.lineno, f"{module}.{alias.name}" if module == "gateway" else module) for alias in node.names)


def _floor(part: str) -> int:
    for number, parts in enumerate(FLOORS):
        if part in parts:
            return number
    raise AssertionError(f"gateway.{part} has no floor in FLOORS")


def test_rooms_import_only_what_is_below_them() -> None:
    wrong = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        allowed = ROOMS[parts[0]] | {parts[0]}
        if parts[0] == "gateway" and Path(parts[1]).stem in MAY_START_THE_SANDBOX:
            allowed |= {"sandbox"}
        for line, name in _imports(path):
            room = name.partition(".")[0]
            if (room in ROOMS and room not in allowed) or room in ("tests", "bench"):
                wrong.append(f"{_name(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_parts_of_gateway_import_only_what_is_below_them() -> None:
    wrong = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "gateway" or parts[1] == "__init__.py":
            continue
        own = Path(parts[1]).stem
        for line, name in _imports(path):
            room, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            if room == "gateway" and part not in ("", own) and _floor(part) >= _floor(own):
                wrong.append(f"{_name(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_touch_no_clock_no_socket_and_no_log() -> None:
    wrong = []
    for path in SOURCES:
        name = _name(path)
        if not name.startswith(PURE) or name in EDGES_OF_PURE_ROOMS:
            continue
        wrong += [f"{name}:{line} imports {module}" for line, module in _imports(path) if module.partition(".")[0] in IMPURE_MODULES]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", [*ROOMS, "bench", "tests"])
def test_modules_open_with_a_docstring_and_stay_readable(folder: str) -> None:
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if text.strip() and ast.get_docstring(tree) is None:
            wrong.append(f"{_name(path)}: no docstring")
        count = text.count("\n")
        if folder in ROOMS and count > LONGEST_MODULE:
            wrong.append(f"{_name(path)}: {count} lines, more than {LONGEST_MODULE}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if folder in ROOMS and length > LONGEST_FUNCTION:
                    wrong.append(f"{_name(path)}:{node.lineno}: {node.name} has {length} lines, more than {LONGEST_FUNCTION}")
    assert not wrong, "\n".join(wrong)
