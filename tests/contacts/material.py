"""What the tests of this room share: events as they come, and a clock that stands still until it is told."""

import msgspec

from contacts.suppression import Policy, Rules
from mail.address import Address, address_of
from mail.event import Event, EventKind

NOW = 1_800_000_000.0
KINDS = {"news": "marketing", "receipts": "transactional"}


class Clock:
    """Time as a test sets it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def rules(policy: Policy | None = None) -> Rules:
    return Rules(policy or Policy(), KINDS)


def address(text: str) -> Address:
    found = address_of(text)
    assert found is not None, text
    return found


def addition(identity: str, recipient: str = "jane@example.org", reason: str = "hard_bounce", scope: str = "global", **more) -> Event:
    more.setdefault("at", NOW)
    return Event(id=identity, kind=EventKind.SUPPRESSION_ADDED, recipient=recipient, entry=identity, reason=reason, scope=scope, **more)


def removal(identity: str, entry: str, recipient: str = "jane@example.org") -> Event:
    return Event(id=identity, kind=EventKind.SUPPRESSION_REMOVED, at=NOW, recipient=recipient, entry=entry)


def bounced(identity: str = "aaaaaaaaaaaaa.1", recipient: str = "jane@example.org", **more) -> Event:
    facts = {
        "account": "shop",
        "stream": "news",
        "campaign": "spring",
        "hard": True,
        "category": "bad-mailbox",
        "fault": "recipient",
        "code": 550,
        "enhanced": "5.1.1",
        "diagnostic": "550 5.1.1 no such user",
        "message_id": "<1@shop.example>",
        "suppression_proposed": True,
    }
    return msgspec.structs.replace(Event(identity, EventKind.BOUNCED, NOW - 1, recipient), **(facts | more))
