"""Free space on the spool's disk: below the configured least, new mail is refused and the condition `disk` says so.

`also` is another bound that counts as space (the outbox's). `left` is asked for each message and looks at the disk at most once a second;
`look` is for the keeper's round, so that a gateway to which no client comes, because it was not ready, becomes ready again. A folder that
cannot be looked at counts as full.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

WATCHED = 1.0
"""Seconds for which a look at the disk is good."""
ROOM = 32_000_000
"""Free octets at which a spool that found no space is worth another try, whatever least is configured."""


class Space:
    """`minimum` gives the least free octets; `tell` takes a condition's name and why it is broken, or None."""

    def __init__(
        self, folder: Path, minimum: Callable[[], int], tell: Callable[[str, str | None], None], monotonic: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._minimum = minimum
        self._tell = tell
        self._monotonic = monotonic
        self.also: Callable[[], bool] = lambda: True
        self._looked = float("-inf")
        self._left = True

    def left(self) -> bool:
        """Whether there is space for new mail."""
        if self._monotonic() - self._looked > WATCHED:
            self.look()
        return self._left

    def look(self) -> bool:
        """Look now, and tell; whether there is so much space that a full spool may be tried again."""
        self._looked = self._monotonic()
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            free = -1
        enough = free >= self._minimum()
        self._tell("disk", None if enough else "less free space than spool.minimum_free")
        self._left = enough and self.also()
        return enough and free >= ROOM

    def octets(self, wal: int) -> dict[str, float]:
        """Sizes for the gauges: the spool's files, its WAL and the free space of its disk; nothing when the disk does not say."""
        try:
            size = float(sum(file.stat().st_size for file in self._folder.glob("spool.sqlite*")))
            return {"database": size, "wal": float(wal), "free": float(shutil.disk_usage(self._folder).free)}
        except OSError:
            return {}
