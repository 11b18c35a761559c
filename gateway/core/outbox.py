"""The outbox and its first reader: events go from the spool to a rotating NDJSON file and to the suppression view on disk, in commit order.

At least once with stable ids: the position reached is kept in the spool as a note, the file is synced before the position moves, and
after a crash the lines already in the file behind the position are recognised and not written again. Other readers (`add`) have a position
of their own, and say when it is on disk (`reached`); an outbox row goes when every reader has passed it.

Bad days: a file that cannot be written keeps its last whole line and leaves the events in the outbox; the trouble is told once, tried again
with growing pauses, and nothing else waits for it.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from io import FileIO
from pathlib import Path

from config.settings import Events
from gateway.core.committer import Committer
from gateway.core.personal import erase
from gateway.spool.port import Note, Spool, SpoolError
from mail.event import unseal

DAY = 86_400.0
PAGE = 1000
POSITION = "outbox.ndjson"
LONG_LINE = 1024
"""Octets of a long event; most have half of that."""
PAUSE = 0.2
"""Seconds between looks while there is work: a few large writes rather than many small ones."""
LONGEST_PAUSE = 60.0


class EventFile:
    """Appends lines, rotates by size. Blocking; called from a thread."""

    def __init__(self, path: Path, rotate_size: int, keep: int) -> None:
        self._path, self._rotate_size, self._keep = path, rotate_size, keep
        self._lock = threading.Lock()

    def append(self, lines: list[bytes]) -> None:
        """Add the lines that the file does not end with already, durably: all of them or, with OSError, none."""
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            with self._path.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    _write(file, b"\n".join(lines) + b"\n")
                except OSError:
                    file.truncate(size)  # a full disk takes a part: the next line must not stand behind half a one
                    raise
                size = file.tell()
            if size >= self._rotate_size:
                self._rotate()

    def erase(self, address: str) -> tuple[int, int]:
        """Rewrite what names the person: files, lines. New events wait meanwhile; they are in the spool."""
        with self._lock:
            changed = [count for path in self.files() if path.exists() and (count := erase(path, address))]
        return len(changed), sum(changed)

    def retain(self, now: float, seconds: float) -> int:
        """Rotate a file that began more than a day ago, and delete those that ended before `seconds` ago; how many."""
        with self._lock:
            began = _began(self._path)
            if began and began < now - DAY:
                self._rotate()
            old = [path for path in self.files() if path != self._path and path.exists() and path.stat().st_mtime < now - seconds]
            for path in old:
                path.unlink()
        return len(old)

    def last_ids(self, count: int) -> set[str]:
        """Ids of the last lines, to recognise what a crash left behind the position: of the newest rotated file too, since a rotation may
        have come between. A line cut by a crash is completed by a newline."""
        ids: set[str] = set()
        for path in (self._path, self._numbered(1)):
            if path.exists():
                ids |= _last_ids(path, count)
        return ids

    def files(self) -> list[Path]:
        """What there is of it, the oldest first."""
        rotated = [self._numbered(number) for number in range(self._keep, 0, -1)]
        return [path for path in (*rotated, self._path) if path.exists()]

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.rename(self._numbered(number + 1))
        self._path.rename(self._numbered(1))
        beyond = self._numbered(self._keep + 1)
        beyond.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _write(file: FileIO, data: bytes) -> None:
    """All of it, to the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _began(path: Path) -> float:
    """When the first event in a file was, 0 when there is none."""
    if not path.exists():
        return 0.0
    with path.open("rb") as file:
        try:
            return unseal(file.readline(1_000_000)).at
        except ValueError:
            return 0.0


def _last_ids(path: Path, count: int) -> set[str]:
    """Ids in the last `count` lines, or a few more."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - count * LONG_LINE))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.write(b"\n")
    ids: set[str] = set()
    for line in tail.split(b"\n"):
        try:
            ids.add(unseal(line).id)
        except ValueError:
            continue
    return ids


class Outbox:
    """Moves events from the spool to the file."""

    def __init__(
        self,
        spool: Spool,
        committer: Committer,
        settings: Events,
        folder: Path,
        on_trouble: Callable[[str | None], None],
        on_published: Callable[[int], None],
        catch_up: Callable[[list[tuple[int, bytes]]], None],
    ) -> None:
        self._spool = spool
        self._committer = committer
        self._on_trouble = on_trouble
        self._on_published = on_published
        self._catch_up = catch_up
        self._file = None if settings.file is None else EventFile(folder / settings.file, settings.rotate_size, settings.rotate_keep)
        self._position = int(spool.note(POSITION) or b"0")
        self._readers: dict[str, int] = {}
        self._moved = 0
        self.on_close: Callable[[], Awaitable[None]] | None = None
        """Ends the other readers; called when the last event is on disk."""
        self._seen: set[str] = set() if self._file is None else self._file.last_ids(2 * PAGE)
        self.unwanted: frozenset[str] = frozenset()
        """Accounts whose events stay out of the file: they are told by reports alone. Every other reader gets them."""
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._caught_up = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Events on disk that are not in the file yet."""
        return max(0, self._committer.position - self._position)

    @property
    def runs(self) -> bool:
        """Whether events are being written out at all."""
        return self._task is not None and not self._task.done()

    @property
    def newest(self) -> int:
        """Position of the newest event on disk."""
        return self._committer.position

    def files(self) -> list[Path]:
        """The event file and what was rotated away, the oldest first."""
        return [] if self._file is None else self._file.files()

    async def erase(self, address: str) -> tuple[int, int]:
        """Take a person out of the event files: files and lines that changed. Raises OSError."""
        if self._file is None:
            return 0, 0
        return await asyncio.get_running_loop().run_in_executor(None, self._file.erase, address)

    def retain(self, now: float, seconds: float) -> int:
        """Event files are kept for so long: how many went. In a thread. Raises OSError."""
        return 0 if self._file is None else self._file.retain(now, seconds)

    def broken(self) -> bool:
        """Whether storage is broken: then nothing is read or written any more."""
        return self._committer.broken is not None

    def add(self, reader: str, position: int) -> None:
        """Keep what is behind `position` for this reader. Before `start`."""
        self._readers[reader] = position

    def page(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Events after a position, `limit` at most; the disk is not asked when there are none."""
        return self._spool.events(after, limit) if after < self._committer.position else []

    def reached(self, reader: str, position: int) -> None:
        """This reader has everything up to `position`, and has written down so, or does so in the same commit."""
        moved = max(self._readers[reader], position) - self._readers[reader]
        self._readers[reader] += moved
        self._trim()
        self._moved += moved
        if self._moved >= PAGE and not self.broken():
            # Many at once: rows that nobody needs any more go with a commit, and on a quiet gateway none comes by itself.
            self._moved = 0
            self._committer.flush().add_done_callback(lambda flush: flush.cancelled() or flush.exception())

    def note(self, reader: str) -> int:
        """Where a reader was that keeps its position here."""
        return int(self._spool.note(f"outbox.{reader}") or b"0")

    def noted(self, reader: str, position: int) -> None:
        """`reached`, for a reader that keeps its position here."""
        self._committer.note(Note(f"outbox.{reader}", b"%d" % position))
        self.reached(reader, position)

    def _trim(self) -> None:
        self._committer.published(min(self._position, *self._readers.values()) if self._readers else self._position)

    def start(self) -> None:
        """Begin to publish."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="outbox")

    async def caught_up(self) -> None:
        """Returns when everything an earlier run left was published, or cannot be for now: only then may a door open."""
        await self._caught_up.wait()

    async def close(self) -> None:
        """Publish what is on disk, then end."""
        if self._task is not None:
            self._stop.set()
            await self._task
        if self.on_close is not None:
            await self.on_close()

    async def _run(self) -> None:
        pause = PAUSE
        while True:
            stopping = self._stop.is_set()
            try:
                moved = await self._publish_page()
                pause = PAUSE
                self._on_trouble(None)
            except (OSError, SpoolError) as error:
                self._on_trouble(f"events file: {getattr(error, 'strerror', None) or error}")
                moved, pause = 0, min(pause * 2, LONGEST_PAUSE)
            if moved == PAGE:
                continue
            self._caught_up.set()
            if stopping:
                return
            try:
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _publish_page(self) -> int:
        """One page to the file; how many rows it had."""
        if self._committer.position == self._position:
            return 0
        page = self._spool.events(self._position, PAGE)
        if not page:
            return 0
        lines = self._unwritten(page)
        await asyncio.get_running_loop().run_in_executor(None, self._carry, page, lines)
        self._on_published(len(lines))
        self._position = page[-1][0]
        self._committer.note(Note(POSITION, b"%d" % self._position))
        self._trim()
        if len(page) == PAGE:
            # Many at once: the position goes to disk with them, so that a crash finds behind it no more than the file's end can tell.
            await self._committer.flush()
        return len(page)

    def _carry(self, page: list[tuple[int, bytes]], lines: list[bytes]) -> None:
        """In a thread: to the file, and to the view on disk. Both are durable when this returns, and both may be done twice."""
        self._catch_up(page)
        if self._file is not None:
            self._file.append(lines)

    def _unwritten(self, page: list[tuple[int, bytes]]) -> list[bytes]:
        if not self._seen:
            return self._wanted([line for _, line in page])
        lines = [line for _, line in page if unseal(line).id not in self._seen]
        if len(lines) == len(page):
            self._seen.clear()  # past what a crash may have left
        return self._wanted(lines)

    def _wanted(self, lines: list[bytes]) -> list[bytes]:
        return [line for line in lines if unseal(line).account not in self.unwanted] if self.unwanted else lines
