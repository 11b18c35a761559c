"""Housekeeping in slices, for moments without other work: old days of the sent ledger go, free pages are given back, a copy is made.

A slice is one short transaction, so mail never waits long behind it, and a crash between slices loses nothing.
"""

from pathlib import Path

import apsw

from gateway.spool.queries import statement
from gateway.spool.recover import ledger_days

LEDGER_SLICE = 5000
PAGES_SLICE = 500
PAGES_KEPT = 4000
"""Free pages that stay for what comes next."""


def slice_of_work(connection: apsw.Connection, first_day_kept: int) -> tuple[bool, list[int]]:
    """Do one slice. Whether there is more to do, and the days that still have a ledger."""
    days = ledger_days(connection)
    if days and days[0] < first_day_kept:
        _trim_day(connection, days[0])
        return True, ledger_days(connection)
    free = int(connection.pragma("freelist_count"))
    if free <= PAGES_KEPT:
        return False, days
    connection.execute(f"PRAGMA incremental_vacuum({min(PAGES_SLICE, free - PAGES_KEPT)})").fetchall()
    return free - PAGES_SLICE > PAGES_KEPT, days


def _trim_day(connection: apsw.Connection, day: int) -> None:
    """A day goes: its rows in slices, then the table, so that no transaction is long."""
    with connection:
        connection.execute(statement("sent.trim", day=day), (LEDGER_SLICE,))
        if connection.changes() < LEDGER_SLICE:
            connection.execute(statement("sent.drop", day=day))


def copy_to(source: apsw.Connection, target: Path) -> None:
    """A consistent copy of the file behind `source`, in one step: a write between two steps would start it anew."""
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
    finally:
        copy.close()
