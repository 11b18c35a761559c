"""What a session needs of others: the core that hands out work, the composer that makes messages ready, and somebody who watches.

Only shapes, so that delivery does not import the core and works without keys; the composition root brings the real ones.
"""

from typing import Protocol

from gateway.calls import Assignment, Closed, Handout, Settle, TlsFacts
from gateway.compose.composer import Composed, Unsendable
from mail.outcome import Verdict


class CoreCalls(Protocol):
    """What the core offers a session."""

    async def next(self, permit: int, n: int) -> Handout:
        """Up to `n` deliveries; may wait. A call that is cancelled has handed out nothing."""

    def settle(self, settle: Settle) -> None:
        """Outcomes and returned deliveries. Raises nothing."""

    async def settled(self) -> None:
        """Returns when few enough outcomes wait to be written."""

    def closed(self, closed: Closed) -> None:
        """The connection of a permit has ended. Raises nothing."""


class Composer(Protocol):
    """Makes messages ready to leave."""

    async def compose(self, assignment: Assignment, *, eight_bit_ok: bool, utf8_ok: bool, content: bytes) -> Composed | Unsendable:
        """What to send, or why not. See `gateway.compose.composer`."""


class SessionObserver(Protocol):
    """Who watches sessions. All must be quick and raise nothing."""

    def connected(self, source: str, provider: str, result: str) -> None:
        """A connection was made: "plain" or "tls"."""

    def unconnected(self, source: str, provider: str, trouble: Verdict) -> None:
        """No connection could be made or used."""

    def secured(self, provider: str, facts: TlsFacts) -> None:
        """Something was asked of a connection's TLS, and this came of it."""

    def no_overlap(self, host: str, why: str) -> None:
        """For a day no envelope follows a final dot to this host."""

    def no_pipelining(self, host: str, why: str) -> None:
        """For a day this host gets one command at a time."""

    def faulted(self, what: str, error: BaseException) -> None:
        """A bug or a broken part of ours; the delivery was deferred."""
