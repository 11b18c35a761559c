"""What a message costs in the spool by itself: CPU and longest commit, at several commit sizes, with an empty and with a full queue.

A message is an acceptance with its event, and later its end with its event and its row of the sent ledger, in durable transactions; the
copying of the log into the file is part of the bill. Bodies are 10 KB.
"""

import os
import tempfile
import time
from pathlib import Path

from bench.spool.material import Material, open_spool
from gateway.spool.port import LeaseRequest, Selection, Transaction
from gateway.spool.sqlite import SqliteSpool

FILL = 500


def fill(spool: SqliteSpool, material: Material, number: int) -> None:
    """`number` queued deliveries."""
    for _ in range(number // FILL):
        spool.write(Transaction(acceptances=[material.acceptance(leased=False) for _ in range(FILL)]))


def steady(spool: SqliteSpool, material: Material, batch: int, messages: int) -> dict[str, float]:
    """Figures of `messages` messages in commits of `batch`, after a warm-up of as many."""
    source = material.steady(batch)
    transactions = [next(source) for _ in range(2 * messages // batch)]
    half = len(transactions) // 2
    for transaction in transactions[:half]:
        spool.write(transaction)
    longest, cpu, start = 0.0, sum(os.times()[:2]), time.perf_counter()
    for transaction in transactions[half:]:
        before = time.perf_counter()
        spool.write(transaction)
        longest = max(longest, time.perf_counter() - before)
    taken = time.perf_counter() - start
    cpu = sum(os.times()[:2]) - cpu
    number = (len(transactions) - half) * batch
    return {"batch": batch, "cpu_us": cpu / number * 1e6, "messages_per_s": number / taken, "longest_ms": longest * 1e3}


def report(queued: int, batches: tuple[int, ...] = (1, 8, 32, 128), messages: int = 8000) -> list[dict[str, float]]:
    """Figures by commit size with `queued` deliveries in the queue."""
    with tempfile.TemporaryDirectory() as folder:
        spool = open_spool(Path(folder))
        material = Material()
        fill(spool, material, queued)
        found = [{"queued": queued, **steady(spool, material, batch, messages // (8 if batch == 1 else 1))} for batch in batches]
        spool.close(clean=True)
    return found


def reads(queued: int) -> dict[str, float]:
    """Milliseconds of what a start and a feeder do with `queued` deliveries, and microseconds of reading one body of 10 KB."""
    with tempfile.TemporaryDirectory() as folder:
        spool = open_spool(Path(folder))
        fill(spool, Material(), queued)
        spool.close(clean=False)
        now = time.time() + 60
        found: dict[str, float] = {}
        start = time.perf_counter()
        spool = open_spool(Path(folder))
        found["open_and_recover_ms"] = _ms(start)
        for name, work in (
            ("backlog_ms", spool.backlog),
            ("flows_due_ms", lambda: spool.flows_due(0, now, 1000)),
            ("count_by_campaign_ms", lambda: spool.count(Selection(campaign="spring-2026"))),
        ):
            start = time.perf_counter()
            work()
            found[name] = _ms(start)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            (leased,) = spool.write(Transaction(leases=[LeaseRequest(1, now, 200, now + 600)])).leased
            times.append(_ms(start))
        found["lease_200_ms"] = sorted(times)[2]
        start = time.perf_counter()
        for one in leased.deliveries:
            spool.content(one.message.id)
        found["content_us"] = _ms(start) * 1000 / len(leased.deliveries)
        spool.close(clean=True)
    return found


def _ms(start: float) -> float:
    return (time.perf_counter() - start) * 1e3
