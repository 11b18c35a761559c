"""Where the two halves of a write should run, beside a loop that idles and beside one that never does.

Each way writes the same transactions (10 KB bodies, acceptances and the ends of the batch before) for a second or so. The busy loop has a
task that burns Python in slices of half a millisecond and yields. `loop_percent` is what is left to that task, in percent of what it does
alone; -1 where a figure means nothing.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvloop

from bench.spool.material import Material, open_spool
from gateway.spool.port import Transaction
from gateway.spool.queries import statement
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.transaction import Work
from gateway.spool.writer import Writer

SLICE = 0.0005
_Write = Callable[[Any], Awaitable[None]]


def _rows_by_executemany(self: Work, name: str, rows: Sequence[Sequence[Any]], day: int | None = None) -> None:
    """A row at a time, as a driver's executemany does it."""
    if rows:
        self._connection.executemany(statement(name, 1, day), rows)


def _all_in_thread(spool: SqliteSpool, thread: ThreadPoolExecutor) -> _Write:
    async def write(transaction: Transaction) -> None:
        await asyncio.get_running_loop().run_in_executor(thread, spool.write, transaction)

    return write


def _commit_in_thread(spool: SqliteSpool, thread: ThreadPoolExecutor) -> _Write:
    async def write(transaction: Transaction) -> None:
        spool.store.carry_out(transaction)
        await asyncio.get_running_loop().run_in_executor(thread, spool.store.commit)

    return write


def _process(spool: SqliteSpool, thread: ThreadPoolExecutor) -> _Write:
    writer: list[Writer] = []

    async def write(transaction: Transaction | None) -> None:
        if transaction is None:
            await writer[0].close()
            return
        if not writer:
            writer.append(Writer(spool))
        await writer[0].write(transaction)

    return write


def _all_on_loop(spool: SqliteSpool, thread: ThreadPoolExecutor) -> _Write:
    async def write(transaction: Transaction) -> None:
        spool.write(transaction)
        await asyncio.sleep(0)

    return write


WAYS = {
    "rows, in a thread": (_rows_by_executemany, _all_in_thread),
    "sets, in a thread": (Work._rows, _all_in_thread),
    "sets, commit in a thread": (Work._rows, _commit_in_thread),
    "sets, in a process": (Work._rows, _process),
    "sets, on the loop": (Work._rows, _all_on_loop),
}


async def _burn(done: list[int], ends: float) -> None:
    while time.perf_counter() < ends:
        until = time.perf_counter() + SLICE
        work = 0
        while time.perf_counter() < until:
            work += 1
        done[0] += work
        await asyncio.sleep(0)


async def _run(write: _Write, transactions: list[Transaction], seconds: float, busy: bool) -> tuple[int, float, float, float]:
    """Transactions written, seconds, longest write, iterations burnt a second."""
    burnt = [0]
    await write(transactions[0])  # the process starts
    start = time.perf_counter()
    burner = asyncio.create_task(_burn(burnt, start + seconds)) if busy else None
    longest = 0.0
    written = 0
    for transaction in transactions[1:]:
        before = time.perf_counter()
        await write(transaction)
        longest = max(longest, time.perf_counter() - before)
        written += 1
        if time.perf_counter() - start > seconds:
            break
    taken = time.perf_counter() - start
    if burner is not None:
        await burner
    if write.__qualname__.startswith("_process"):
        await write(None)
    return written, taken, longest, burnt[0] / max(taken, seconds)


def _cpu() -> float:
    """CPU seconds of this process and of children that ended."""
    return sum(os.times()[:4])


def measure(name: str, batch: int, seconds: float, busy: bool, alone: float) -> dict[str, float]:
    """One way, one commit size."""
    rows, way = WAYS[name]
    kept = Work._rows
    Work._rows = rows  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
            spool = open_spool(Path(folder))
            steady = Material().steady(batch)
            transactions = [next(steady) for _ in range(max(4, int(seconds * 12_000 / batch)))]
            cpu = _cpu()
            written, taken, longest, burnt = uvloop.run(_run(way(spool, thread), transactions, seconds, busy))
            cpu = _cpu() - cpu
            spool.close(clean=True)
    finally:
        Work._rows = kept  # type: ignore[method-assign]
    messages = written * batch
    return {
        "messages_per_s": messages / taken,
        "cpu_us": cpu / messages * 1e6 if not busy else -1.0,
        "longest_ms": longest * 1e3,
        "loop_percent": 100 * burnt / alone if busy else -1.0,
    }


def alone(seconds: float) -> float:
    """What the burning task does a second when nothing else runs."""
    burnt = [0]
    uvloop.run(_burn(burnt, time.perf_counter() + seconds))
    return burnt[0] / seconds


def report(seconds: float = 1.0, batches: tuple[int, ...] = (8, 32, 256)) -> list[dict[str, object]]:
    """All ways: an idle loop, a busy one with Python's switch interval, and a busy one with a tenth of it."""
    found: list[dict[str, object]] = []
    usual = sys.getswitchinterval()
    whole = alone(0.5)
    for busy, interval in ((False, usual), (True, usual), (True, usual / 10)):
        for batch in batches:
            for name in WAYS:
                sys.setswitchinterval(interval)
                figures = measure(name, batch, seconds, busy, whole)
                sys.setswitchinterval(usual)
                found.append({"way": name, "loop": "busy" if busy else "idle", "batch": batch, "switch_ms": interval * 1e3, **figures})
    return found
