"""How the core tells a fact about a delivery as an event: one place that fills in what every event of a delivery says."""

from typing import Any

from gateway.calls import Message
from mail.event import Event, EventKind, timestamp
from mail.identity import to_text

ACCEPTED = "0"
"""The number in the id of a delivery's first event; attempts count on from there."""
UNTRIED = "x"
"""The same for an end without an attempt; there is one end, so the id is its own."""


def told(message: Message, delivery: int, recipient: str, kind: EventKind, number: str, now: float, node: str, **facts: Any) -> Event:
    """The event `<delivery>.<number>`: what is known of the message, and `facts` (fields of `Event`) about what happened."""
    name = to_text(delivery)
    labels = message.labels
    if labels is not None:
        facts = {"contact": labels.contact, "engagement": labels.engagement, "tags": labels.tags, "metadata": labels.metadata, **facts}
    return Event(
        id=f"{name}.{number}",
        kind=kind,
        at=now,
        time=timestamp(now),
        recipient=recipient,
        node=node,
        message=to_text(message.id),
        delivery=name,
        account=message.account,
        stream=message.stream,
        campaign=message.campaign,
        sender=message.sender.text,
        message_id=message.message_id,
        size=message.size,
        **facts,
    )
