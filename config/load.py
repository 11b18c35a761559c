"""From a TOML file to Settings: find it, read it, fill in secrets and shipped providers, and say everything that is wrong at once.

The file is the one given, else `$MAILWRIGHT_CONFIG`, else `mailwright.toml` in the current folder; with none of them the defaults hold.
File names inside it are relative to its folder. A value `"${NAME}"` is taken from the environment; a secret may stand in a file of its
own (`SECRET_FILES`). `[[provider]]` entries come before the shipped ones and change those of the same name key by key.

A bad file raises ConfigError with every problem: file, line where it is known, key, what is wrong and what would be right. Secrets are
never part of a message. `Configuration` keeps the settings in force over reloads: a bad new file changes nothing, and keys that only a
start can carry out (`STATIC`) keep their old values and are named.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from config import names
from config.explain import explain
from config.settings import Settings
from config.text import key_lines, key_path
from config.units import expanded, is_file

ENVIRONMENT = "MAILWRIGHT_CONFIG"
DEFAULT_FILE = Path("mailwright.toml")
LARGEST_FILE = 4_000_000
"""Octets of a configuration file, at most."""
LONGEST_SECRET = 4_000
"""Characters of a file that holds a secret, at most."""
SECRET_FILES = (("account", "password"), ("contacts", "database"), ("webhook", "secret"))
"""Table and key whose value may stand in a file of its own, named by `KEY_file`."""

STATIC: tuple[tuple[str, ...], ...] = (
    ("gateway", "node"),
    ("gateway", "number"),
    ("gateway", "data"),
    ("gateway", "return_window"),
    ("spool",),
    ("events",),
    ("contacts",),
    ("webhook",),
    ("http",),
    ("api",),
    ("sending", "signing_processes"),
)
"""Keys that a reload leaves as they were at the start."""


_AT = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)
"""How tomllib says where."""


class Problem(NamedTuple):
    """One thing wrong. `line` is 0 where it is not known."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def find(given: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file to read, or None for the defaults. A file that is named but missing is `load`'s matter."""
    if given is not None:
        return given
    if environment.get(ENVIRONMENT):
        return Path(environment[ENVIRONMENT])
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `path`, or the defaults for None. Raises ConfigError."""
    text = _read(path) if path is not None else ""
    file = str(path) if path is not None else "defaults"
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([_not_toml(file, str(error))]) from None
    folder = path.parent.resolve() if path is not None else Path.cwd()
    found: list[tuple[names.Path, str]] = []
    data = _with_environment(data, environment, (), found)
    _read_secrets(data, folder, found)
    data.setdefault("gateway", {})  # so that its defaults, too, are seen relative to the folder
    _fill_default_pool(data)
    data["provider"] = merge_providers(data.get("provider", []), shipped_providers())
    settings = _validated(data, folder, found)
    found += names.problems(data)
    if found or settings is None:
        lines = key_lines(text)
        raise ConfigError([Problem(file, _line(lines, place), key_path(place), message) for place, message in _ordered(found)])
    return settings


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LARGEST_FILE + 1)  # a device has no size and no end
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), 0, "", "is not UTF-8 text")]) from None
    if len(text) > LARGEST_FILE:
        raise ConfigError([Problem(str(path), 0, "", f"is larger than {LARGEST_FILE} octets")])
    return text


def _not_toml(file: str, words: str) -> Problem:
    """What the parser said, with the line in front, where editors look for it. The line itself may hold a secret, so it is not shown."""
    found = _AT.fullmatch(words)
    if found is None:
        return Problem(file, 0, "", f"is not TOML: {words}")
    what, line, column = found.groups()
    hint = "; a text stands in quotes" if what == "Invalid value" else ""
    return Problem(file, int(line), "", f"is not TOML: {what}, column {column}{hint}")


def _with_environment(value: Any, environment: Mapping[str, str], place: names.Path, found: list[tuple[names.Path, str]]) -> Any:
    """`value` with every text `${NAME}` replaced by the environment's."""
    if isinstance(value, dict):
        return {key: _with_environment(item, environment, (*place, key), found) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_environment(item, environment, (*place, index), found) for index, item in enumerate(value)]
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        name = value[2:-1]
        if name not in environment:
            found.append((place, f"the environment has no {name}"))
        return environment.get(name, "")
    return value


def _read_secrets(data: dict[str, Any], folder: Path, found: list[tuple[names.Path, str]]) -> None:
    """Put the content of each file of `SECRET_FILES` into the key beside it, so that nothing else ever reads it."""
    for table, key in SECRET_FILES:
        given = data.get(table)
        rows = [(index, row) for index, row in enumerate(given)] if isinstance(given, list) else [(None, given)]
        for index, row in rows:
            if isinstance(row, dict):
                place = (table, f"{key}_file") if index is None else (table, index, f"{key}_file")
                _read_secret(row, key, place, folder, found)


def _read_secret(row: dict[str, Any], key: str, place: names.Path, folder: Path, found: list[tuple[names.Path, str]]) -> None:
    file = row.get(f"{key}_file")
    if not isinstance(file, str):
        return
    if key in row:
        found.append((place, f"give {key} or {key}_file, not both"))
        return
    try:
        path = folder / expanded(Path(file))
        if not is_file(path):  # the model says so; what is no file (a pipe, a device) may have no end
            return
        with path.open(encoding="utf-8") as opened:
            text = opened.read(LONGEST_SECRET + 1).strip()
    except ValueError as error:  # UnicodeDecodeError too
        found.append((place, "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)))
    except OSError as error:
        found.append((place, f"cannot be read: {error.strerror or error}"))
    else:
        if len(text) > LONGEST_SECRET:
            found.append((place, f"is larger than {LONGEST_SECRET} characters"))
        row[key] = text[:LONGEST_SECRET]


def _fill_default_pool(data: dict[str, Any]) -> None:
    """With sources and no pool, all of them make the pool `default`. What has the wrong shape is left to the models."""
    sources = data.get("source")
    if "pool" not in data and isinstance(sources, list):
        names_given = [source["name"] for source in sources if isinstance(source, dict) and isinstance(source.get("name"), str)]
        if names_given:
            data["pool"] = [{"name": "default", "members": dict.fromkeys(names_given, 1)}]


def shipped_providers() -> list[dict[str, Any]]:
    """The entries of config/providers.toml."""
    entries = tomllib.loads(resources.files("config").joinpath("providers.toml").read_text(encoding="utf-8"))["provider"]
    return list(entries)


def merge_providers(given: Any, shipped: list[dict[str, Any]]) -> Any:
    """`given` entries first, each over the shipped one of its name, then the rest of the shipped."""
    if not isinstance(given, list):
        return given  # the model says what is wrong
    by_name = {entry["name"]: entry for entry in shipped}
    merged = [{**by_name.get(str(entry.get("name")), {}), **entry} if isinstance(entry, dict) else entry for entry in given]
    taken = {str(entry.get("name")) for entry in given if isinstance(entry, dict)}
    return merged + [entry for entry in shipped if entry["name"] not in taken]


def _validated(data: dict[str, Any], folder: Path, found: list[tuple[names.Path, str]]) -> Settings | None:
    try:
        return Settings.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        told = {place for place, _ in found}
        found += [problem for problem in explain(error) if problem[0] not in told]
        return None


def _ordered(found: Iterable[tuple[names.Path, str]]) -> list[tuple[names.Path, str]]:
    """In the order of the model's tables, then of entries, each once."""
    tables = {name: number for number, name in enumerate(Settings.model_fields)}
    return sorted(dict.fromkeys(found), key=lambda item: [(tables.get(str(item[0][0]), 99) if item[0] else -1), *map(str, item[0])])


def _line(lines: Mapping[names.Path, int], place: names.Path) -> int:
    """The line of the key at `place`, or of the nearest table around it."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return 0


class Reloaded(NamedTuple):
    """What a reload did. With `problems` the old settings stay. `restart_needed` names changed keys that wait for a restart."""

    settings: Settings
    problems: list[Problem]
    restart_needed: list[str]


class Configuration:
    """The settings in force, and where they came from."""

    def __init__(self, path: Path | None, settings: Settings | None = None) -> None:
        """Loads `path` unless `settings` are given. Raises ConfigError."""
        self.path = path
        self.settings = settings if settings is not None else load(path)

    def reload(self, environment: Mapping[str, str] = os.environ) -> Reloaded:
        """Read the file again. Never raises: a bad file leaves the settings as they are."""
        try:
            new = load(self.path, environment)
        except ConfigError as error:
            return Reloaded(self.settings, error.problems, [])
        new, kept = _keep_static(self.settings, new)
        self.settings = new
        return Reloaded(new, [], kept)


def _keep_static(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """`new` with the values of `STATIC` keys from `old`, and the names of those that differed."""
    kept = []
    for place in STATIC:
        before, after = old, new
        for key in place:
            before, after = getattr(before, key), getattr(after, key)
        if before == after:
            continue
        kept.append(".".join(place))
        value: Any = before
        for depth in range(len(place) - 1, 0, -1):
            parent: Any = new
            for key in place[:depth]:
                parent = getattr(parent, key)
            value = parent.model_copy(update={place[depth]: value})
        new = new.model_copy(update={place[0]: value})
    return new, kept
