"""How `contacts.db` is opened, and how SQLite's errors become StoreError. Nothing here knows what the tables are for.

A connection that writes makes its commits durable (synchronous=FULL: an fsync of the log each), one that reads cannot write at all. A file
that is not ours, is newer than this program, or was made with another key file is refused and left as it is.
"""

import contextlib
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import apsw

from contacts.trouble import StoreError

APPLICATION = 0x4D574343
"""PRAGMA application_id of the file."""
VERSION = 2
UPGRADES = {1: "schema_2.sql"}
"""From a version to the next: what is executed."""
CACHE = 32_000
"""Page cache of each connection, KiB."""
BUSY = 10_000
"""Milliseconds to wait for another process's lock."""


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of SQLite as StoreError: `doing` is a verb."""
    try:
        yield
    except apsw.Error as error:
        raise StoreError(f"cannot {doing} contacts.db: {error}") from error


def opened(path: Path, vfs: str | None = None, *, reads_only: bool = False, check: bytes = b"") -> apsw.Connection:
    """A connection to the file at `path`, which is made where it is missing unless `reads_only`. `check` belongs to the key file."""
    flags = apsw.SQLITE_OPEN_READWRITE if reads_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with translated("open"):
        if not reads_only and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
        try:
            connection.set_busy_timeout(BUSY)
            connection.execute(f"PRAGMA cache_size = -{CACHE}")
            if reads_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                _prepare(connection, check)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: apsw.Connection, check: bytes) -> None:
    (application, version) = (connection.pragma("application_id"), connection.pragma("user_version"))
    if (application, version) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        connection.execute("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL")
        with connection:
            for name in ("schema.sql", *UPGRADES.values()):
                connection.execute((files("contacts") / name).read_text(encoding="utf-8"))
            connection.execute("INSERT INTO note VALUES ('key_check', ?)", (check,))
            connection.execute(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}")
    elif application != APPLICATION:
        raise StoreError("contacts.db is not a contact store")
    elif not 0 < version <= VERSION:
        raise StoreError(f"contacts.db has version {version}, this program reads {VERSION}")
    for before in range(version, VERSION) if application == APPLICATION else ():
        with transaction(connection):
            connection.execute((files("contacts") / UPGRADES[before]).read_text(encoding="utf-8"))
            connection.execute(f"PRAGMA user_version = {before + 1}")
    connection.execute(
        "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 64000000; PRAGMA temp_store = FILE"
    )
    found = connection.execute("SELECT value FROM note WHERE name = 'key_check'").fetchall()
    if found != [(check,)]:
        raise StoreError("contacts.key is not the key file that contacts.db was made with")


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """One durable transaction: all of it or nothing, and an error is a StoreError."""
    with translated("write"):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
