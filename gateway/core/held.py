"""Deliveries that are in RAM: in a window, handed out, or on their way to the disk. Bounded by `sending.windows` and `sending.body_memory`.

A `Held` is the working copy of one leased delivery. The spool has the truth; when we stop, what is held goes back untouched.
"""

import msgspec

from gateway.calls import Assignment, Message
from gateway.spool.port import Queued
from mail.address import Address, address_of


def not_before(message: Message) -> float:
    """Unix seconds before which nothing of `message` is tried, 0 for none."""
    labels = message.labels
    return 0.0 if labels is None else labels.send_at


class Held(msgspec.Struct, gc=False):
    """One leased delivery. Fields as in `gateway.spool.port.Queued`."""

    id: int
    message: Message
    recipient: Address
    return_path: str
    flow: int
    expires: float
    attempts: int = 0
    steps: int = 0
    unsure: int = 0
    sources_tried: int = 0
    eligible_until: float = 0.0
    content: bytes | None = None
    permit: int = 0
    """The permit it was handed to; 0 while it is in its window."""
    notify: str = ""
    orcpt: str = ""
    delay_told: bool = False

    @property
    def begun(self) -> float:
        """When its lifetime begins: when the message was received, or when it may be sent first."""
        return max(self.message.received_at, not_before(self.message))

    def assignment(self) -> Assignment:
        """The delivery as a hand gets it."""
        return Assignment(
            self.id,
            self.message,
            self.recipient,
            self.return_path,
            self.attempts + 1,
            self.content,
            self.unsure > 0,
            self.notify,
            self.orcpt,
        )


def held_from(queued: Queued) -> Held:
    """The working copy of a delivery that was leased from the spool."""
    recipient = address_of(queued.recipient) or Address(queued.recipient, queued.domain)
    return Held(
        queued.id,
        queued.message,
        recipient,
        queued.return_path,
        queued.flow,
        queued.expires,
        queued.attempts,
        queued.steps,
        queued.unsure,
        queued.sources_tried,
        queued.eligible_until,
        notify=queued.notify,
        orcpt=queued.orcpt,
        delay_told=queued.delay_told,
    )


class HeldDeliveries:
    """All that is held, and how many octets of content that keeps in RAM."""

    def __init__(self, body_memory: int) -> None:
        self._by_id: dict[int, Held] = {}
        self._contents: dict[int, int] = {}
        """Message to the number of held deliveries that share its content."""
        self.body_memory = body_memory
        self.body_bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, delivery: int) -> Held | None:
        """The held delivery, or None."""
        return self._by_id.get(delivery)

    def body_fits(self, size: int) -> bool:
        """Whether one more content of `size` octets stays within the budget."""
        return self.body_bytes + size <= self.body_memory

    def add(self, held: Held) -> None:
        """Hold one more. Deliveries of one message share its content, which is counted once."""
        self._by_id[held.id] = held
        if held.content is not None:
            sharers = self._contents.get(held.message.id, 0)
            if sharers == 0:
                self.body_bytes += len(held.content)
            self._contents[held.message.id] = sharers + 1

    def remove(self, delivery: int) -> Held | None:
        """Let one go; None when it was not held."""
        held = self._by_id.pop(delivery, None)
        if held is not None and held.content is not None:
            sharers = self._contents[held.message.id] - 1
            if sharers:
                self._contents[held.message.id] = sharers
            else:
                del self._contents[held.message.id]
                self.body_bytes -= len(held.content)
        return held

    def all(self) -> list[Held]:
        """A copy of the list of everything held."""
        return list(self._by_id.values())
