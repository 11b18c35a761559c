"""What the `suppression` verbs do, apart from how they are asked: over a store, and as events for whoever owns the event log.

Nothing is written here but files that a person named. `addition` and `removals` give events: a running gateway commits them through its
core and applies them, an offline command writes them to the event log under the folder's lock; so a change by hand is in the log like any
other. `why`, `listed` and `export` read; `import_file` writes to the store (`contacts.exchange`) and leaves the import's one event for the
log there.

Bad input is a `Refused` with a sentence for people; nothing has changed then.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from contacts import exchange
from contacts.address import subject_of
from contacts.exchange import Imported, Progress, no_progress
from contacts.formats.catalogue import FORMATS
from contacts.formats.hashed import salted
from contacts.formats.lines import object_of
from contacts.formats.record import Bad, BadLine, moment
from contacts.formats.shape import Format, Written
from contacts.formats.table import read_scope
from contacts.listing import entries, pieces
from contacts.store import SuppressionStore
from contacts.suppression import MAX_TEXT, Entry, Reason, Scope
from mail.event import Event, EventKind, timestamp

MOST_LISTED = 1000


class Refused(Exception):
    """What was asked cannot be done; the text says why, for people."""


def subject(text: str) -> str:
    """The address (or `sha256:…`) that a person typed, in normal form. Raises Refused."""
    found = subject_of(text) if len(text) <= MAX_TEXT else None
    if found is None:
        raise Refused(f"{text[:100]!r} is not an address")
    return found


def addition(
    address: str,
    reason: str,
    scope: str,
    identity: str,
    now: float,
    *,
    expires: str = "",
    note: str = "",
    node: str = "",
    origin: str = "operator",
) -> Event:
    """The event that suppresses `address`. `scope` as in our CSV: `global`, `account:shop`, `stream:shop/news`, `list:shop/weekly`;
    `identity` is new; `expires` a time in ISO 8601, or nothing. Raises Refused."""
    try:
        kind, account, stream, name = read_scope(scope)
        until = moment(expires)
        known = Reason(reason)
    except Bad as error:
        raise Refused(
            f"{error}: {scope!r}" if "scope" in str(error) else f"--expires: {error}, give one like 2030-01-31T00:00:00Z"
        ) from None
    except ValueError:
        raise Refused(f"unknown reason {reason!r}: one of {', '.join(Reason)}") from None
    if until and until <= now:
        raise Refused("--expires is past")
    return Event(
        id=identity,
        kind=EventKind.SUPPRESSION_ADDED,
        at=now,
        time=timestamp(now),
        recipient=subject(address),
        node=node,
        account=account,
        stream=stream,
        list=name,
        entry=identity,
        reason=known.value,
        scope=kind.value,
        origin=origin,
        expires=until,
        diagnostic=note[:MAX_TEXT],
    )


def removals(
    store: SuppressionStore, address: str, now: float, *, reason: str = "", scope: str = "", node: str = "", origin: str = "operator"
) -> list[Event]:
    """The events that remove every entry of `address`, or those with this reason or scope. Their ids are made of the entries': asking twice
    changes nothing. Empty when there is nothing to remove. Raises Refused."""
    normal = subject(address)
    if reason and reason not in set(Reason):
        raise Refused(f"unknown reason {reason!r}: one of {', '.join(Reason)}")
    wanted: tuple[Scope, str, str, str] | None = None
    if scope:
        try:
            wanted = read_scope(scope)
        except Bad:
            raise Refused(f"unknown scope {scope!r}") from None
    found = [entry for entry in store.entries_of(normal) if (not reason or entry.reason.value == reason) and _in_scope(entry, wanted)]
    return [_removal(entry, normal, now, node, origin) for entry in found]


def _in_scope(entry: Entry, wanted: tuple[Scope, str, str, str] | None) -> bool:
    if wanted is None:
        return True
    scope, account, stream, name = wanted
    names = {Scope.GLOBAL: (), Scope.ACCOUNT: (account,), Scope.STREAM: (account, stream), Scope.LIST: (account, name)}[scope]
    mine = {
        Scope.GLOBAL: (),
        Scope.ACCOUNT: (entry.account,),
        Scope.STREAM: (entry.account, entry.stream),
        Scope.LIST: (entry.account, entry.list),
    }[entry.scope]
    return entry.scope is scope and names == mine


def _removal(entry: Entry, address: str, now: float, node: str, origin: str) -> Event:
    return Event(
        id=f"{entry.id}.r",
        kind=EventKind.SUPPRESSION_REMOVED,
        at=now,
        time=timestamp(now),
        recipient=address,
        node=node,
        entry=entry.id,
        reason=entry.reason.value,
        scope=entry.scope.value,
        origin=origin,
    )


def why(store: SuppressionStore, address: str, now: float) -> list[dict[str, Any]]:
    """Every entry of `address` with its evidence; `live` says whether it still holds. Raises Refused."""
    return [object_of(entry) | {"live": entry.live(now)} for entry in store.entries_of(subject(address))]


def listed(store: SuppressionStore, now: float, *, since: str = "", reason: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Up to `limit` (at most 1000) entries that are in the file, in no meaningful order. Reads a file: from a thread. Raises Refused."""
    if reason and reason not in set(Reason):
        raise Refused(f"unknown reason {reason!r}: one of {', '.join(Reason)}")
    found = entries(store, now, since_time(since), reason)
    return [object_of(entry) for entry in itertools.islice(found, min(limit, MOST_LISTED))]


def export(
    store: SuppressionStore,
    shape: Format,
    out: BinaryIO,
    now: float,
    *,
    since: str = "",
    processes: int = 1,
    progress: Callable[[float], None] = lambda part: None,
) -> Written:
    """Write every live entry, created at `since` or later, in a format. Says how many, and how many the format could not carry. Raises
    Refused, StoreError, OSError."""
    if shape.write is None:
        lists = [name for name, other in FORMATS.items() if name.startswith(shape.name + "-") and other.write is not None]
        raise Refused(f"format {shape.name} has several files: export {', '.join(lists)}")
    written = Written()
    for piece in pieces(store, shape, now, since_time(since), written, processes, progress):
        out.write(piece)
    return written


def export_to(
    store: SuppressionStore,
    shape: Format,
    path: Path,
    now: float,
    *,
    since: str = "",
    processes: int = 1,
    progress: Callable[[float], None] = lambda part: None,
) -> Written:
    """`export` to a file for its owner only, which is there whole or not at all. Raises as `export`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            written = export(store, shape, out, now, since=since, processes=processes, progress=progress)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return written


def format_named(name: str, salt: bytes | None = None) -> Format:
    """A format by its name; `sha256-salted` needs a salt, and nothing else takes one. Raises Refused."""
    if name == "sha256-salted" and salt is not None:
        return salted(salt)
    if name == "sha256-salted":
        raise Refused("sha256-salted needs a salt")
    if salt is not None:
        raise Refused(f"{name} takes no salt: say sha256-salted")
    found = FORMATS.get(name)
    if found is None:
        raise Refused(f"unknown format {name!r}: one of {', '.join([*FORMATS, 'sha256-salted'])}")
    return found


def import_file(
    store: SuppressionStore,
    file: BinaryIO,
    shape: Format,
    batch: str,
    now: float,
    report: IO[str],
    *,
    scope: str = "",
    reason: str = "",
    node: str = "",
    dry_run: bool = False,
    skip_bad: bool = False,
    processes: int = 1,
    progress: Progress = no_progress,
) -> Imported:
    """Import a file. `scope` and `reason` replace what the lines say, for formats that cannot say it. Bad lines go to `report`, one line
    each with the number. Raises Refused, StoreError."""
    if shape.read is None:
        raise Refused(f"format {shape.name} cannot be imported: {shape.says}")

    def bad(line: BadLine) -> None:
        report.write(f"line {line.line}: {line.why}\n")

    return exchange.import_file(
        store,
        file,
        shape,
        batch,
        now,
        node=node,
        changes=_changes(scope, reason),
        dry_run=dry_run,
        skip_bad=skip_bad,
        on_bad=bad,
        progress=progress,
        processes=processes,
    )


def _changes(scope: str, reason: str) -> dict[str, Any]:
    """Fields of every record that are replaced. Raises Refused."""
    changes: dict[str, Any] = {}
    if scope:
        try:
            changes = dict(zip(("scope", "account", "stream", "list"), read_scope(scope), strict=True))
        except Bad:
            raise Refused(f"unknown scope {scope!r}") from None
    if reason:
        if reason not in set(Reason):
            raise Refused(f"unknown reason {reason!r}: one of {', '.join(Reason)}")
        changes["reason"] = Reason(reason)
    return changes


def since_time(text: str) -> float:
    """The time that `--since` means. Raises Refused."""
    try:
        return moment(text)
    except Bad:
        raise Refused(f"--since {text[:50]!r} is no time: give one like 2026-01-31 or 2026-01-31T12:00:00Z") from None
