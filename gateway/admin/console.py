"""What the calls do. Each is a few lines over the core; the core decides how.

Reads go to the spool in bounded pages; changes go through the committer like everything else, in slices, and survive a crash.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from contacts.store import SuppressionStore
from gateway.admin.calls import (
    CallError,
    ChangeQueue,
    HoldQueue,
    LaneName,
    ListQueue,
    Nothing,
    ReleaseQueue,
    Result,
    ShowDelivery,
)
from gateway.admin.persons import PersonCalls
from gateway.admin.publishing import PublishingCalls
from gateway.admin.suppression import SuppressionCalls
from gateway.calls import Lane
from gateway.core.core import Core
from gateway.core.held import not_before
from gateway.core.sweeps import Action, Operation
from gateway.publishing.publishing import Publishing
from gateway.spool.port import Hold, Queued, Selection
from mail.event import timestamp
from mail.identity import from_text, to_text

MOST_ROWS = 1000
HOLD_FIELDS = ("provider", "account", "stream", "campaign", "domain", "source")


class Console:
    """The calls over one core."""

    def __init__(self, core: Core, store: SuppressionStore, publishing: Publishing, status: Callable[[], dict[str, Any]]) -> None:
        self._core = core
        self._status = status
        self._calls: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[Result]]]] = {
            "status": (Nothing, self._status_call),
            "queue.list": (ListQueue, self._list),
            "queue.show": (ShowDelivery, self._show),
            "queue.retry": (ChangeQueue, lambda arguments: self._change("retry", arguments)),
            "queue.reroute": (ChangeQueue, lambda arguments: self._change("reroute", arguments)),
            "queue.cancel": (ChangeQueue, lambda arguments: self._change("cancel", arguments)),
            "queue.expire": (ChangeQueue, lambda arguments: self._change("expire", arguments)),
            "queue.hold": (HoldQueue, self._hold),
            "queue.release": (ReleaseQueue, self._release),
            "queue.holds": (Nothing, self._holds),
            "lanes.list": (Nothing, self._lanes),
            "accounts.quota": (Nothing, self._quota),
            "lanes.suspend": (LaneName, self._suspend),
            "lanes.resume": (LaneName, self._resume),
            **SuppressionCalls(core, store).calls,
            **PersonCalls(core, store, publishing).calls,
            **PublishingCalls(publishing).calls,
        }

    async def call(self, name: str, arguments: dict[str, Any]) -> Result:
        """Carry out one call. Raises CallError with a sentence for the caller."""
        entry = self._calls.get(name)
        if entry is None:
            raise CallError(f"no such call: {name[:60]}; there are {', '.join(sorted(self._calls))}")
        kind, carry_out = entry
        try:
            typed = msgspec.convert(arguments, type=kind)
        except msgspec.ValidationError as error:
            raise CallError(f"{name}: {error}") from error
        return await carry_out(typed)

    async def _status_call(self, arguments: Nothing) -> Result:
        return self._status()

    async def _list(self, arguments: ListQueue) -> Result:
        after = from_text(arguments.after) if arguments.after else 0
        if after is None:
            raise CallError(f"not a delivery: {arguments.after}")
        limit = max(1, min(arguments.limit, MOST_ROWS))
        selection = arguments.selection(self._core.clock())
        rows, total = await asyncio.get_running_loop().run_in_executor(None, self._page, selection, after, limit)
        deliveries = [queued_view(queued) | {"waits": self._waits(queued)} for queued in rows]
        return {"deliveries": deliveries, "total": total, "more": total > len(rows)}

    def _page(self, selection: Selection, after: int, limit: int) -> tuple[list[Queued], int]:
        """In a thread of its own with a reader of its own: a large count must not stop the mail."""
        reader = self._core.ports.open_reader()
        try:
            return reader.find(selection, after, limit), reader.count(selection)
        finally:
            reader.close()

    def _waits(self, queued: Queued) -> str:
        """What keeps a delivery from being tried now besides its due time: its send-at, its lanes that rest, a hold of its flow; "" when
        nothing does."""
        if not_before(queued.message) > self._core.clock():
            return "its send-at"
        held = self._core.held.get(queued.id)
        if not queued.flow or (held is not None and held.permit):
            return ""
        wait = self._core.ports.controller.blocked(queued.flow, self._core.clock())
        if wait is None:
            return ""
        return wait.why if wait.until == math.inf else f"{wait.why}, until {timestamp(wait.until)}"

    async def _show(self, arguments: ShowDelivery) -> Result:
        identity = from_text(arguments.id)
        if identity is None:
            raise CallError(f"not a delivery: {arguments.id}")
        found = self._core.ports.spool.find(Selection(ids=[identity]), 0, 1)
        if found:
            key = self._core.flows.key(found[0].flow) if found[0].flow else None
            flow = None if key is None else msgspec.to_builtins(key)
            held = self._core.held.get(identity)
            place = "on disk" if held is None else "in a window" if held.permit == 0 else "on a connection"
            more = {"waits": self._waits(found[0]), "flow": flow, "place": place, "return_path": found[0].return_path}
            if found[0].message.labels is not None:
                more["labels"] = msgspec.to_builtins(found[0].message.labels)
            return queued_view(found[0]) | more
        ended = self._core.ports.spool.sent(identity)
        if ended is None:
            raise CallError(f"no delivery {arguments.id} in the queue or the sent ledger{self._as_a_message(identity)}")
        return {
            "delivery": arguments.id,
            "state": ended.state.name.lower(),
            "recipient": ended.recipient,
            "account": ended.account,
            "stream": ended.stream,
            "campaign": ended.campaign,
            "message_id": ended.message_id,
            "ended": timestamp(ended.at),
        }

    def _as_a_message(self, identity: int) -> str:
        """A hint for who asks by the identity that the 250 named: a message's first delivery has the next one."""
        spool = self._core.ports.spool
        first = identity + 1
        if not spool.find(Selection(ids=[first]), 0, 1) and spool.sent(first) is None:
            return ""
        return f"; if it is a message, its first delivery is {to_text(first)}"

    async def _change(self, action: Action, arguments: ChangeQueue) -> Result:
        selection = arguments.selection(self._core.clock())
        if selection == Selection() and not arguments.everything:
            raise CallError(
                "say which: identities, --domain, --provider, --account, --stream, --campaign or --older-than; or everything (--all)"
            )
        matched = await asyncio.get_running_loop().run_in_executor(None, self._count, selection)
        if arguments.dry_run:
            return {"action": action, "dry_run": True, "matched": matched, "touched": 0}
        now = self._core.clock()
        operation = Operation(self._core.identities.next(now), action, selection, now, arguments.reason[:500])
        return {"action": action, "dry_run": False, "matched": matched, "touched": await self._core.sweeper.operate(operation)}

    def _count(self, selection: Selection) -> int:
        reader = self._core.ports.open_reader()
        try:
            return reader.count(selection)
        finally:
            reader.close()

    async def _hold(self, arguments: HoldQueue) -> Result:
        fields = {name: getattr(arguments, name) for name in HOLD_FIELDS}
        if not any(fields.values()):
            raise CallError("say what to hold: --provider, --account, --stream, --campaign, --domain or --source")
        if arguments.source:
            self._source(arguments.source)
        now = self._core.clock()
        until = now + arguments.seconds if arguments.seconds else 0.0
        hold = Hold(self._core.identities.next(now), now, until, reason=arguments.reason[:500], **fields)
        if not arguments.dry_run:
            self._core.hold(hold)
            await self._core.committer.flush()
        return {"hold": to_text(hold.id), "dry_run": arguments.dry_run}

    async def _release(self, arguments: ReleaseQueue) -> Result:
        released = [hold.id for hold in self._core.holds.values() if _means(arguments, hold)]
        if not released:
            raise CallError("no such hold; `mailwright queue holds` lists them")
        if not arguments.dry_run:
            for identity in released:
                self._core.release(identity)
            await self._core.committer.flush()
        return {"released": [to_text(identity) for identity in released], "dry_run": arguments.dry_run}

    async def _holds(self, arguments: Nothing) -> Result:
        return {"holds": [{**msgspec.to_builtins(hold), "id": to_text(hold.id)} for hold in self._core.holds.values()]}

    async def _lanes(self, arguments: Nothing) -> Result:
        lanes = self._core.ports.controller.lanes(self._core.clock())
        return {"lanes": [msgspec.to_builtins(lane) for lane in lanes]}

    async def _quota(self, arguments: Nothing) -> Result:
        usage = self._core.quotas.usage()
        return {"quotas": [{**msgspec.to_builtins(row), "refused": refused} for row, refused in usage]}

    async def _suspend(self, arguments: LaneName) -> Result:
        """A hold of the lane with an end: like every order of a person it survives a restart."""
        if arguments.seconds <= 0:
            raise CallError("say for how long: every suspension of a lane ends by itself")
        self._source(arguments.source)
        now = self._core.clock()
        until = now + arguments.seconds
        hold = Hold(
            self._core.identities.next(now),
            now,
            until,
            source=arguments.source,
            provider=arguments.provider,
            reason=arguments.reason[:500],
        )
        self._core.hold(hold)
        await self._core.committer.flush()
        return {"suspended": f"{arguments.source}/{arguments.provider}", "until": timestamp(until), "hold": to_text(hold.id)}

    def _source(self, name: str) -> None:
        """Refuses a source that does not exist: what is misspelt would seem stopped, and goes on."""
        names = [source.name for source in self._core.settings.source]
        if name not in names:
            raise CallError(f"there is no source {name[:100]!r}; there is {', '.join(names)}")

    async def _resume(self, arguments: LaneName) -> Result:
        """Ends what people ordered for this lane alone, and what replies did to it."""
        lane = ReleaseQueue(source=arguments.source, provider=arguments.provider)
        for identity in [hold.id for hold in self._core.holds.values() if _means(lane, hold)]:
            self._core.release(identity)
        self._core.ports.controller.resume(Lane(arguments.source, arguments.provider))
        self._core.windows.look()
        self._core.engine.turn_soon()
        await self._core.committer.flush()
        return {"resumed": f"{arguments.source}/{arguments.provider}"}


def _means(arguments: ReleaseQueue, hold: Hold) -> bool:
    if arguments.hold:
        return to_text(hold.id) == arguments.hold.lower()
    return all(getattr(hold, name) == getattr(arguments, name) for name in HOLD_FIELDS)


def queued_view(queued: Queued) -> Result:
    """A delivery in the queue, for people."""
    message = queued.message
    return {
        "delivery": to_text(queued.id),
        "message": to_text(message.id),
        "state": queued.state.name.lower(),
        "recipient": queued.recipient,
        "sender": message.sender.text,
        "account": message.account,
        "stream": message.stream,
        "campaign": message.campaign,
        "accepted": timestamp(message.received_at),
        "due": timestamp(queued.due),
        "expires": timestamp(queued.expires),
        "attempts": queued.attempts,
        "reason": queued.reason,
    }
