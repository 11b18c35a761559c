"""Event files are rotated each day and go when they are old; what is said of a person is taken out of all of them."""

import os

import pytest

from gateway.core.outbox import DAY, EventFile
from mail.event import Event, EventKind, seal, unseal

NOW = 1_800_000_000.0


@pytest.fixture
def file(tmp_path):
    return EventFile(tmp_path / "events.ndjson", 1_000_000, 5)


def line(number: int, recipient: str = "jane@example.org", at: float = NOW, **more) -> bytes:
    return seal(Event(f"d{number}.1", EventKind.DELIVERED, at, recipient, **more))


def written(file: EventFile, *lines: bytes, at: float = NOW) -> None:
    """As if it was written at a time."""
    file.append(list(lines))
    os.utime(file.files()[-1], (at, at))


def ids(file: EventFile) -> list[str]:
    return [unseal(one).id for path in file.files() if path.exists() for one in path.read_bytes().splitlines()]


def test_a_file_is_rotated_after_a_day(file, tmp_path):
    written(file, line(1))
    file.retain(NOW + DAY - 1, 30 * DAY)
    assert not (tmp_path / "events.ndjson.1").exists()
    file.retain(NOW + DAY + 1, 30 * DAY)
    assert (tmp_path / "events.ndjson.1").exists()
    written(file, line(2, at=NOW + DAY + 2))
    assert ids(file) == ["d1.1", "d2.1"]


def test_files_go_when_their_last_event_is_old(file):
    written(file, line(1))
    file.retain(NOW + 2 * DAY, 30 * DAY)
    written(file, line(2, at=NOW + 2 * DAY), at=NOW + 2 * DAY)
    assert file.retain(NOW + 30 * DAY - 1, 30 * DAY) == 0
    assert file.retain(NOW + 30 * DAY + 1, 30 * DAY) == 1
    assert ids(file) == ["d2.1"]


def test_a_person_is_taken_out_of_every_file_and_the_facts_stay(file, tmp_path):
    written(file, line(1, "Jane@Example.org", diagnostic="said jane@example.org"), line(2, "john@example.org"))
    file.retain(NOW + 2 * DAY, 30 * DAY)
    file.append([line(3), line(4, "john@example.org", diagnostic="moved: try JANE@example.org")])
    before = os.stat(tmp_path / "events.ndjson.1").st_mtime
    assert file.erase("jane@example.org") == (2, 3)
    found = [unseal(one) for path in file.files() for one in path.read_bytes().splitlines()]
    assert [(event.id, event.recipient, event.diagnostic) for event in found] == [
        ("d1.1", "", ""),
        ("d2.1", "john@example.org", ""),
        ("d3.1", "", ""),
        ("d4.1", "", ""),
    ]
    assert os.stat(tmp_path / "events.ndjson.1").st_mtime == before
    assert file.erase("jane@example.org") == (0, 0)
    file.append([line(5)])
    assert file.last_ids(10) >= {"d1.1", "d5.1"}


def test_what_is_no_event_and_names_the_person_goes(file, tmp_path):
    (tmp_path / "events.ndjson").write_bytes(b"{jane@example.org\n" + line(2, "john@example.org") + b"\n")
    assert file.erase("jane@example.org") == (1, 1)
    assert (tmp_path / "events.ndjson").read_bytes() == b"\n" + line(2, "john@example.org") + b"\n"
