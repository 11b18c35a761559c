"""What all commands share: reading the configuration, asking the running gateway, printing, and exit codes (those of sysexits.h).

Nothing here decides anything about mail. Every failure a person can cause ends in one line on standard error and an exit code, never in a
traceback.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import typer

from config.load import DEFAULT_FILE, ENVIRONMENT, ConfigError, find, load
from config.settings import Settings
from mail.event import timestamp

USAGE = 64
DATA_ERROR = 65
UNAVAILABLE = 69
CONFIG = 78


def fail(message: str, code: int) -> NoReturn:
    """Say why on standard error, and end."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def read_settings(given: Path | None) -> tuple[Settings, Path | None]:
    """The settings of the file that holds (see `config.load.find`), and that file. Ends with every problem when it is bad."""
    path = find(given)
    try:
        return load(path), path
    except ConfigError as error:
        count = len(error.problems)
        fail(f"{error}\n{count} problem{'' if count == 1 else 's'} in the configuration", CONFIG)


def ask(settings: Settings, name: str, arguments: dict[str, Any], offline: bool = True) -> dict[str, Any]:
    """Make one call to the gateway that runs on the data folder; without one, carry it out on the spool itself, and say so.

    Not `offline`: only a running gateway can answer.
    """
    from gateway.admin.calls import CallError
    from gateway.admin.client import NotRunning, call
    from gateway.commands.offline import NoSpool
    from gateway.commands.offline import call as call_offline

    try:
        try:
            return call(settings.gateway.data, name, arguments)
        except NotRunning as error:
            if not offline:
                fail(f"{error}{_nowhere(settings)}", UNAVAILABLE)
            answer = call_offline(settings, name, arguments)
            typer.echo(f"{error}: this was done on the spool itself", err=True)
            return answer
    except NoSpool as error:
        fail(f"{error}{_nowhere(settings)}", UNAVAILABLE)
    except CallError as error:
        fail(str(error), DATA_ERROR)


def _nowhere(settings: Settings) -> str:
    """A hint for who is in the wrong folder: no configuration was found, so this is the data folder that nobody chose."""
    lost = find(None) is None and settings == load(None)
    return f"\n{DEFAULT_FILE} is not in this folder: change to its folder, or give --config or ${ENVIRONMENT}" if lost else ""


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")


def print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], nothing: str) -> None:
    """A table of some keys of `rows`, or the sentence `nothing`."""
    if not rows:
        typer.echo(nothing)
        return
    cells = [[column.replace("_", " ") for column in columns]] + [[_cell(column, row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(column: str, value: Any) -> str:
    """`value` for a table: moments as UTC text, nothing for nothing."""
    if value is None or value is False or (column.endswith("until") and not value):
        return ""
    return timestamp(value) if column.endswith("until") and isinstance(value, float) and value < 1e11 else plain(value)


def print_facts(facts: dict[str, Any]) -> None:
    """Key and value, one a line; empty values are left out."""
    for key, value in facts.items():
        if value not in ("", None, [], {}):
            typer.echo(f"{key.replace('_', ' '):20} {plain(value)}")


def plain(value: Any) -> str:
    """`value` as one line of text without control characters: replies come from strangers. Lists and tables of words are read as such."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and all(isinstance(word, str) for word in value.values()):
        value = [f"{key} {word}" for key, word in value.items()]
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = ", ".join(value)
    text = (
        value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else msgspec.json.encode(value, enc_hook=str).decode()
    )
    return "".join(letter if letter.isprintable() else "?" for letter in text)
