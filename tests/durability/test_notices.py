"""kill -9 while mail fails and senders are told: each failed recipient is told of in exactly one report, whatever instant it was."""

import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from bounce.parse import parse
from mail.event import FINAL
from tests.durability.rig import Campaign, CountingReceiver, GatewayProcess

KILLS = 5
SENDER = "news@example.test"
_MESSAGE_ID = re.compile(rb"^Message-ID: (\S+)", re.MULTILINE)

TELLING = """
[[domain]]
name = "example.test"
[notices]
gather = "200ms"
account_rate = "1000000/s"
sender_rate = "1000000/s"
[[stream]]
name = "notices"
[stream.retry]
first = "1s"
growth = 1.0
longest = "1s"
unsure = "1s"
rest = "1s"
"""


class RefusingReceiver(CountingReceiver):
    """Refuses every campaign recipient, and keeps the reports that come for the sender."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, set[str]] = {}
        """Recipient to the Message-IDs of reports about it."""

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if address != SENDER:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        assert envelope.mail_from == "<>"
        report, identity = parse(content), _MESSAGE_ID.search(content)
        assert report is not None
        assert identity is not None
        for recipient in report.recipients:
            self.told.setdefault(recipient.address, set()).add(identity.group(1).decode())
        return "250 2.0.0 taken"


@pytest.mark.slow
def test_killed_while_mail_fails_each_recipient_is_told_of_once(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, {KILLS} kills")
    chance = random.Random(seed)
    receiver = RefusingReceiver()
    receiver.start()
    gateway = GatewayProcess(tmp_path / "gateway", receiver.port, TELLING)
    campaign = Campaign(gateway.port, connections=2)
    gateway.start()
    campaign.start()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 0.6))
        gateway.kill()
        gateway.start()
    campaign.stop()
    failed = _wait_until_told(gateway, receiver, len(campaign.accepted))
    assert gateway.stop() == 0
    receiver.stop()
    print(f"{len(failed)} recipients failed, {len(set.union(*receiver.told.values()))} reports")
    assert len(failed) >= len(campaign.accepted) > KILLS
    assert set(receiver.told) == failed
    assert Counter(len(reports) for reports in receiver.told.values()) == {1: len(failed)}


def _wait_until_told(gateway: GatewayProcess, receiver: RefusingReceiver, accepted: int) -> set[str]:
    """Wait until everything has ended and nothing more is to be told; the recipients that failed.

    The file of events is a moment behind the queue: it is whole when no event waits and each accepted recipient has an end in it.
    """
    until = time.monotonic() + 60
    while True:
        gateway.empty()
        published = gateway.call("status")["events_waiting"] == 0
        events = [event for event in gateway.events() if event.get("stream") != "notices"]
        begun = {event["recipient"] for event in events if event["kind"] == "accepted"}
        failed = {event["recipient"] for event in events if event["kind"] in FINAL}
        whole = published and accepted <= len(begun) == len(failed)
        if whole and failed <= set(receiver.told) and gateway.call("queue.list", limit=1)["total"] == 0:
            return failed
        assert time.monotonic() < until, f"not told: {sorted(failed - set(receiver.told))[:3]}"
        time.sleep(0.2)
