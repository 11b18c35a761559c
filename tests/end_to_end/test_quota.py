"""An account's quota through the whole gateway: a real client is told when to come back, a kill -9 forgets nothing, and people can look."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiosmtplib
import pytest

from tests.durability.rig import ROOT, CountingReceiver, GatewayProcess

QUOTA = """
[[account]]
name = "small"
domains = ["any"]
networks = ["127.7.31.0/24"]
message_rate = "36/h"
message_burst = 3
recipient_rate = "3600/h"
recipient_burst = 50
"""


async def send(port: int, number: int, source: str) -> str:
    """One message; the reply that ended it."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, source_address=(source, 0), timeout=30)
    try:
        async with client:
            content = f"From: news@shop.test\r\nX-Number: {number}\r\n\r\ntext\r\n"
            return (await client.sendmail("news@shop.test", ["a@example.test"], content))[1]
    except aiosmtplib.SMTPSenderRefused as refused:
        return f"{refused.code} {refused.message}"


def test_a_quota_holds_through_a_kill_and_only_for_its_account(tmp_path: Path) -> None:
    receiver = CountingReceiver()
    receiver.start()
    gateway = GatewayProcess(tmp_path, receiver.port, QUOTA)
    try:
        gateway.start()
        replies = [asyncio.run(send(gateway.port, number, "127.7.31.1")) for number in range(4)]
        assert [reply.startswith("2.0.0 queued as ") for reply in replies] == [True, True, True, False]
        assert replies[3].startswith("451 4.7.1 this account has used up its messages for now; try again in ")
        assert asyncio.run(send(gateway.port, 4, "127.0.0.1")).startswith("2.0.0 queued as ")
        gateway.kill()
        gateway.start()
        assert asyncio.run(send(gateway.port, 5, "127.7.31.1")).startswith("451 4.7.1 ")
        (row, recipients) = gateway.call("accounts.quota")["quotas"]
        assert (row["account"], row["limit"], row["burst"], row["available"], row["refused"]) == ("small", "messages", 3, 0, 1)
        assert row["next_in"] == pytest.approx(100, abs=60)
        assert recipients["available"] >= 47
        command = [sys.executable, "-m", "gateway.cli", "account", "quota", "--config", str(gateway.config)]
        table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        assert table[0].split() == ["account", "limit", "rate", "burst", "available", "next", "in", "refused"]
        assert table[1].split()[:5] == ["small", "messages", "36/h", "3", "0"]
    finally:
        gateway.kill()
        receiver.stop()
