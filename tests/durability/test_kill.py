"""kill -9 under load: nothing accepted is lost, nothing is repeated beyond the bound, every delivery ends in exactly one final event."""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from mail.event import FINAL
from tests.durability.rig import Campaign, CountingReceiver, GatewayProcess

KILLS = int(os.environ.get("MAILWRIGHT_KILLS", "50"))
UNSETTLED = 256
CONNECTIONS = 20
"""Of the smarthost lane: each may have one final dot on the wire."""


@pytest.mark.slow
def test_killed_under_load_nothing_accepted_is_lost(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, {KILLS} kills")
    chance = random.Random(seed)
    receiver = CountingReceiver()
    receiver.start()
    gateway = GatewayProcess(tmp_path / "gateway", receiver.port)
    campaign = Campaign(gateway.port)
    gateway.start()
    campaign.start()
    repeated_before, worst = 0, 0
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.8))
        gateway.kill()
        gateway.start()
        repeated = sum(count - 1 for count in receiver.received.values())
        worst, repeated_before = max(worst, repeated - repeated_before), repeated
    campaign.stop()
    gateway.empty()
    assert gateway.stop() == 0
    receiver.stop()

    lost = campaign.accepted - set(receiver.received)
    repeats = sum(count - 1 for count in receiver.received.values())
    print(f"{len(campaign.accepted)} accepted, {len(receiver.received)} received, {repeats} repeated, at most {worst} after one kill")
    assert not lost, f"{len(lost)} accepted messages never arrived, for instance {sorted(lost)[:3]}"
    assert repeats <= KILLS * (UNSETTLED + CONNECTIONS), "more repeats than outcomes that can be unsettled and dots on the wire"
    assert_one_end_each(gateway)
    recoveries = [line for line in gateway.log_lines() if line["event"] == "spool recovered" and not line["clean"]]
    assert len(recoveries) == KILLS, "each unclean start says how many deliveries were under way and may be repeated"
    assert repeats <= sum(line["returned"] for line in recoveries)


def assert_one_end_each(gateway: GatewayProcess) -> None:
    events = {event["id"]: event for event in gateway.events()}.values()
    ends = Counter(event["delivery"] for event in events if event["kind"] in FINAL)
    begun = {event["delivery"] for event in events if event["kind"] == "accepted"}
    assert set(ends) == begun, "every accepted delivery ends, and nothing else does"
    assert set(ends.values()) <= {1}, "exactly one final event each"
