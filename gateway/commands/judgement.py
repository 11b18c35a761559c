"""`mailwright bounce …` and `mailwright fbl …`: what a refusal, a returned message or a complaint means, without a gateway."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import CONFIG, DATA_ERROR, USAGE, fail, print_facts, print_json

bounce = typer.Typer(no_args_is_help=True, help="What refusals and bounces mean.")
fbl = typer.Typer(no_args_is_help=True, help="What complaints say.")

Files = Annotated[list[Path], typer.Argument(help="Messages, one a file.", show_default=False)]


@bounce.command("classify")
def classify(
    reply: Annotated[str, typer.Argument(help='A reply such as "550 5.1.1 User unknown".')],
    provider: Annotated[str, typer.Option(help="Mailbox provider that said it.", show_default=False)] = "",
    phase: Annotated[str, typer.Option(help="Where in the dialogue: connect, mail, rcpt, dot …")] = "rcpt",
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say category, fault and the rule that decided."""
    from bounce.classify import classify as decide
    from bounce.classify import reply_of
    from mail.outcome import Phase, is_hard

    if phase not in tuple(Phase):
        fail(f"no such phase; there are {', '.join(Phase)}", USAGE)
    parsed = reply_of(reply)
    if not parsed.code:
        typer.echo("warning: this does not begin with a reply code of three digits; only its words are looked at", err=True)
    decided = decide(parsed, provider, Phase(phase))
    facts = {
        "category": decided.category.value,
        "fault": decided.fault.value,
        "hard": is_hard(decided.category, parsed.permanent),
        "rule": decided.rule,
        "code": parsed.code,
        "enhanced": parsed.enhanced,
    }
    print_json(facts) if json else print_facts(facts)


@bounce.command("parse")
def parse_bounces(files: Files) -> None:
    """Print one JSON object for each file: its kind, its recipients, and what follows for each."""
    from bounce.command import parse_files

    raise typer.Exit(parse_files(files, sys.stdout))


@bounce.command("mine")
def mine(
    files: Annotated[list[Path], typer.Argument(help="Event files (NDJSON), or files of replies, one a line.", show_default=False)],
    rules: Annotated[Path | None, typer.Option(help="Own rules (TOML), tried before the shipped ones.", show_default=False)] = None,
    most: Annotated[int, typer.Option(min=1, max=1_000, help="Proposals at most.")] = 20,
) -> None:
    """Propose rules for refusals that no rule knows, and say what each would have changed of the past. Changes nothing."""
    from bounce.command import mine_files

    try:
        raise typer.Exit(mine_files(files, sys.stdout, rules, most))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", DATA_ERROR)
    except ValueError as error:
        fail(f"{rules}: {error}", CONFIG)


@fbl.command("parse")
def parse_complaints(files: Files) -> None:
    """Print one JSON object for each file: what the complaint says."""
    from fbl.command import parse_files

    raise typer.Exit(parse_files(files, sys.stdout))
