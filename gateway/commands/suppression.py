"""`mailwright suppression …`: who is not written to, why, and how that changes."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import ask, print_facts, print_json, print_rows, read_settings

suppression = typer.Typer(no_args_is_help=True, help="Who is not written to, and why.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Address = Annotated[str, typer.Argument(help="Mail address.")]
Why = Annotated[str, typer.Option("--reason", help="Only this reason, such as hard_bounce.", show_default=False)]
Where = Annotated[str, typer.Option("--scope", help="global, account:NAME or stream:ACCOUNT/NAME.", show_default=False)]

_COLUMNS = ("email", "reason", "scope", "source", "created_at", "expires_at", "diagnostic")


@suppression.command("list")
def list_entries(
    reason: Why = "",
    since: Annotated[str, typer.Option(help="Created at or after this time, such as 2026-01-31T00:00:00Z.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries at most.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """Entries of the list, in no meaningful order."""
    settings, _ = read_settings(config)
    answer = ask(settings, "suppression.list", {"reason": reason, "since": since, "limit": limit})
    print_json(answer) if json else print_rows(answer["entries"], _COLUMNS, "nobody is suppressed")


@suppression.command("why")
def why(address: Address, config: Config = None, json: Json = False) -> None:
    """Why an address is suppressed: every entry with its evidence."""
    settings, _ = read_settings(config)
    answer = ask(settings, "suppression.why", {"address": address})
    if json:
        print_json(answer)
        return
    for entry in answer["entries"]:
        print_facts(entry)
        typer.echo("")
    if not answer["entries"]:
        typer.echo(f"{address} is not suppressed")


@suppression.command("add")
def add(
    address: Address,
    reason: Annotated[str, typer.Option(help="hard_bounce, complaint, unsubscribe, manual or invalid.")] = "manual",
    scope: Annotated[str, typer.Option(help="global, account:NAME or stream:ACCOUNT/NAME.")] = "global",
    expires: Annotated[str, typer.Option(help="End, such as 2030-01-31T00:00:00Z; none: never.", show_default=False)] = "",
    note: Annotated[str, typer.Option(help="Why, for people.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """Suppress an address from now on, queued mail included."""
    settings, _ = read_settings(config)
    answer = ask(settings, "suppression.add", {"address": address, "reason": reason, "scope": scope, "expires": expires, "note": note})
    typer.echo(f"{answer['address']} is suppressed, entry {answer['added']}")


@suppression.command("remove")
def remove(
    address: Address,
    reason: Why = "",
    scope: Where = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would go.")] = False,
    config: Config = None,
) -> None:
    """Take an address off the list: every entry of it, or those with a reason or scope."""
    settings, _ = read_settings(config)
    answer = ask(settings, "suppression.remove", {"address": address, "reason": reason, "scope": scope, "dry_run": dry_run})
    count = len(answer["removed"])
    if not count:
        typer.echo(f"{address} has no such entry" if reason or scope else f"{address} is not suppressed")
        return
    verb = "would be" if answer["dry_run"] else "were" if count != 1 else "was"
    typer.echo(f"{count} entr{'y' if count == 1 else 'ies'} of {address} {verb} removed")
