"""Opening the spool's file, and the one place where errors of apsw become those of the port.

`page_size` and `auto_vacuum` can only be set while the file is empty, so creation is here. Readers and the checkpointer open the same
file by connections of their own; only the writer's connection changes it. Not for network file systems (WAL needs shared memory).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from gateway.spool.port import SpoolBroken, SpoolError, SpoolFull, SpoolRefused, SpoolUnusable
from gateway.spool.queries import schema

FILE = "spool.sqlite"
PAGE_SIZE = 8192
"""Bytes; decided by bench/spool (docs/decisions, 0008)."""

VERSION = 2
"""Of the schema, kept as user_version."""

APPLICATION = 0x4D575350
"""application_id of the file: "MWSP"."""

BUSY_MILLISECONDS = 5000
"""How long a connection waits for another one; they are all ours."""

CHECKPOINT_MILLISECONDS = 200
"""How long a checkpoint waits for readers while the writer pauses."""

STATEMENTS_CACHED = 600


def open_writer(folder: Path, cache: int, vfs: str | None = None) -> apsw.Connection:
    """The connection that writes; the file is made when it is not there. `cache` in bytes. Raises SpoolError when it is not our spool."""
    path = folder / FILE
    new = not path.exists()
    if new:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _open(path, vfs, apsw.SQLITE_OPEN_READWRITE)
    if connection.pragma("user_version") == 0 and not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        connection.pragma("page_size", PAGE_SIZE)
        connection.pragma("auto_vacuum", "INCREMENTAL")
    if connection.pragma("journal_mode", "WAL") != "wal":
        raise SpoolError(f"{path} does not take write-ahead logging")
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", 0)  # a second connection does it: checkpoint.py
    connection.pragma("cache_size", -(cache // 1024))
    connection.pragma("temp_store", "MEMORY")
    _make(connection, path)
    if new:
        _sync_folder(folder)
    return connection


def open_reader(folder: Path, cache: int = 4_000_000, vfs: str | None = None) -> apsw.Connection:
    """A connection that only reads. The file must be there."""
    connection = _open(folder / FILE, vfs, apsw.SQLITE_OPEN_READONLY)
    connection.pragma("cache_size", -(cache // 1024))
    return connection


def open_checkpointer(folder: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection that copies the write-ahead log into the file and never writes by itself."""
    connection = _open(folder / FILE, vfs, apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(CHECKPOINT_MILLISECONDS)
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", 0)
    return connection


def _open(path: Path, vfs: str | None, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    return connection


def _make(connection: apsw.Connection, path: Path) -> None:
    version = connection.pragma("user_version")
    if version == VERSION and connection.pragma("application_id") == APPLICATION:
        return
    if version or connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise SpoolUnusable(f"{path} is not a spool of this version (found {version}, wanted {VERSION})")
    with connection:
        connection.execute(schema())
        connection.pragma("application_id", APPLICATION)
        connection.pragma("user_version", VERSION)


def _sync_folder(folder: Path) -> None:
    """A file that was made is there after a power cut only when its folder was synced too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of apsw as those of the port. What is not a full disk or a contradiction counts as broken."""
    try:
        yield
    except apsw.FullError as error:
        raise SpoolFull(f"{doing}: {error}") from error
    except apsw.ConstraintError as error:
        raise SpoolRefused(f"{doing}: {error}") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise SpoolUnusable(f"{doing}: {FILE} is damaged or no spool ({error}); restore it, or move it away with the mail in it") from error
    except apsw.Error as error:
        raise SpoolBroken(f"{doing}: {type(error).__name__}: {error}") from error
