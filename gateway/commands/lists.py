"""`mailwright suppression export` and `import`: the list as a file, beside a running gateway or without one.

Ten million entries do not go through the control socket: these commands read and write `contacts.db` themselves, with less priority than
mail, and the gateway is told of an import's one event afterwards. A gateway that is not running, or that ends in between, finds the event
at its next start.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, NoReturn

import typer

from config.settings import Settings
from gateway.commands.console import DATA_ERROR, UNAVAILABLE, USAGE, fail, print_json, read_settings
from gateway.commands.suppression import Config, Json, suppression

CANNOT_CREATE = 73
NICE = 5
"""Added to the niceness of this process; its workers have more."""


@suppression.command("export")
def export(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="csv, ndjson, ses, sha256 …; `suppression formats` lists them.")],
    file: Annotated[Path, typer.Argument(help="File to write, whole or not at all; - is standard output.")] = Path("-"),
    since: Annotated[
        str, typer.Option(help="Only entries created at or after this time, such as 2026-01-31T00:00:00Z.", show_default=False)
    ] = "",
    salt_file: Annotated[Path | None, typer.Option(help="File whose octets are the salt of sha256-salted.", show_default=False)] = None,
    config: Config = None,
) -> None:
    """Write the list to a file. What the format cannot carry is left out and counted."""
    from contacts import command
    from contacts.workers import processors

    settings, _ = read_settings(config)
    with _told(), _store(settings, create=False) as store, _bar("exporting") as bar:
        shape = command.format_named(form, _salt(salt_file) if salt_file is not None else None)
        more: dict[str, Any] = {"since": since, "processes": processors(), "progress": lambda part: bar(part, 1.0)}
        if str(file) == "-":
            written = command.export(store, shape, sys.stdout.buffer, time.time(), **more)
        else:
            written = command.export_to(store, shape, file, time.time(), **more)
    left_out = f"; {written.left_out} left out, which {shape.name} cannot carry" if written.left_out else ""
    typer.echo(f"{written.entries} entries exported{left_out}", err=True)


@suppression.command("import")
def import_list(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="csv, ndjson, ses, mailgun, postmark, sendgrid, sha256 …")],
    file: Annotated[Path, typer.Argument(help="File to read; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would change.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good lines of a file that has bad ones.")] = False,
    scope: Annotated[str, typer.Option(help="Scope of every entry, such as account:NAME.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help="Reason of every entry, such as unsubscribe.", show_default=False)] = "",
    report: Annotated[Path | None, typer.Option(help="File for the bad lines; else standard error.", show_default=False)] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Read a file into the list: all of it or, when a line is bad, nothing. Entries that are there already are merged."""
    import msgspec

    from contacts import command
    from contacts.workers import processors

    settings, _ = read_settings(config)
    with _told(), _source(file) as source, _report(report) as bad, _store(settings, create=True) as store:
        shape = command.format_named(form)
        size = 0 if str(file) == "-" else file.stat().st_size
        with _bar("reading") as bar:
            done = command.import_file(
                store,
                source,
                shape,
                _batch(),
                time.time(),
                bad,
                scope=scope,
                reason=reason,
                node=settings.gateway.node,
                dry_run=dry_run,
                skip_bad=skip_bad,
                processes=processors(),
                progress=lambda step, part, whole: bar(part, whole or size, step),
            )
    if done.done:
        _announce(settings)
    if json:
        print_json(msgspec.to_builtins(done))
    else:
        _tell(done, dry_run)
    if done.refused and not skip_bad:
        raise typer.Exit(DATA_ERROR)


@suppression.command("formats")
def formats() -> None:
    """The formats of files, and what each can carry."""
    from contacts.formats.catalogue import FORMATS

    for shape in FORMATS.values():
        can = "import, export" if shape.read and shape.write else "import" if shape.read else "export"
        typer.echo(f"{shape.name:24} {can:16} {shape.says}")
    typer.echo(f"{'sha256-salted':24} {'export':16} SHA-256 of a salt (--salt-file) and the address; finds nobody without trying them all.")


def _tell(done: Any, dry_run: bool) -> None:
    counts = f"{done.read} read, {done.added} new, {done.merged} there already, {done.refused} bad"
    if done.done:
        typer.echo(f"imported as {done.batch}: {counts}")
    elif dry_run:
        typer.echo(f"nothing was changed (dry run): {counts}")
    else:
        typer.echo(f"nothing was imported: {counts}; mend them, or import the others with --skip-bad", err=True)


def _announce(settings: Settings) -> None:
    """The gateway, or the spool without one, gets the event. Where there is no spool yet, the first start finds it."""
    from gateway.admin.calls import CallError
    from gateway.admin.client import NotRunning, call
    from gateway.commands.offline import NoSpool
    from gateway.commands.offline import call as call_offline

    try:
        try:
            call(settings.gateway.data, "suppression.announce", {})
        except NotRunning:
            call_offline(settings, "suppression.announce", {})
    except (NoSpool, CallError) as error:
        typer.echo(f"the list is imported; its event will be in the log when the gateway starts ({error})", err=True)


def _batch() -> str:
    """A new name for an import: when, and chance."""
    import secrets

    return time.strftime("i%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(4)


def _salt(file: Path) -> bytes:
    try:
        salt = file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", USAGE)
    if not 0 < len(salt) <= 4096:
        fail(f"{file}: a salt has 1 to 4096 octets", USAGE)
    return salt


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What can go wrong, as one line."""
    from contacts.command import Refused
    from contacts.trouble import StoreError

    try:
        yield
    except Refused as refusal:
        fail(str(refusal), USAGE)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    except BrokenPipeError:
        _gone()
    except OSError as error:
        fail(f"{error.filename or 'file'}: {error.strerror or error}", CANNOT_CREATE)


def _gone() -> NoReturn:
    """Whoever read our output has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(CANNOT_CREATE)


@contextlib.contextmanager
def _store(settings: Settings, *, create: bool) -> Iterator[Any]:
    from contacts.store import SuppressionStore
    from contacts.suppression import Policy, Rules

    folder = settings.gateway.data
    if not create and not (folder / "contacts.db").exists():
        fail(f"there is no suppression list in {folder}", UNAVAILABLE)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    store = SuppressionStore(folder, Rules(Policy(), {}), time.time)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _source(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    with file.open("rb") as opened:
        yield opened


@contextlib.contextmanager
def _report(file: Path | None) -> Iterator[IO[str]]:
    if file is None:
        yield sys.stderr
        return
    with file.open("w", encoding="utf-8") as opened:
        yield opened


@contextlib.contextmanager
def _bar(label: str) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error where that is a terminal: call it with what is done, of how much, and the step."""
    if not sys.stderr.isatty():
        yield lambda done, total, step=label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=None)

        def show(done: float, total: float, step: str = label) -> None:
            shown.update(task, description=step, completed=done, total=total or None)

        yield show
