"""Free space of the spool's disk."""

from pathlib import Path

from gateway.core.space import Space


class Disk:
    """A folder, the least that is configured, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.minimum, self.now = 0, 100.0
        self.told: list[tuple[str, str | None]] = []
        self.space = Space(folder, lambda: self.minimum, lambda name, why: self.told.append((name, why)), lambda: self.now)


def test_too_little_space_is_told_and_forgotten_when_there_is_more(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.space.left()
    disk.minimum = 1 << 60
    assert disk.space.left(), "one look a second"
    disk.now += 2.0
    assert not disk.space.left()
    disk.minimum = 0
    assert disk.space.look()
    assert disk.space.left()
    assert disk.told == [("disk", None), ("disk", "less free space than spool.minimum_free"), ("disk", None)]


def test_a_folder_that_is_gone_counts_as_full(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "nowhere")
    assert not disk.space.left()
    assert not disk.space.look()
