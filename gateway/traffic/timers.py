"""Times at which something named is to be looked at again: a heap in which a name has at most one time.

Promises: `earliest` is exact, never the time of a name that was cancelled or moved; memory is in proportion to the names that have a time,
because a heap with too many dead entries is built anew. It reads no clock and calls nobody.
"""

import heapq
import math

Name = tuple[str | int, ...]


class Timers:
    """Names with times."""

    __slots__ = ("_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[Name, float] = {}
        self._heap: list[tuple[float, int, Name]] = []

    def __len__(self) -> int:
        return len(self._times)

    def put(self, name: Name, when: float) -> None:
        """Look at `name` at `when`, instead of at any earlier given time."""
        if self._times.get(name) == when:
            return
        self._times[name] = when
        heapq.heappush(self._heap, (when, id(name), name))
        if len(self._heap) > 2 * len(self._times) + 64:
            self._heap = [(time, id(known), known) for known, time in self._times.items()]
            heapq.heapify(self._heap)

    def put_earlier(self, name: Name, when: float) -> None:
        """As `put`, unless an earlier time is set already."""
        if when < self._times.get(name, math.inf):
            self.put(name, when)

    def cancel(self, name: Name) -> None:
        """Forget the time of `name`, if it has one."""
        self._times.pop(name, None)

    def earliest(self) -> float:
        """The earliest time of all names; infinity when there is none."""
        heap = self._heap
        while heap:
            when, _, name = heap[0]
            if self._times.get(name) == when:
                return when
            heapq.heappop(heap)
        return math.inf

    def due(self, now: float) -> list[Name]:
        """Names whose time has come, earliest first; they have no time any more."""
        names: list[Name] = []
        while self.earliest() <= now:
            name = heapq.heappop(self._heap)[2]
            del self._times[name]
            names.append(name)
        return names
