"""`mailwright dkim …`, `mailwright account …` and `mailwright apikey …`: secrets that are made once, and what to do with them."""

import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from config.explain import explain
from config.sending import DkimAlgorithm
from config.settings import Settings
from config.text import file_trouble, key_path
from gateway.commands.console import USAGE, fail, print_json

dkim = typer.Typer(no_args_is_help=True, help="DKIM keys.")
account = typer.Typer(no_args_is_help=True, help="Accounts of applications.")
apikey = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API.")


@dkim.callback()
def _dkim() -> None:
    """DKIM keys."""


@account.callback()
def _account() -> None:
    """Accounts of applications."""


@apikey.callback()
def _apikey() -> None:
    """Keys of the HTTP API."""


@dkim.command("generate")
def generate_key(
    domain: Annotated[str, typer.Argument(help="The sending domain.")],
    selector: Annotated[str, typer.Option(help="Selector; a new one for each new key.")] = "mw1",
    algorithm: Annotated[DkimAlgorithm, typer.Option(help="Beside an Ed25519 key keep an RSA one: few receivers verify it.")] = (
        DkimAlgorithm.RSA_SHA256
    ),
    bits: Annotated[int, typer.Option(help="Size of an RSA key.")] = 2048,
    folder: Annotated[Path, typer.Option(help="Where the private key goes; never over an existing file.")] = Path("keys"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write a new key, and say what to publish and what to configure."""
    from gateway.compose.generate import generate

    try:
        made = generate(domain, selector, algorithm, bits, folder)
    except OSError as error:
        another = isinstance(error, FileExistsError) and folder.is_dir()
        hint = f"; a new key gets a new selector, such as --selector {_next(selector)}" if another else ""
        fail(f"{file_trouble(error)}{hint}", USAGE)
    except ValueError as error:
        fail(str(error), USAGE)
    if json:
        print_json(made)
        return
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"The private key is in {made.file}; nobody else needs it.\n")
    typer.echo("1. Publish its public half in DNS, as a record of type TXT. In the form of a DNS provider:\n")
    typer.echo(f"name   {made.record_name}\nvalue  {made.record_value}\n")
    typer.echo(f"or as a line of a zone file:\n\n{made.zone_line}\n")
    typer.echo(f"2. Add to the configuration:\n\n{made.config}")


def _next(selector: str) -> str:
    """The selector after this one: `mw2` after `mw1`."""
    name = selector.rstrip("0123456789")
    return f"{name}{int(selector[len(name) :] or 1) + 1}"


@account.command("add")
def add_account(
    name: Annotated[str, typer.Argument(help="Login name.")],
    domain: Annotated[
        list[str] | None, typer.Option(help="Sending domain it owns; may be given more than once.", show_default=False)
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input instead of asking.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password, and print it once.")] = False,
    file: Annotated[Path | None, typer.Option(help="Put the hash here; never over an existing file.", show_default=False)] = None,
) -> None:
    """Print the lines of configuration for an account, with the hash of its password."""
    from gateway.doors.passwords import hash_password

    password = _password(stdin, generate)
    try:
        hashed = hash_password(password)
    except ValueError as error:
        fail(str(error), USAGE)
    entry = {"name": name, "password": hashed, "domains": domain or ["*"]}
    _validate("account", entry)
    from config.reference import toml_value

    if file is not None:
        _keep(file, hashed)
        entry = {"name": name, "password_file": str(file), "domains": entry["domains"]}
    if generate:
        typer.echo(f"The password, which is shown only now: {password}", err=True)
    typer.echo("Add to the configuration:\n", err=True)
    typer.echo("[[account]]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in entry.items()))


@apikey.command("add")
def add_api_key(
    name: Annotated[str, typer.Argument(help="Who gets it.")],
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "read",
) -> None:
    """Make a key: print it once, and the lines of configuration with its hash."""
    from config.reference import toml_value
    from gateway.admin.http.keys import hash_of_key, new_key

    key = new_key()
    entry = {"name": name, "hash": hash_of_key(key), "role": role}
    _validate("api_key", entry)
    typer.echo(f"The key, which is shown only now: {key}\nAdd to the configuration:\n", err=True)
    typer.echo("[[api_key]]\n" + "".join(f"{word} = {toml_value(value)}\n" for word, value in entry.items()))


def _validate(table: str, entry: dict[str, Any]) -> None:
    """End where these lines would be refused in a configuration, in the words `check` has for it."""
    try:
        Settings.model_validate({table: [entry]})
    except ValidationError as error:
        fail("\n".join(f"{key_path(place[2:])}: {message}" for place, message in explain(error)), USAGE)


def _keep(file: Path, hashed: str) -> None:
    from gateway.compose.keyring import write_private

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, hashed.encode() + b"\n")
    except OSError as error:
        fail(file_trouble(error), USAGE)


def _password(stdin: bool, generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(24)
    if stdin or not sys.stdin.isatty():
        return sys.stdin.readline(4096).rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
