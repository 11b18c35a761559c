"""`mailwright contacts export ADDRESS` and `forget ADDRESS`: all that is known of a person, and the end of it.

An export reads the files of this node and the contact database; it changes nothing and needs no gateway. Forgetting asks the gateway, which
owns spool and event files; without one it is done under the folder's lock.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from config.settings import Settings
from gateway.commands.console import DATA_ERROR, UNAVAILABLE, ask, fail, print_facts, print_json, read_settings
from gateway.commands.contacts import Config, Json, contacts
from mail.identity import to_text


@contacts.command("export")
def export(address: Annotated[str, typer.Argument(help="Mail address.")], config: Config = None) -> None:
    """Print all that is known of a person, as one JSON object."""
    from contacts.trouble import StoreError
    from gateway.spool.port import SpoolError

    settings, _ = read_settings(config)
    normal = _normal(address)
    try:
        known = {
            "address": normal,
            "list": _of_list(settings, normal),
            **_of_spool(settings, normal),
            "events": list(_events(settings, normal)),
        }
        known["event_log"] = _event_log(settings, normal)
        known["webhook_requests"] = _letters(settings, normal)
        if settings.contacts.database is not None:
            known["contact_database"] = asyncio.run(_database(settings, normal, forget=False))
    except (StoreError, SpoolError) as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror or error}", UNAVAILABLE)
    print_json(known)


@contacts.command("forget")
def forget(
    address: Annotated[str, typer.Argument(help="Mail address.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only count what would go.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Erase what is known of a person; that he is suppressed stays, under a hash. Queued mail to him is cancelled."""
    from contacts.trouble import StoreError

    settings, _ = read_settings(config)
    normal = _normal(address)
    answer = ask(settings, "contacts.forget", {"address": normal, "dry_run": dry_run})
    if settings.contacts.database is not None and not dry_run:
        try:
            answer["contact_database"] = asyncio.run(_database(settings, normal, forget=True))
        except StoreError as error:
            print_json(answer) if json else print_facts(answer)
            fail(f"the node has forgotten, the contact database has not: {error}; run this again", UNAVAILABLE)
    if json:
        print_json(answer)
        return
    print_facts(answer)
    for line in _rest(settings, answer):
        typer.echo(line)


def _rest(settings: Settings, answer: dict[str, Any]) -> Iterator[str]:
    """What is not in our hands, in sentences."""
    if answer["dry_run"]:
        yield "nothing was changed (dry run)"
        return
    if answer["being_delivered"]:
        yield f"{answer['being_delivered']} deliveries are on a connection at this moment: run this again when they have ended"
    if answer["events_waiting"]:
        yield (
            f"{answer['events_waiting']} events that name the address are still in the spool; they go when every reader has taken them"
            " (status: events_waiting) and newer events follow: run this again then"
        )
    days = settings.retention.event_files / 86_400
    yield f"the log on standard error is not ours to rewrite: it goes with its own rotation (keep it {days:g} days at most)"


def _normal(address: str) -> str:
    from contacts.command import Refused, subject

    try:
        found = subject(address)
    except Refused as refusal:
        fail(str(refusal), DATA_ERROR)
    if "@" not in found:
        fail("give the address itself, not its hash", DATA_ERROR)
    return found


def _of_list(settings: Settings, address: str) -> dict[str, Any]:
    from contacts.command import why
    from contacts.soft import SoftFailures
    from contacts.store import SuppressionStore
    from contacts.suppression import Policy, Rules

    if not (settings.gateway.data / "contacts.db").exists():
        return {}
    store = SuppressionStore(settings.gateway.data, Rules(Policy(), {}), time.time)
    try:
        return {"entries": why(store, address, time.time()), "soft_bounces": msgspec.to_builtins(SoftFailures(store).past(address))}
    finally:
        store.close()


def _of_spool(settings: Settings, address: str) -> dict[str, Any]:
    from gateway.spool.connection import FILE
    from gateway.spool.person import PersonReader

    if not (settings.gateway.data / FILE).exists():
        return {"queue": [], "sent": []}
    reader = PersonReader(settings.gateway.data)
    try:
        return {"queue": [_delivery(one) for one in reader.queued(address)], "sent": [_delivery(one) for one in reader.ended(address)]}
    finally:
        reader.close()


def _delivery(one: Any) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.structs.asdict(one)
    return facts | {"id": to_text(one.id), "state": one.state.name.lower()}


def _events(settings: Settings, address: str) -> Iterator[Any]:
    """Lines of the event files that name the person."""
    from gateway.core.outbox import EventFile
    from gateway.core.personal import lines_about

    if settings.events.file is None:
        return
    files = EventFile(settings.gateway.data / settings.events.file, settings.events.rotate_size, settings.events.rotate_keep).files()
    for path in files:
        if path.exists():
            yield from (msgspec.Raw(line) for line in lines_about(path, address) if line.endswith(b"}"))


def _event_log(settings: Settings, address: str) -> list[Any]:
    """Events in the embedded log."""
    from contacts.event_log import FILE, EventLog

    if not (settings.gateway.data / FILE).exists():
        return []
    log = EventLog(settings.gateway.data)
    try:
        return [msgspec.Raw(line) for line in log.known(address)]
    finally:
        log.close()


def _letters(settings: Settings, address: str) -> list[Any]:
    from contacts.letters import FILE, Letters

    if not (settings.gateway.data / FILE).exists():
        return []
    letters = Letters(settings.gateway.data)
    try:
        return [{"endpoint": one.endpoint, "id": one.id, "died": one.died, "body": msgspec.Raw(one.body)} for one in letters.about(address)]
    finally:
        letters.close()


async def _database(settings: Settings, address: str, *, forget: bool) -> dict[str, Any]:
    from contacts import personal
    from contacts.connected import Connected

    assert settings.contacts.database is not None
    database = Connected(settings.contacts.database)
    try:
        return dict(await (personal.forget(database, address) if forget else personal.known(database, address)))
    finally:
        await database.close()
