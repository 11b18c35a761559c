"""The messages that the spool's benches and long tests write: like those of a campaign, with bodies of a given size."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from config.settings import Spool as SpoolSettings
from gateway.calls import Message
from gateway.spool.lifecycle import State
from gateway.spool.port import Acceptance, Change, FlowKey, NewDelivery, NewFlow, Transaction
from gateway.spool.sqlite import SqliteSpool
from mail.address import Address
from mail.event import Event, EventKind, seal
from mail.identity import IdentitySource

RETURN_WINDOW = 30 * 86_400.0


def open_spool(folder: Path, **settings: int) -> SqliteSpool:
    """A spool in `folder` with one flow, number 1, started as owner 1."""
    spool = SqliteSpool(folder, SpoolSettings(**settings), RETURN_WINDOW)
    if not spool.recover(1, time.time()).flows:
        key = FlowKey("google", "gmail-smtp-in.l.google.com", "default", "crm", "marketing", "spring-2026")
        spool.write(Transaction(flows=[NewFlow(1, key)]))
    return spool


class Material:
    """Acceptances and outcomes, made beforehand so that a bench measures the spool."""

    def __init__(self, size: int = 10_240, start: float | None = None) -> None:
        self._identities = IdentitySource(1)
        self._body = os.urandom(size)
        self._now = time.time() if start is None else start
        self._counter = itertools.count(1)

    def acceptance(self, leased: bool = True, due: float | None = None) -> Acceptance:
        """One message to one recipient."""
        number = next(self._counter)
        message_id, delivery = self._identities.next(self._now), self._identities.next(self._now)
        recipient = f"recipient{number}@destination{number % 20}.example"
        message = Message(
            account="crm",
            stream="marketing",
            sender=Address("bounces@shop.example", "shop.example"),
            from_domain="shop.example",
            received_at=self._now,
            size=len(self._body),
            id=message_id,
            campaign="spring-2026",
            message_id=f"<{number}.c0ffee@shop.example>",
            client="192.0.2.1",
            helo="app.shop.example",
            listener="default",
        )
        return_path = "b+aabbccddeeffgghhiijjkkllmmnnooppq@bounce.shop.example"
        domain = recipient.partition("@")[2]
        new = NewDelivery(delivery, recipient, domain, return_path, 1, self._now if due is None else due, leased)
        event = self._event(EventKind.ACCEPTED, message, delivery, recipient)
        return Acceptance(message, self._body, self._now + 5 * 86_400, [new], [event])

    def delivered(self, accepted: Acceptance) -> Change:
        """Its end."""
        new = accepted.deliveries[0]
        event = self._event(EventKind.DELIVERED, accepted.message, new.id, new.recipient)
        return Change(new.id, State.DELIVERED, self._now, [event], attempts=1)

    def steady(self, batch: int) -> Iterator[Transaction]:
        """Transactions of a relay in its stride: `batch` acceptances, and the ends of those of the transaction before."""
        before: list[Acceptance] = []
        for position in itertools.count(0, 2 * batch):
            now = [self.acceptance() for _ in range(batch)]
            yield Transaction(acceptances=now, changes=[self.delivered(one) for one in before], outbox_until=max(0, position - 4000))
            before = now

    def _event(self, kind: EventKind, message: Message, delivery: int, recipient: str) -> bytes:
        return seal(
            Event(
                id=f"{delivery}.0",
                kind=kind,
                at=self._now,
                recipient=recipient,
                node="1",
                message=str(message.id),
                delivery=str(delivery),
                account=message.account,
                stream=message.stream,
                campaign=message.campaign,
                sender=message.sender.text,
                message_id=message.message_id,
                size=message.size,
            )
        )
