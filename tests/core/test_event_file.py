"""The events file turns over at its size and keeps so many parts; nothing in it is cut or lost before."""

from pathlib import Path

import pytest

from gateway.core.outbox import EventFile


def _lines(folder: Path) -> list[bytes]:
    """All lines that are kept, oldest first."""
    parts = sorted(folder.glob("events.ndjson.*"), key=lambda part: -int(part.suffix[1:]))
    return [line for part in [*parts, folder / "events.ndjson"] if part.exists() for line in part.read_bytes().splitlines()]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_parts_are_numbered_from_the_newest_and_the_oldest_go(tmp_path: Path, keep: int) -> None:
    file = EventFile(tmp_path / "events.ndjson", rotate_size=100, keep=keep)
    for number in range(100):
        file.append([b'{"number": %03d}' % number])
    parts = {part.name for part in tmp_path.iterdir()}
    assert parts == {"events.ndjson", *(f"events.ndjson.{number}" for number in range(1, keep + 1))}
    kept = _lines(tmp_path)
    assert kept == [b'{"number": %03d}' % number for number in range(100 - len(kept), 100)]
    assert len(kept) >= keep * 6


def test_a_file_that_somebody_took_away_is_begun_anew(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "log" / "events.ndjson", rotate_size=1000, keep=2)
    file.append([b"one"])
    (tmp_path / "log" / "events.ndjson").unlink()
    file.append([b"two"])
    assert (tmp_path / "log" / "events.ndjson").read_bytes() == b"two\n"
