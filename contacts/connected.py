"""One connection to the contact database: made when it is needed, made anew after trouble, and only used on a schema of our version.

Every way in which the database can fail (away, restarted, cut in the middle, slow, an error of SQL) is a StoreError, and gives the
connection up, because nobody knows what it was about to say. A schema that is older or newer than this program is one too, and says what
to do: nothing is written into a schema that we do not know. The address of the database, which holds a password, is in no message.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from contacts.migration import NEWEST, applied
from contacts.trouble import ContentError, StoreError

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 60.0
"""Seconds for a connection, and for one statement."""
CHANNEL = "mailwright_suppression"


class Connected:
    """Use from one task."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._told = asyncio.Event()
        self._listens = False

    @contextlib.asynccontextmanager
    async def answering(self, *, checked: bool = True) -> AsyncIterator[Any]:
        """The connection. With `checked`, only where the schema is ours. Raises StoreError."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._dsn, timeout=CONNECT_WITHIN, command_timeout=ANSWER_WITHIN)
                if checked:
                    _check(await applied(self._connection))
                await self._begin_to_listen()
            yield self._connection
        except TROUBLE as error:
            await self.close()
            said = f"contact database: {_without(self._dsn, _said(error))}"
            state = getattr(error, "sqlstate", None) or ""
            raise (ContentError(said, state) if state[:2] in _CONTENT else StoreError(said)) from error
        except BaseException:
            await self.close()  # cancelled in the middle, or a schema that is not ours
            raise

    def listen(self) -> None:
        """From the next connection on, hear of changes in the suppression table."""
        self._listens = True

    async def changed(self, within: float) -> None:
        """Returns when a change was told, or after `within` seconds: the table is looked at anyway, since not every connection is told
        (a pooler between) and a dead one says nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._told.wait()
        self._told.clear()

    def lost(self) -> None:
        """The connection is gone, and with it what was known of the database."""

    async def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        self.lost()
        if connection is not None:
            connection.terminate()

    async def _begin_to_listen(self) -> None:
        if self._listens:
            with contextlib.suppress(asyncpg.PostgresError):
                await self._connection.add_listener(CHANNEL, lambda *_: self._told.set())


TROUBLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a connection breaks between two of its steps
    OSError,
    TimeoutError,
    ValueError,
)


_CONTENT = frozenset({"22", "23", "P0", "44"})
"""Classes of SQLSTATE that speak of the rows: data, constraints, RAISE in a function or trigger, a view's check."""


def _check(known: list[int]) -> None:
    """Raises StoreError unless the schema is that of this program."""
    newest = max(known, default=0)
    if newest < NEWEST:
        has = f"schema version {newest}" if newest else "no schema mailwright"
        raise StoreError(f"contact database: it has {has}, this program needs {NEWEST}: run `mailwright db migrate`")
    if newest > NEWEST:
        raise StoreError(
            f"contact database: it has schema version {newest}, this program knows {NEWEST}: install the newer Mailwright here"
        )


def _said(error: Exception) -> str:
    """What went wrong, for people."""
    match error:
        case asyncpg.PostgresError():
            return str(error)
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return f"cannot be reached: {error.strerror or error}"
        case _:
            return f"{type(error).__name__}: {error}"


def _without(secret: str, text: str) -> str:
    """`text` without the address of the database, which may hold a password."""
    return text.replace(secret, "…")[:500]
