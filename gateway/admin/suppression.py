"""The console's calls about the suppression list: list, why, add, remove.

A change is an event: it goes to disk with the event log first, then into the view, so that it is in the log like every other and comes back
after a crash. Files (export, import) are not a matter of this socket: `suppression.announce` asks for the events of what was imported.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from contacts import command
from contacts.exchange import announced, unannounced
from contacts.formats.lines import object_of
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from gateway.admin.calls import CallError, Nothing, Result
from gateway.core.core import Core
from mail.event import Event, seal, timestamp
from mail.identity import from_text, to_text


class ListSuppressions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """suppression.list"""

    since: str = ""
    reason: str = ""
    limit: int = 100


class WhySuppressed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """suppression.why"""

    address: str


class AddSuppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """suppression.add"""

    address: str
    reason: str = "manual"
    scope: str = "global"
    expires: str = ""
    note: str = ""


class RemoveSuppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """suppression.remove: every entry of the address, or those with this reason or scope."""

    address: str
    reason: str = ""
    scope: str = ""
    dry_run: bool = False


class SuppressionCalls:
    """The calls over one core and its store."""

    def __init__(self, core: Core, store: SuppressionStore) -> None:
        self._core = core
        self._store = store
        self.calls: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[Result]]]] = {
            "suppression.list": (ListSuppressions, self._told(self._list)),
            "suppression.why": (WhySuppressed, self._told(self._why)),
            "suppression.add": (AddSuppression, self._told(self._add)),
            "suppression.remove": (RemoveSuppression, self._told(self._remove)),
            "suppression.announce": (Nothing, self._told(self._announce)),
        }

    def _told(self, carry_out: Callable[[Any], Awaitable[Result]]) -> Callable[[Any], Awaitable[Result]]:
        async def call(arguments: Any) -> Result:
            try:
                return await carry_out(arguments)
            except (command.Refused, StoreError) as refusal:
                raise CallError(str(refusal)) from refusal

        return call

    async def _list(self, arguments: ListSuppressions) -> Result:
        """In a thread: it may have to look through the whole file. What was added this moment comes from memory."""
        now, limit = self._core.clock(), max(1, min(arguments.limit, command.MOST_LISTED))
        fresh, gone = self._store.overlay()
        look = functools.partial(command.listed, self._store, now, since=arguments.since, reason=arguments.reason, limit=limit)
        found = await asyncio.get_running_loop().run_in_executor(None, look)
        since = command.since_time(arguments.since)
        first = [entry for entry in fresh if entry.created >= since and (not arguments.reason or entry.reason == arguments.reason)]
        known = gone | {entry.id for entry in first}
        entries = [object_of(entry) for entry in first] + [entry for entry in found if entry["id"] not in known]
        return {"entries": entries[:limit]}

    async def _why(self, arguments: WhySuppressed) -> Result:
        entries = command.why(self._store, arguments.address, self._core.clock())
        return {"address": arguments.address, "entries": [entry | self._caused_by(entry.get("evidence", "")) for entry in entries]}

    def _caused_by(self, evidence: str) -> dict[str, Any]:
        """The delivery whose event is the evidence, while the sent ledger knows it."""
        identity = from_text(evidence.partition(".")[0]) if evidence else None
        ended = None if identity is None else self._core.ports.spool.sent(identity)
        if ended is None:
            return {}
        labels = {"account": ended.account, "stream": ended.stream, "campaign": ended.campaign, "message_id": ended.message_id}
        facts = {"delivery": to_text(identity or 0), "state": ended.state.name.lower(), "ended": timestamp(ended.at), **labels}
        return {"caused_by": {name: value for name, value in facts.items() if value}}

    async def _add(self, arguments: AddSuppression) -> Result:
        now = self._core.clock()
        identity = f"{to_text(self._core.identities.next(now))}.m"
        event = command.addition(
            arguments.address,
            arguments.reason,
            arguments.scope,
            identity,
            now,
            expires=arguments.expires,
            note=arguments.note,
            node=self._core.settings.gateway.node,
        )
        await self._commit([event])
        return {"added": identity, "address": event.recipient}

    async def _remove(self, arguments: RemoveSuppression) -> Result:
        node = self._core.settings.gateway.node
        events = command.removals(
            self._store, arguments.address, self._core.clock(), reason=arguments.reason, scope=arguments.scope, node=node
        )
        if not arguments.dry_run:
            await self._commit(events)
        return {"removed": [event.entry for event in events], "dry_run": arguments.dry_run}

    async def _announce(self, arguments: Nothing) -> Result:
        """The events of imports that are in the list and not yet in the log. An import beside us writes the list itself."""
        self._store.look_at_filter()
        loop = asyncio.get_running_loop()
        events = await loop.run_in_executor(None, unannounced, self._store)
        await self._commit(events)
        for event in events:
            await loop.run_in_executor(None, announced, self._store, event.batch)
        return {"announced": [event.batch for event in events], "dry_run": not events}

    async def _commit(self, events: list[Event]) -> None:
        if events:
            self._core.committer.events([seal(event) for event in events])
            await self._core.committer.flush()
        for event in events:
            self._store.apply(event)
