"""Lookups in a list, timed one by one: as a gateway does them, beside whatever else runs."""

import random
import time
from collections.abc import Callable
from typing import Any

from bench.suppression.material import address
from contacts.store import SuppressionStore
from mail.address import Address, address_of

PAUSE = 0.002
"""Seconds between two lookups beside other work: 500 a second."""


class Lookups:
    """Times of lookups in `store`, half of them of addresses that are (or will be) in the list."""

    def __init__(self, store: SuppressionStore, entries: int) -> None:
        chance = random.Random(2)
        numbers = [chance.randrange(2 * entries) for _ in range(50_000)]
        self._addresses = [found for number in numbers if (found := address_of(address(number))) is not None]
        self._store = store
        self._next = 0
        self.times: list[float] = []

    def one(self) -> None:
        """One lookup."""
        recipient: Address = self._addresses[self._next % len(self._addresses)]
        self._next += 1
        begun = time.perf_counter()
        self._store.reason("shop", "news", recipient)
        self.times.append(time.perf_counter() - begun)

    def while_(self, running: Callable[[], bool], look: Callable[[], None]) -> dict[str, Any]:
        """Look up as long as `running`, and call `look` now and then."""
        self.times.clear()
        while running():
            self.one()
            if len(self.times) % 100 == 0:
                look()
            time.sleep(PAUSE)
        return self.summary()

    def many(self, count: int) -> dict[str, Any]:
        """One after the other."""
        self.times.clear()
        for _ in range(count):
            self.one()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Microseconds."""
        times = sorted(self.times) or [0.0]
        at = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "max": times[-1], "mean": sum(times) / len(times)}
        return {"lookups": len(self.times), **{name: round(value * 1e6, 1) for name, value in at.items()}}
