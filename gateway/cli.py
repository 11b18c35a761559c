"""The command line: `mailwright COMMAND`. Reads arguments, calls the room that knows, prints.

Thin on purpose. The rooms are imported inside the commands, so that `mailwright --help` is quick and a command works without the parts it
does not use. Exit codes are those of sysexits.h: 64 usage, 65 data, 69 no gateway running, 73 the spool is taken, 75 try again, 78
configuration; and 2 for a command or an option that does not exist.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from config.load import Configuration
from config.text import file_trouble
from gateway.commands import lists as lists
from gateway.commands import persons as persons
from gateway.commands.accounts import account
from gateway.commands.console import CONFIG, USAGE, fail, print_json, read_settings
from gateway.commands.contacts import contacts
from gateway.commands.database import database_trouble, db
from gateway.commands.judgement import bounce, fbl
from gateway.commands.keys import apikey, dkim
from gateway.commands.queue import lanes, queue
from gateway.commands.send import send
from gateway.commands.suppression import suppression
from gateway.commands.webhook import webhook

app = typer.Typer(
    name="mailwright",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="SMTP sending gateway and deliverability engine.",
)
app.add_typer(queue, name="queue")
app.add_typer(lanes, name="lanes")
app.add_typer(suppression, name="suppression")
app.add_typer(contacts, name="contacts")
app.add_typer(db, name="db")
app.add_typer(webhook, name="webhook")
app.add_typer(dkim, name="dkim")
app.add_typer(account, name="account")
app.add_typer(apikey, name="apikey")
app.add_typer(bounce, name="bounce")
app.add_typer(fbl, name="fbl")

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else $MAILWRIGHT_CONFIG, else ./mailwright.toml.", show_default=False),
]


def version() -> str:
    """The installed version, or "unknown" when the rooms run from a folder that was never installed."""
    try:
        return installed_version("mailwright")
    except PackageNotFoundError:
        return "unknown"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mailwright {version()}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """SMTP sending gateway and deliverability engine."""


@app.command("serve")
def serve(config: Config = None) -> None:
    """Run the gateway until Ctrl-C or SIGTERM. SIGHUP reads the configuration again."""
    settings, path = read_settings(config)
    from gateway.process import serve as run

    raise typer.Exit(run(Configuration(path, settings)))


@app.command("check")
def check(
    config: Config = None, strict: Annotated[bool, typer.Option("--strict", help="A warning ends with exit code 1.")] = False
) -> None:
    """Read the configuration and its keys, and say what it means and what looks unwise."""
    from config.check import summary, warnings
    from gateway.commands.machine import missing_addresses
    from gateway.compose.keyring import KeyringError
    from gateway.core.loading import load_keys

    settings, path = read_settings(config)
    try:
        keyring = load_keys(settings, "gateway.invalid")
    except KeyringError as error:
        fail("\n".join(error.problems), CONFIG)
    for line in summary(settings, path):
        typer.echo(line)
    nowhere = [] if path is not None else ["there is no mailwright.toml here, and neither --config nor $MAILWRIGHT_CONFIG names a file"]
    found = [*nowhere, *warnings(settings), *keyring.warnings, *missing_addresses(settings), *database_trouble(settings)]
    if not found:
        typer.echo("warnings       none")
    for warning in found:
        typer.echo(f"warning: {warning}", err=True)
    if found and strict:
        raise typer.Exit(1)


@app.command("status")
def status(config: Config = None, json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Ask the running gateway how it is."""
    from gateway.commands.console import ask, print_facts

    settings, _ = read_settings(config)
    answer = ask(settings, "status", {}, offline=False)
    print_json(answer) if json else print_facts(answer)


app.command("send")(send)


@app.command("demo")
def demo(
    messages: Annotated[int, typer.Option(min=1, max=1_000_000, help="Messages of the campaign.")] = 500,
    json: Annotated[bool, typer.Option("--json", help="One JSON object with the numbers, and nothing else.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with spool, events and log.")] = False,
) -> None:
    """Send a campaign through a real gateway to a fake Internet on this machine, and count what became of it."""
    from gateway.demo import run

    raise typer.Exit(run(messages=messages, json_output=json, keep=keep) or 0)


@app.command("sandbox")
def sandbox(
    scenario: Annotated[str, typer.Argument(help="Name of a shipped scenario, or a TOML file.")] = "demo",
    dns_port: Annotated[int, typer.Option(help="Port of the name server; 0 takes a free one.")] = 0,
    smtp_port: Annotated[int, typer.Option(help="Port of the mailbox providers; 0 takes a free one.")] = 0,
) -> None:
    """Run the fake Internet alone, as a staging target, until its input ends or Ctrl-C."""
    import asyncio
    from argparse import Namespace

    from sandbox.__main__ import serve as serve_sandbox

    try:
        asyncio.run(serve_sandbox(Namespace(scenario=scenario, dns_port=dns_port, smtp_port=smtp_port)))
    except OSError as error:
        fail(file_trouble(error), USAGE)
    except ValueError as error:
        fail(str(error), USAGE)
    except KeyboardInterrupt:
        pass


@app.command("version")
def print_version() -> None:
    """Print the version."""
    _print_version(True)


def main() -> None:
    """The entry point of the `mailwright` command."""
    app()


if __name__ == "__main__":
    main()
