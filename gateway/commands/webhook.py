"""`mailwright webhook …`: endpoints, what was given up, and sending it again."""

import base64
import secrets
from pathlib import Path
from typing import Annotated

import typer

from contacts.webhook import PREFIX
from gateway.commands.console import ask, print_facts, print_json, print_rows, read_settings

webhook = typer.Typer(no_args_is_help=True, help="Webhook endpoints and their dead letters.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]

_ENDPOINTS = ("endpoint", "waiting", "oldest_seconds", "dead_letters", "error")
_LETTERS = ("letter", "endpoint", "events", "oldest", "died", "tries", "waits", "why")


@webhook.command("list")
def list_endpoints(json: Json = False, config: Config = None) -> None:
    """Endpoints: what waits for each, how old it is, and why the last try failed."""
    settings, _ = read_settings(config)
    answer = ask(settings, "webhook.list", {})
    print_json(answer) if json else print_rows(answer["endpoints"], _ENDPOINTS, "no webhook is configured")


@webhook.command("dead")
def dead(
    endpoint: Annotated[str, typer.Argument(help="Only of this endpoint.", show_default=False)] = "",
    letter: Annotated[str, typer.Option("--show", help="This letter, with its events.", show_default=False)] = "",
    after: Annotated[str, typer.Option(help="Go on after this letter.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List requests that were given up, the oldest first."""
    settings, _ = read_settings(config)
    answer = ask(settings, "webhook.dead", {"endpoint": endpoint, "letter": letter, "after": after, "limit": limit})
    if json:
        print_json(answer)
    elif letter:
        print_facts(answer["letter"])
    else:
        print_rows(answer["letters"], _LETTERS, "no dead letters")
        if answer["more"]:
            typer.echo(f"go on with --after {answer['letters'][-1]['letter']}", err=True)


@webhook.command("replay")
def replay(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    letter: Annotated[str, typer.Argument(help="One letter; without it, all of the endpoint.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """Send dead letters again, each as it was, and try at once what waits."""
    settings, _ = read_settings(config)
    count = ask(settings, "webhook.replay", {"endpoint": endpoint, "letter": letter})["touched"]
    typer.echo(f"{count} dead letter{'' if count == 1 else 's'} of {endpoint} will be sent again")


@webhook.command("secret")
def secret() -> None:
    """Make a secret for a new endpoint and print it: for `secret_file`, and for whoever verifies."""
    typer.echo(PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())
