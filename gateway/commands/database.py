"""`mailwright db …`: the schema of the contact database, and whether it answers. The gateway never changes the schema by itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from config.settings import Settings
from contacts.connected import Connected
from contacts.migration import NEWEST, applied, migrate
from contacts.trouble import StoreError
from gateway.commands.console import CONFIG, UNAVAILABLE, fail, read_settings

db = typer.Typer(no_args_is_help=True, help="The contact database in PostgreSQL.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)]
LOOK_WITHIN = 5.0
"""Seconds in which `mailwright check` wants an answer."""


@db.command("migrate")
def migrate_database(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say which migrations are missing.")] = False,
) -> None:
    """Make or bring up to date the schema `mailwright`. Safe to repeat, and beside running gateways."""
    settings, _ = read_settings(config)
    try:
        known, done = asyncio.run(_migrate(_dsn(settings), dry_run))
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    if max(known, default=0) > NEWEST:
        fail(f"the schema has version {max(known)}, this program knows {NEWEST}: nothing was changed", UNAVAILABLE)
    if dry_run:
        missing = [number for number in range(1, NEWEST + 1) if number not in known]
        typer.echo(f"migrations {', '.join(map(str, missing))} would run" if missing else f"the schema is up to date: version {NEWEST}")
    else:
        ran = f"migrations {', '.join(map(str, done))} ran, " if done else ""
        typer.echo(f"{ran}the schema has version {NEWEST}")


def _dsn(settings: Settings) -> str:
    if settings.contacts.database is None:
        fail("no contact database is configured: set contacts.database or contacts.database_file", CONFIG)
    return settings.contacts.database


async def _migrate(dsn: str, dry_run: bool) -> tuple[list[int], list[int]]:
    """Migrations there were, and those that ran."""
    database = Connected(dsn)
    try:
        async with database.answering(checked=False) as connection:
            known = await applied(connection)
            stop = dry_run or max(known, default=0) > NEWEST
            return known, [] if stop else await migrate(connection)
    finally:
        await database.close()


def database_trouble(settings: Settings) -> Iterator[str]:
    """What keeps events from the contact database, as far as this machine can see now: for `mailwright check`."""
    if settings.contacts.database is None:
        return
    try:
        asyncio.run(_look(settings.contacts.database))
    except StoreError as error:
        yield str(error)


async def _look(dsn: str) -> None:
    database = Connected(dsn)
    try:
        async with asyncio.timeout(LOOK_WITHIN), database.answering():
            pass
    except TimeoutError:
        raise StoreError(f"contact database: no answer within {LOOK_WITHIN:g} s") from None
    finally:
        await database.close()
