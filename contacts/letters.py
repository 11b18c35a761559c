"""`webhooks.db` in the data folder: what was sent to each webhook endpoint and is not known to have arrived, and what was given up.

A request (a *letter*) is written down with its id and its body before it is first sent, so every repetition, after a crash too, is the same
request under the same id. Each endpoint has at most one under way, which keeps the order of its events; the rest of them stay in the event
log, whose owner asks `positions`. Commits are durable (fsync). Blocking: one thread uses it. Raises StoreError; nothing is half done.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import msgspec

from contacts.trouble import StoreError

FILE = "webhooks.db"
APPLICATION = 0x4D575748
"""PRAGMA application_id of the file."""
VERSION = 1
MOST_LISTED = 1000
UNDER_WAY, DEAD, AGAIN = range(3)

_NAMES = "instr(lower(CAST(body AS TEXT)), ?) > 0"
_COLUMNS = "id, endpoint, until, events, born, tries, refused, died, why, state"


class Letter(msgspec.Struct, frozen=True):
    """One request. `born` is the time of its oldest event, `died` when it was given up (0: not), `refused` how often its content was."""

    id: str
    endpoint: str
    until: int
    events: int
    born: float
    tries: int = 0
    refused: int = 0
    died: float = 0.0
    why: str = ""
    state: int = UNDER_WAY
    body: bytes = b""


class Letters:
    """The file."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = apsw.Connection(str(folder / FILE))
            self._file.set_busy_timeout(10_000)
            self._prepare()
        except apsw.Error as error:
            raise StoreError(f"{FILE}: {error}") from error

    def _prepare(self) -> None:
        found = (self._file.pragma("application_id"), self._file.pragma("user_version"))
        if found == (0, 0) and not self._file.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
            self._file.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL")
            with self._file:
                self._file.execute((files("contacts") / "webhooks.sql").read_text(encoding="utf-8"))
                self._file.execute(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}")
        elif found != (APPLICATION, VERSION):
            raise StoreError(f"{FILE} is not of this version of Mailwright; it was left as it is")
        self._file.execute("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 64000000")

    def positions(self) -> dict[str, int]:
        """How far each endpoint has come."""
        return dict(self._rows("SELECT name, position FROM endpoint"))

    def begin(self, endpoint: str, position: int) -> None:
        """An endpoint that is new begins at `position`."""
        self._change(("INSERT INTO endpoint (name, position) VALUES (?, ?) ON CONFLICT DO NOTHING", (endpoint, position)))

    def moved(self, endpoint: str, position: int) -> None:
        """Nothing up to `position` is for it."""
        self._change(("UPDATE endpoint SET position = max(position, ?) WHERE name = ?", (position, endpoint)))

    def under_way(self, endpoint: str) -> Letter | None:
        """What was sent last and is not settled."""
        return self._one("WHERE endpoint = ? AND state = 0", endpoint)

    def write(self, letter: Letter) -> None:
        """Before it is sent for the first time."""
        self._change(
            (
                "INSERT INTO letter (id, endpoint, state, until, events, born, died, why, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (letter.id, letter.endpoint, letter.state, letter.until, letter.events, letter.born, letter.died, letter.why, letter.body),
            ),
            *([self._passed(letter)] if letter.state == DEAD else []),
        )

    def taken(self, letter: Letter) -> None:
        """The endpoint has it."""
        self._change(("DELETE FROM letter WHERE id = ?", (letter.id,)), self._passed(letter))

    def failed(self, letter: Letter, why: str, *, refused: bool = False) -> None:
        """One try more."""
        self._change(
            ("UPDATE letter SET tries = tries + 1, refused = refused + ?, why = ? WHERE id = ?", (int(refused), why[:500], letter.id))
        )

    def dropped(self, letter: Letter) -> None:
        """It is made anew, smaller."""
        self._change(("DELETE FROM letter WHERE id = ?", (letter.id,)))

    def died(self, letter: Letter, why: str, now: float) -> None:
        """It is given up, and kept; its endpoint goes on."""
        self._change(
            ("UPDATE letter SET state = 1, died = ?, tries = tries + 1, why = ? WHERE id = ?", (now, why[:500], letter.id)),
            self._passed(letter),
        )

    @staticmethod
    def _passed(letter: Letter) -> tuple[str, tuple[Any, ...]]:
        return "UPDATE endpoint SET position = max(position, ?) WHERE name = ?", (letter.until, letter.endpoint)

    # Dead letters.

    def again(self, endpoint: str) -> Letter | None:
        """A dead letter that somebody wants sent again, the oldest first."""
        return self._one("WHERE endpoint = ? AND state = 2 ORDER BY number LIMIT 1", endpoint)

    def dead(self, endpoint: str = "", after: str = "", limit: int = 100) -> list[Letter]:
        """Dead letters without their bodies, the oldest first; of one endpoint, or of all; behind the letter `after`."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM letter WHERE state > 0 AND (?1 = '' OR endpoint = ?1)"
            " AND number > coalesce((SELECT number FROM letter WHERE id = ?2), 0) ORDER BY number LIMIT ?3",
            (endpoint, after, min(limit, MOST_LISTED)),
        )
        return [Letter(*row) for row in rows]

    def dead_letter(self, identity: str) -> Letter | None:
        """One, with its body."""
        return self._one("WHERE id = ? AND state > 0", identity)

    def counts(self) -> dict[str, int]:
        """Dead letters by endpoint."""
        return dict(self._rows("SELECT endpoint, count(*) FROM letter WHERE state > 0 GROUP BY endpoint"))

    def replay(self, endpoint: str, identity: str = "") -> int:
        """Ask for one dead letter of an endpoint, or for all of them, to be sent again; how many."""
        return self._change(
            ("UPDATE letter SET state = 2 WHERE state = 1 AND endpoint = ?1 AND (?2 = '' OR id = ?2)", (endpoint, identity))
        )

    def about(self, address: str) -> list[Letter]:
        """Letters whose body names the address (in lower case), with their bodies. Reads all of them."""
        return [Letter(*row) for row in self._rows(f"SELECT {_COLUMNS}, body FROM letter WHERE {_NAMES}", (address,))]

    def forget(self, address: str) -> int:
        """Dead letters that name the address go, with what they say of others; how many. One under way is not touched."""
        return self._change((f"DELETE FROM letter WHERE state > 0 AND {_NAMES}", (address,)))

    def forget_before(self, moment: float) -> int:
        """Dead letters that died before `moment` go; how many."""
        return self._change(("DELETE FROM letter WHERE state > 0 AND died < ?", (moment,)))

    def bound_dead(self, endpoint: str, most: int) -> int:
        """Keep the newest dead letters of an endpoint, with `most` events in all; how many events went with the others."""
        sql = (
            "DELETE FROM letter WHERE number IN (SELECT number FROM (SELECT number, sum(events) OVER (ORDER BY number DESC) AS newer"
            " FROM letter WHERE endpoint = ? AND state > 0) WHERE newer > ?) RETURNING events"
        )
        return sum(events for (events,) in self._rows(sql, (endpoint, most)))

    def close(self) -> None:
        """End."""
        self._file.close()

    def _one(self, condition: str, *values: Any) -> Letter | None:
        rows = self._rows(f"SELECT {_COLUMNS}, body FROM letter {condition}", values)
        return Letter(*rows[0]) if rows else None

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._file.execute(sql, values).fetchall()
        except apsw.Error as error:
            raise StoreError(f"cannot read {FILE}: {error}") from error

    def _change(self, *statements: tuple[str, tuple[Any, ...]]) -> int:
        """All of them in one durable transaction; rows that the first one changed."""
        try:
            with self._file:
                counts = []
                for sql, values in statements:
                    self._file.execute(sql, values)
                    counts.append(self._file.changes())
            return counts[0]
        except apsw.Error as error:
            raise StoreError(f"cannot write {FILE}: {error}") from error
