"""What gathers for the next transaction: values for the spool, and everybody who waits to hear that they are on disk."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.spool.notice import Told
from gateway.spool.port import (
    Acceptance,
    Change,
    Hold,
    Leased,
    LeaseRequest,
    NewFlow,
    Note,
    Release,
    Routed,
    SpoolError,
    Sweep,
    Transaction,
    Written,
)

_T = TypeVar("_T")

Done = Callable[[SpoolError | None], None]


class Accepting:
    """An acceptance, who is told what became of it, and the future of who waits for it (and may have gone away)."""

    __slots__ = ("_done", "_future", "acceptance")

    def __init__(self, acceptance: Acceptance, done: Done, future: asyncio.Future[None]) -> None:
        self.acceptance = acceptance
        self._done: Done | None = done
        self._future = future

    def end(self, error: SpoolError | None) -> None:
        """It is on disk, or not. Only the first word counts."""
        done, self._done = self._done, None
        if done is None:
            return
        done(error)
        if not self._future.done():
            self._future.set_result(None) if error is None else self._future.set_exception(error)


class Gathering:
    """What has been handed in since the last commit began, and who waits for it."""

    def __init__(self) -> None:
        self.flows_removed: list[int] = []
        self.flows: list[NewFlow] = []
        self.changes: list[Change] = []
        self.releases: list[Release] = []
        self.routed: list[Routed] = []
        self.holds: list[Hold] = []
        self.holds_removed: list[int] = []
        self.notes: dict[str, Note] = {}
        self.events: list[bytes] = []
        self.outbox_until = 0
        self.told: list[Told] = []
        self.leases: list[tuple[LeaseRequest, asyncio.Future[Leased]]] = []
        self.sweeps: list[tuple[Sweep, asyncio.Future[list[int]]]] = []
        self.flushes: list[asyncio.Future[None]] = []

    def transaction(self, acceptances: list[Acceptance]) -> Transaction:
        """As the spool takes it."""
        return Transaction(
            flows_removed=self.flows_removed,
            flows=self.flows,
            acceptances=acceptances,
            changes=self.changes,
            releases=self.releases,
            routed=self.routed,
            leases=[request for request, _ in self.leases],
            holds=self.holds,
            holds_removed=self.holds_removed,
            sweeps=[sweep for sweep, _ in self.sweeps],
            notes=list(self.notes.values()),
            events=self.events,
            outbox_until=self.outbox_until,
            told=self.told,
        )

    def give(self, written: Written) -> None:
        """Tell everybody who waits, acceptances apart, that it is on disk."""
        for (_, lease), leased in zip(self.leases, written.leased, strict=True):
            _give(lease, leased)
        for (_, sweep), swept in zip(self.sweeps, written.swept, strict=True):
            _give(sweep, swept)
        for flush in self.flushes:
            _give(flush, None)

    def refuse(self, error: SpoolError) -> None:
        """Tell everybody who waits that it is not."""
        for _, lease in self.leases:
            _refuse(lease, error)
        for _, sweep in self.sweeps:
            _refuse(sweep, error)
        for flush in self.flushes:
            _refuse(flush, error)


def _give(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _refuse(future: asyncio.Future[Any], error: SpoolError) -> None:
    if not future.done():
        future.set_exception(error)
