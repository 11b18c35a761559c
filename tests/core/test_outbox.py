"""The events file: every event once, whatever a crash left behind the position, and each counted when it is there."""

import asyncio
import resource
from pathlib import Path

import pytest

from config.settings import Events
from gateway.core.outbox import POSITION, EventFile, Outbox
from mail.event import Event, EventKind, seal


class Disk:
    """A spool with events, and the committer that moves the position and drops what is published."""

    def __init__(self, events: list[bytes], position: int = 0) -> None:
        self._events = list(enumerate(events, start=1))
        self._position = position
        self.position = len(events)
        self.kept_from = 0

    def note(self, note: object) -> bytes | None:
        """Read by name, as the spool; written by value, as the committer."""
        if note == POSITION:
            return b"%d" % self._position
        return None

    def events(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        return [row for row in self._events if row[0] > after][:limit]

    async def flush(self) -> None:
        """Everything is on disk."""

    def published(self, position: int) -> None:
        self.kept_from = position


def _sealed(number: int) -> bytes:
    return seal(Event(id=f"d{number}.1", kind=EventKind.DELIVERED, at=0.0, time="", recipient="a@b.example", node="n"))


def _publish(disk: Disk, folder: Path) -> int:
    counted: list[int] = []

    async def run() -> None:
        outbox = Outbox(disk, disk, Events(), folder, lambda trouble: None, counted.append, lambda rows: None)  # type: ignore[arg-type]
        outbox.start()
        await outbox.close()
        assert outbox.backlog == 0

    asyncio.run(run())
    return sum(counted)


def test_each_event_is_written_once_and_counted(tmp_path: Path) -> None:
    events = [_sealed(number) for number in range(2500)]
    disk = Disk(events)
    assert _publish(disk, tmp_path) == 2500
    assert (tmp_path / Events().file).read_bytes().splitlines() == events  # type: ignore[operator]
    assert disk.kept_from == 2500


def test_lines_that_a_crash_left_behind_the_position_are_not_written_again(tmp_path: Path) -> None:
    events = [_sealed(number) for number in range(10)]
    file = tmp_path / Events().file  # type: ignore[operator]
    file.write_bytes(b"\n".join(events[:6]) + b"\n" + events[6][:20])
    assert _publish(Disk(events, position=3), tmp_path) == 4
    whole = [line for line in file.read_bytes().splitlines() if line.endswith(b"}")]
    assert whole == events


def test_a_disk_that_takes_half_a_line_spoils_no_line(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "events.ndjson", 1_000_000, 3)
    file.append([b'{"first":1}'])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append([b'{"second":2}', b'{"third":3}'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "events.ndjson").read_bytes() == b'{"first":1}\n'
    file.append([b'{"second":2}', b'{"third":3}'])
    assert (tmp_path / "events.ndjson").read_bytes() == b'{"first":1}\n{"second":2}\n{"third":3}\n'


def test_a_rotation_before_the_crash_repeats_nothing_either(tmp_path: Path) -> None:
    events = [_sealed(number) for number in range(10)]
    file = tmp_path / Events().file  # type: ignore[operator]
    file.with_name(file.name + ".1").write_bytes(b"\n".join(events[:6]) + b"\n")
    assert _publish(Disk(events, position=3), tmp_path) == 4
    assert file.read_bytes().splitlines() == events[6:]
    file.write_bytes(b"")
    assert _publish(Disk(events, position=6), tmp_path) == 4, "an empty file says nothing"


def test_an_event_goes_when_every_reader_has_it_and_no_sooner(tmp_path: Path) -> None:
    disk = Disk([_sealed(number) for number in range(100)])

    async def run() -> None:
        outbox = Outbox(disk, disk, Events(), tmp_path, lambda trouble: None, lambda events: None, lambda rows: None)  # type: ignore[arg-type]
        outbox.add("postgres", 40)
        outbox.add("webhook:crm", 10)
        ended = []

        async def end() -> None:
            ended.append(disk.kept_from)

        outbox.on_close = end
        outbox.start()
        await outbox.close()
        assert (disk.kept_from, ended) == (10, [10]), "the file has all, and waits for nobody"
        outbox.reached("webhook:crm", 90)
        assert disk.kept_from == 40
        outbox.reached("postgres", 100)
        assert disk.kept_from == 90
        outbox.reached("postgres", 50)
        assert disk.kept_from == 90, "a reader does not go back"
        assert [position for position, _ in outbox.page(98, 10)] == [99, 100]
        assert outbox.page(100, 10) == []

    asyncio.run(run())
