"""The flows of this node: their keys, their numbers, and where a delivery belongs.

A flow's number is given here and written to the spool before any delivery names it. Flows are few beside deliveries (provider x campaign x
account); those that nothing was queued for lately are forgotten, and a gauge shows how many are known.
"""

from collections.abc import Callable, Iterable

import msgspec

from config.sending import Stream
from config.settings import Settings
from gateway.spool.port import FlowKey, NewFlow


class FlowRegistry:
    """Numbers to keys and back. `on_new` writes a new flow and tells the traffic controller."""

    def __init__(self, known: Iterable[NewFlow], on_new: Callable[[NewFlow], None]) -> None:
        self._keys = {flow.number: flow.key for flow in known}
        self._numbers = {key: number for number, key in self._keys.items()}
        self._last = max(self._keys, default=0)
        self._on_new = on_new
        self._used: set[int] = set(self._keys)
        self._used_before: set[int] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> FlowKey:
        """The key of a flow that exists."""
        return self._keys[number]

    def number(self, key: FlowKey) -> int:
        """The number of the flow; a new flow is made known first."""
        number = self._numbers.get(key)
        if number is not None:
            self._used.add(number)
            return number
        self._last += 1
        flow = NewFlow(self._last, key)
        self._keys[flow.number], self._numbers[key] = key, flow.number
        self._used.add(flow.number)
        self._on_new(flow)
        return flow.number

    def forget(self, needed: set[int]) -> list[int]:
        """Forget flows that are not `needed` (they have deliveries) and were not used since the call before the last; which they were.

        Two calls apart, because a delivery that was just given its flow may not be on disk yet when `needed` was counted.
        """
        idle = [number for number in self._keys if number not in needed and number not in self._used and number not in self._used_before]
        for number in idle:
            del self._numbers[self._keys.pop(number)]
        self._used_before, self._used = self._used, set()
        return idle

    def of_route(self, route: str) -> list[int]:
        """Flows that go to this set of hosts."""
        return [number for number, key in self._keys.items() if key.route == route]


def pool_flow(key: FlowKey) -> FlowKey:
    """The flow a delivery returns to when its source binding or exclusion has ended: any source of its pool."""
    return msgspec.structs.replace(key, only="", without=())


class Streams:
    """Streams by name; mail of a stream that is no longer configured is treated as the first one's. Reports have one even where none is
    configured for them."""

    def __init__(self, settings: Settings) -> None:
        self._first = settings.stream[0]
        reports = Stream(name=settings.notices.stream, kind="transactional", pool=self._first.pool)
        self._by_name = {reports.name: reports} | {stream.name: stream for stream in settings.stream}
        self._members = {pool.name: tuple(pool.members) for pool in settings.pool}

    def get(self, name: str) -> Stream:
        """The stream."""
        return self._by_name.get(name, self._first)

    def other_sources(self, key: FlowKey, source: str) -> bool:
        """Whether the flow's pool has a source that is neither excluded nor `source`."""
        return any(member != source and member not in key.without for member in self._members.get(key.pool, ()))
