"""Housekeeping in slices, for moments without other work: old days of the sent ledger and of idempotency keys go, free pages are given
back, a copy is made.

A slice is one short transaction, so mail never waits long behind it, and a crash between slices loses nothing.
"""

from pathlib import Path

import apsw

from gateway.spool.queries import statement
from gateway.spool.recover import keyed_days, ledger_days

LEDGER_SLICE = 5000
PAGES_SLICE = 500
PAGES_KEPT = 4000
"""Free pages that stay for what comes next."""


def slice_of_work(connection: apsw.Connection, first_day_kept: int) -> bool:
    """Do one slice. Whether there is more to do."""
    for ledger, days in (("sent", ledger_days(connection)), ("keyed", keyed_days(connection))):
        if days and days[0] < first_day_kept:
            _trim_day(connection, ledger, days[0])
            return True
    free = int(connection.pragma("freelist_count"))
    if free <= PAGES_KEPT:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({min(PAGES_SLICE, free - PAGES_KEPT)})").fetchall()
    return free - PAGES_SLICE > PAGES_KEPT


def _trim_day(connection: apsw.Connection, ledger: str, day: int) -> None:
    """A day goes: its rows in slices, then the table, so that no transaction is long."""
    with connection:
        connection.execute(statement(f"{ledger}.trim", day=day), (LEDGER_SLICE,))
        if connection.changes() < LEDGER_SLICE:
            connection.execute(statement(f"{ledger}.drop", day=day))


def copy_to(source: apsw.Connection, target: Path) -> None:
    """A consistent copy of the file behind `source`, in one step: a write between two steps would start it anew."""
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
    finally:
        copy.close()
