"""The console's calls about events that leave: the cursor over the event log, and webhook endpoints with their dead letters."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from contacts.letters import Letter, Letters
from contacts.trouble import StoreError
from gateway.admin.calls import CallError, Nothing, Result
from gateway.publishing.publishing import Publishing
from gateway.publishing.webhooks import Webhooks
from gateway.spool.port import SpoolError
from mail.event import timestamp

MOST_EVENTS = 1000
NO_DATABASE = "there is no contact database: set contacts.database"
NO_LOG = "events are kept nowhere that can be asked: set contacts.database, or contacts.embedded"


class EventsAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """events.after: events behind a position, in order. 0 is the beginning."""

    after: int = 0
    limit: int = 100


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """webhook.dead: dead letters of one endpoint or of all, behind the letter `after`; or one letter with its body."""

    endpoint: str = ""
    after: str = ""
    letter: str = ""
    limit: int = 100


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """webhook.replay: send one dead letter of an endpoint again, or all of them."""

    endpoint: str
    letter: str = ""


class AuditContacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """contacts.audit: compare replica, suppression table and event log; without `dry_run`, mend what differs."""

    dry_run: bool = True


class PublishingCalls:
    """The calls over the roads of one gateway."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing
        self.calls: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[Result]]]] = {
            "events.after": (EventsAfter, self._after),
            "contacts.audit": (AuditContacts, self._audit),
            "webhook.list": (Nothing, self._list),
            "webhook.dead": (DeadLetters, self._dead),
            "webhook.replay": (Replay, self._replay),
        }

    async def _after(self, arguments: EventsAfter) -> Result:
        if arguments.after < 0:
            raise CallError("after is the position of the last event you have, 0 for the beginning")
        limit = max(1, min(arguments.limit, MOST_EVENTS))
        try:
            found = await self._publishing.events_after(arguments.after, limit)
        except StoreError as error:
            raise SpoolError(str(error)) from error
        if found is None:
            raise CallError(NO_LOG)
        events = [{"position": position, "sequence": number, "event": msgspec.Raw(line)} for position, number, line in found]
        return {"events": events, "next": found[-1][0] if found else arguments.after, "more": len(found) == limit}

    async def _audit(self, arguments: AuditContacts) -> Result:
        try:
            done = await self._publishing.audit(not arguments.dry_run)
        except StoreError as error:
            raise CallError(str(error)) from error
        if done is None:
            raise CallError(NO_DATABASE)
        found, back = done
        return {
            "dry_run": arguments.dry_run,
            "rows": found.rows,
            "entries": found.entries,
            "events": found.events,
            "findings": [{"what": one.what, "count": one.count, "ids": one.ids} for one in found.findings],
            "events_missing": found.events_missing,
            "events_back": back,
            "touched": found.mended + back,
        }

    async def _list(self, arguments: Nothing) -> Result:
        webhooks = self._publishing.webhooks
        sinks = {} if webhooks is None else webhooks.sinks
        dead = {} if webhooks is None else await self._stored(webhooks, Letters.counts)
        rows: list[dict[str, Any]] = []
        for name, sink in sinks.items():
            rows.append({"endpoint": name, **sink.status(), "dead_letters": dead.pop(name, 0)})
        rows += [{"endpoint": name, "error": "no longer configured", "dead_letters": count} for name, count in dead.items()]
        return {"endpoints": rows}

    async def _dead(self, arguments: DeadLetters) -> Result:
        webhooks = self._some()
        if arguments.letter:
            letter = await self._stored(webhooks, lambda letters: letters.dead_letter(arguments.letter))
            if letter is None:
                raise CallError(f"no dead letter {arguments.letter[:60]}")
            return {"letter": _view(letter) | {"body": msgspec.Raw(letter.body)}}
        limit = max(1, arguments.limit)
        found = await self._stored(webhooks, lambda letters: letters.dead(arguments.endpoint, arguments.after, limit))
        return {"letters": [_view(letter) for letter in found], "more": len(found) == limit}

    async def _replay(self, arguments: Replay) -> Result:
        webhooks = self._some()
        road = webhooks.roads.get(arguments.endpoint)
        if road is None:
            raise CallError(f"no endpoint {arguments.endpoint[:100]!r} is configured; there are {', '.join(webhooks.roads) or 'none'}")
        count = await self._stored(webhooks, lambda letters: letters.replay(arguments.endpoint, arguments.letter))
        if arguments.letter and not count:
            raise CallError(f"{arguments.endpoint} has no dead letter {arguments.letter[:60]}, or it is on its way again")
        road.wake()
        return {"touched": count}

    def _some(self) -> Webhooks:
        if self._publishing.webhooks is None:
            raise CallError("no webhook is configured, and there is none from before")
        return self._publishing.webhooks

    async def _stored(self, webhooks: Webhooks, act: Callable[[Letters], Any]) -> Any:
        try:
            return await webhooks.stored(act)
        except StoreError as error:
            raise CallError(str(error)) from error


def _view(letter: Letter) -> dict[str, Any]:
    """A dead letter for people."""
    return {
        "letter": letter.id,
        "endpoint": letter.endpoint,
        "events": letter.events,
        "oldest": timestamp(letter.born),
        "died": timestamp(letter.died),
        "tries": letter.tries,
        "waits": "to be sent again" if letter.state == 2 else "",
        "why": letter.why,
    }
