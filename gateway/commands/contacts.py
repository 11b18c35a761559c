"""`mailwright contacts …`: whether the contact database, its suppression table and this gateway's replica agree."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import ask, print_json, read_settings

contacts = typer.Typer(no_args_is_help=True, help="The contact database and this gateway.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@contacts.command("audit")
def audit(
    mend: Annotated[bool, typer.Option("--mend", help="Mend what differs: additions are a union, removals stay.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Compare replica, suppression table and event log. Ends with 1 when they differ and were not mended."""
    settings, _ = read_settings(config)
    answer = ask(settings, "contacts.audit", {"dry_run": not mend})
    if json:
        print_json(answer)
    else:
        typer.echo(
            f"{answer['rows']} rows in the table, {answer['entries']} entries in the replica, {answer['events']} events of this node"
        )
        for finding in answer["findings"]:
            if finding["count"]:
                typer.echo(f"{finding['count']:6} {finding['what']}: {', '.join(finding['ids'])}")
        if answer["events_missing"]:
            typer.echo(f"{answer['events_missing']:6} events of this node were sent and are not in the database")
        if mend:
            typer.echo(f"{answer['touched']} mended, {answer['events_back']} of them events from the event file")
    differs = answer["events_missing"] or any(finding["count"] for finding in answer["findings"])
    if not differs and not json:
        typer.echo("they agree")
    if differs and not mend:
        raise typer.Exit(1)
