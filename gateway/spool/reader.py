"""Reads of the spool: bounded pages by prepared statements on a connection of its own, nothing open between calls.

One reader serves one thread; the delivery path has one on the loop's thread (short reads), long ones (`find`, `count`, `backlog`) may have
another on a reader thread. Rows that do not decode are left out of the page and their identities gathered in `damaged`, for the caller to
report. Errors of the file come out as SpoolBroken.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.spool.connection import open_reader, translated
from gateway.spool.lifecycle import State
from gateway.spool.notice import Pending
from gateway.spool.port import FlowCount, LedgerEntry, Queued, Selection
from gateway.spool.queries import statement
from gateway.spool.rows import PAGE_COLUMNS, pending_from, queued_from
from gateway.spool.selection import where
from mail.identity import given_at

PAGE = 1000
"""Rows of one page, at most, whatever is asked."""

_DELIVERIES = f"SELECT {PAGE_COLUMNS} FROM delivery LEFT JOIN message ON message.id = delivery.message"


class SqliteReader:
    """Reads for one thread."""

    def __init__(self, folder: Path, vfs: str | None = None) -> None:
        with translated("open for reading"):
            self.connection = open_reader(folder, vfs=vfs)
        self.damaged: list[int] = []
        """Deliveries met whose facts do not decode, since the caller last emptied it."""
        self._content = statement("content")

    def content(self, message: int) -> bytes | None:
        """The bytes the application sent, or None when the message is gone."""
        with translated("read content"):
            found: bytes | None = self.connection.execute(self._content, (message,)).get
            return found

    def unrouted(self, after: int, limit: int) -> list[Queued]:
        """Queued deliveries without a route with identities over `after`, ascending."""
        text = f"{_DELIVERIES} WHERE state = 0 AND flow = 0 AND delivery.id > ? ORDER BY delivery.id LIMIT ?"
        return self._page(text, (after, min(limit, PAGE)))

    def expiring(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `expires` has come."""
        text = f"{_DELIVERIES} WHERE state = 0 AND expires <= ? ORDER BY expires LIMIT ?"
        return self._page(text, (now, min(limit, PAGE)))

    def lapsed(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `eligible_until` has come."""
        text = f"{_DELIVERIES} WHERE state = 0 AND eligible_until > 0 AND eligible_until <= ? ORDER BY eligible_until LIMIT ?"
        return self._page(text, (now, min(limit, PAGE)))

    def find(self, selection: Selection, after: int, limit: int) -> list[Queued]:
        """Deliveries in the queue that match, with identities over `after`, ascending."""
        condition, bindings = where(selection)
        text = f"{_DELIVERIES} WHERE delivery.id > ? AND {condition} ORDER BY delivery.id LIMIT ?"
        return self._page(text, (after, *bindings, min(limit, PAGE)))

    def count(self, selection: Selection) -> int:
        """How many deliveries in the queue match."""
        condition, bindings = where(selection)
        text = f"SELECT count(*) FROM delivery LEFT JOIN message ON message.id = delivery.message WHERE {condition}"
        with translated("count"):
            return int(self.connection.execute(text, bindings).get)

    def flows_due(self, since: float, now: float, limit: int) -> list[int]:
        """Numbers of flows that have a queued delivery with `since` < due <= `now`."""
        return [flow for (flow,) in self._rows("flows_due", (since, now, limit))]

    def next_due(self, now: float) -> float:
        """The earliest due time after `now` of any queued, routed delivery; 0 when there is none."""
        return self._rows("next_due", (now,))[0][0] or 0.0

    def backlog(self) -> list[FlowCount]:
        """Backlog of every flow that has any."""
        leased = {flow: (number, oldest) for flow, number, oldest in self._rows("backlog.leased")}
        found = []
        for flow, number, oldest, due in self._rows("backlog.queued"):
            also, older = leased.pop(flow, (0, oldest))
            found.append(FlowCount(flow, number, also, given_at(min(oldest, older)), due))
        return found + [FlowCount(flow, 0, number, given_at(oldest), 0.0) for flow, (number, oldest) in leased.items()]

    def events(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Outbox rows after a position."""
        return self._rows("outbox.page", (after, min(limit, PAGE)))

    def notices(self, now: float, limit: int) -> list[Pending]:
        """Notices that are due, of at most `limit` messages, earliest first; with each, all others of its message and action."""
        pending = []
        for message, action in dict.fromkeys(self._rows("notice.due", (now, min(limit, PAGE)))):
            facts = self._rows("message.facts", (message,))
            rows = self._rows("notice.page", (message, action, PAGE))
            pending.append(pending_from(message, action, rows, facts[0][0] if facts else None))
        return pending

    def excerpt(self, message: int, limit: int) -> bytes | None:
        """The first `limit` bytes the application sent, or None when the message is gone."""
        found: bytes | None = None
        if self._rows("body.there", (message,)):
            with (
                translated("read an excerpt"),
                self.connection.blob_open("main", "body", "content", message, False) as content,  # substr() would read all of it
            ):
                found = content.read(limit)
        return found

    def note(self, key: str) -> bytes | None:
        """The value of a note."""
        found = self._rows("note.get", (key,))
        return found[0][0] if found else None

    def sent(self, delivery: int) -> LedgerEntry | None:
        """The ledger row of a delivery that ended within the return window: looked for in each day, the newest first."""
        for (day,) in reversed(self._rows("sent.days")):
            for identity, recipient, account, stream, campaign, message_id, state, at in self._rows("sent.find", (delivery,), day):
                return LedgerEntry(identity, recipient, account, stream, campaign, message_id, State(state), at)
        return None

    def close(self) -> None:
        """End."""
        self.connection.close()

    def _rows(self, name: str, bindings: Sequence[Any] = (), day: int | None = None) -> list[Any]:
        with translated(name):
            return self.connection.execute(statement(name, day=day), bindings).fetchall()

    def _page(self, text: str, bindings: Sequence[Any]) -> list[Queued]:
        with translated("read a page"):
            return queued_from(self.connection.execute(text, bindings).fetchall(), self.damaged)
