"""A queue of 200,000: how fast it opens, what reads and leases cost, and that a full queue does not slow commits down."""

import os
import time
from pathlib import Path

import pytest

from bench.spool.material import RETURN_WINDOW, Material
from config.settings import Spool as SpoolSettings
from gateway.spool.port import FlowKey, LeaseRequest, NewFlow, Selection, Transaction
from gateway.spool.sqlite import SqliteSpool

QUEUED = 200_000


@pytest.mark.slow
def test_two_hundred_thousand_queued_deliveries_open_and_serve_quickly(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path, SpoolSettings(), RETURN_WINDOW)
    spool.recover(1, 0.0)
    material = Material(size=300)
    key = FlowKey("google", "mx", "default", "crm", "marketing", "spring-2026")
    spool.write(Transaction(flows=[NewFlow(1, key)]))
    for _ in range(QUEUED // 500):
        spool.write(Transaction(acceptances=[material.acceptance(leased=False) for _ in range(500)]))
    spool.close(clean=False)
    now = time.time() + 60

    start = time.perf_counter()
    spool = SqliteSpool(tmp_path, SpoolSettings(), RETURN_WINDOW)
    spool.recover(1, now)
    (backlog,) = spool.backlog()
    assert backlog.queued == QUEUED
    assert spool.flows_due(0, now, 100) == [1]
    assert time.perf_counter() - start < 2.0

    best = min(_seconds_of_a_lease(spool, now) for _ in range(5))
    assert best < 0.02  # 2 to 3 ms on a quiet machine
    start = time.perf_counter()
    assert spool.count(Selection(campaign="spring-2026")) == QUEUED
    assert time.perf_counter() - start < 2.0
    spool.close(clean=True)
    assert os.path.getsize(tmp_path / "spool.sqlite") < 400_000_000


def _seconds_of_a_lease(spool: SqliteSpool, now: float) -> float:
    start = time.perf_counter()
    written = spool.write(Transaction(leases=[LeaseRequest(1, now, 200, now + 600)]))
    taken = time.perf_counter() - start
    assert len(written.leased[0].deliveries) == 200
    return taken
