"""The calls of the console, as values: a name, typed arguments, a JSON result. The socket, the command line and tests share them.

Unknown names, unknown or ill-typed arguments are refused with a sentence and change nothing. Every call that changes deliveries takes
`dry_run`, which only counts.
"""

from typing import Any

import msgspec

from gateway.spool.port import Selection
from mail.identity import from_text


class CallError(Exception):
    """The call was refused; the text is for the person who made it."""


class Select(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which deliveries: by identity (13 characters), or by any of the other fields together. `older_than` is an age in seconds."""

    ids: list[str] = []
    domain: str = ""
    provider: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    older_than: float = 0.0

    def selection(self, now: float) -> Selection:
        """As the spool takes it. Raises CallError for an identity that is none."""
        ids = [from_text(text) for text in self.ids]
        if None in ids:
            raise CallError(f"not a delivery: {self.ids[ids.index(None)]}")
        return Selection(
            ids=[identity for identity in ids if identity is not None],
            domain=self.domain.lower(),
            provider=self.provider,
            account=self.account,
            stream=self.stream,
            campaign=self.campaign,
            older_than=now - self.older_than if self.older_than else 0.0,
        )

    def empty(self) -> bool:
        """Whether it means everything."""
        return self == type(self)()


class ListQueue(Select, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """queue.list"""

    after: str = ""
    limit: int = 50


class ShowDelivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """queue.show"""

    id: str


class ChangeQueue(Select, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """queue.retry, queue.reroute, queue.cancel, queue.expire"""

    dry_run: bool = True
    everything: bool = False
    """Needed when no other field says which deliveries."""
    reason: str = ""


class HoldQueue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """queue.hold: flows (not deliveries) that match every given field. `seconds` is how long; 0 is until released."""

    domain: str = ""
    provider: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    source: str = ""
    seconds: float = 0.0
    reason: str = ""
    dry_run: bool = False


class ReleaseQueue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """queue.release: the hold with this number, or every hold made with exactly these fields."""

    hold: str = ""
    domain: str = ""
    provider: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    source: str = ""
    dry_run: bool = False


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without arguments."""


class LaneName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """lanes.explain, lanes.suspend, lanes.resume"""

    source: str
    provider: str
    seconds: float = 3600.0
    reason: str = "suspended by an operator"


CHANGING = frozenset(
    {
        "queue.retry",
        "queue.reroute",
        "queue.cancel",
        "queue.expire",
        "queue.hold",
        "queue.release",
        "lanes.suspend",
        "lanes.resume",
        "suppression.add",
        "suppression.remove",
        "suppression.announce",
        "webhook.replay",
        "contacts.audit",
    }
)
"""Calls that change something when they are no dry run: these are logged."""

Result = dict[str, Any]
