"""`mailwright account quota`: what each account has left of what it may hand in, in a running gateway."""

from pathlib import Path
from typing import Annotated, Any

import typer

from config.units import format_rate
from gateway.commands.console import ask, print_json, print_rows, read_settings
from gateway.commands.keys import account

__all__ = ["account"]

_COLUMNS = ("account", "limit", "rate", "burst", "available", "next_in", "refused")


@account.command("quota")
def quota(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)] = None,
) -> None:
    """List what each account that has a quota may hand in now, and how often it was refused since the gateway's start."""
    settings, _ = read_settings(config)
    answer = ask(settings, "accounts.quota", {})
    print_json(answer) if json else print_rows([_row(row) for row in answer["quotas"]], _COLUMNS, "no account has a quota")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    waits = row["next_in"]
    return {**row, "rate": format_rate(row["rate"]), "next_in": f"{waits:.1f}s" if waits > 0 else ""}
