"""A campaign handed in a hundred times under one idempotency key arrives once; kill -9 in the middle makes no second delivery of it.

What a kill may repeat is an attempt whose final dot was on the wire or whose outcome was not on disk, as for any mail: the log's count of
deliveries under way bounds it. That no delivery is made twice shows in the events: one `accepted` for each recipient.
"""

import os
import random
import smtplib
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.durability.rig import CountingReceiver, GatewayProcess
from tests.durability.test_kill import assert_one_end_each

SENDS = 100
RECIPIENTS = 1000
CONNECTIONS = 8
KILLS = int(os.environ.get("MAILWRIGHT_KEY_KILLS", "2"))

LETTER = b"From: news@example.test\r\nTo: you@d.test\r\nSubject: spring\r\nX-Idempotency-Key: spring-1\r\n\r\nHello.\r\n"


class CountingMailboxes(CountingReceiver):
    """Counts messages by their recipients."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.received.update(envelope.rcpt_tos)
        return "250 2.0.0 taken"


class Application:
    """Sends the campaign `SENDS` times over some connections; a send that is not answered is sent again, as applications do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._left = list(range(SENDS))
        self._lock = threading.Lock()
        self.answers: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CONNECTIONS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> int:
        return len(self.answers)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self) -> None:
        while self._left:
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
                    while self._next():
                        try:
                            answer = self._send(client)
                        except BaseException:
                            self._left.append(0)
                            raise
                        self.answers.append(answer)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)

    def _next(self) -> bool:
        with self._lock:
            if self._left:
                self._left.pop()
                return True
        return False

    @staticmethod
    def _send(client: smtplib.SMTP) -> str:
        """One message to everybody; the text of the answer."""
        client.ehlo_or_helo_if_needed()
        client.mail("news@example.test")
        client.send("".join(f"RCPT TO:<r{number}@d.test>\r\n" for number in range(RECIPIENTS)))
        for _ in range(RECIPIENTS):
            code, text = client.getreply()
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        code, text = client.data(LETTER)
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)
        return text.decode()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, KILLS], ids=["undisturbed", "killed"])
def test_a_campaign_sent_a_hundred_times_under_one_key_arrives_once(tmp_path: Path, kills: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, {kills} kills")
    chance = random.Random(seed)
    receiver = CountingMailboxes()
    receiver.start()
    gateway = GatewayProcess(tmp_path / "gateway", receiver.port)
    gateway.start()
    application = Application(gateway.port)
    begun = time.monotonic()
    application.start()
    for number in range(kills):
        while application.answered < number * SENDS // kills:  # the first comes while the first sends are being accepted
            time.sleep(0.005)
        time.sleep(chance.uniform(0.05, 0.4))
        gateway.kill()
        gateway.start()
    application.wait()
    sent = time.monotonic() - begun
    gateway.empty()
    assert gateway.stop() == 0
    receiver.stop()

    events = {event["id"]: event for event in gateway.events()}.values()
    accepted = Counter(event["recipient"] for event in events if event["kind"] == "accepted")
    repeats = sum(receiver.received.values()) - RECIPIENTS
    firsts = {answer.split(" queued as ")[-1].split()[0] for answer in application.answers}
    print(f"{application.answered} answers in {sent:.1f} s, {len(receiver.received)} received, {repeats} repeated; first {firsts}")
    assert application.answered == SENDS
    assert len(firsts) == 1, "every answer names the message that was accepted first"
    assert accepted == Counter(f"r{number}@d.test" for number in range(RECIPIENTS)), "one delivery for each recipient"
    assert set(receiver.received) == set(accepted)
    assert_one_end_each(gateway)
    returned = sum(line["returned"] for line in gateway.log_lines() if line["event"] == "spool recovered" and not line["clean"])
    assert repeats <= returned, "no more than attempts that a kill cut off"
