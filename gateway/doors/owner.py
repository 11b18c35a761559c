"""What a client's connection asks of the listener that it came by, and who is at its other end. An interface and a function, no more."""

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol

from config.submission import Limits
from gateway.doors.observer import DoorObserver
from gateway.doors.visitor import Budget, Visitor
from mail.reply import Reply

if TYPE_CHECKING:
    from gateway.doors.connection import DoorConnection


class Owner(Protocol):
    """What a connection asks of its listener."""

    name: str
    limits: Limits
    budget: Budget
    observer: DoorObserver
    implicit_tls: bool

    def arrived(self, connection: "DoorConnection", client: str) -> Visitor | Reply:
        """Admit the client, or say why not."""

    def left(self, connection: "DoorConnection", client: str) -> None:
        """It is gone."""

    def crowded(self) -> bool:
        """There is no room for one more connection."""

    def tls_context(self) -> ssl.SSLContext:
        """For a handshake now. Raises OSError."""


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The IP address at the other end of a socket, or "" where there is none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""
