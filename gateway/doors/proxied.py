"""Where the connections of a listener behind load balancers begin: the PROXY header first, then everything as without it.

Promises: a peer in `proxy_networks` must begin with a header and is cut without a word where it does not, or not in `proxy_timeout`;
nobody else's header is believed (the dialogue answers it 421). What comes behind the header goes on to the connection, so TLS of an
implicit TLS port begins after it. The client that a header names is the one that limits, networks and log see. A header that names nobody
leaves the balancer's own address, which is trusted in nothing: everybody behind it would be.

A balancer that connects and leaves without an octet (a health check) is no event. Connections that wait for their header count as open.
"""

import asyncio
from typing import cast

from gateway.doors.accounts import IpNetwork, address_from, is_inside
from gateway.doors.connection import DoorConnection
from gateway.doors.owner import Owner, peer_of
from gateway.smtp import replies
from gateway.smtp.proxy import Incomplete, Proxied, Unusable, read


class Entrance:
    """The entrance of one listener: who is a balancer, and the connections whose header has not come yet."""

    def __init__(self, owner: Owner, networks: list[IpNetwork]) -> None:
        self.owner = owner
        self._networks = networks
        self.waiting: set[HeaderReader] = set()

    def reader(self) -> asyncio.Protocol:
        """For a connection that the loop accepts."""
        return HeaderReader(self)

    def is_proxy(self, peer: str) -> bool:
        """Whether `peer` must send a header."""
        try:
            return is_inside(address_from(peer), self._networks)
        except ValueError:
            return False

    def sweep(self, now: float) -> None:
        """Cut every connection whose header is late at `now` (the loop's time)."""
        for reader in list(self.waiting):
            reader.check(now)

    def close(self) -> None:
        """Cut every connection that has not begun."""
        for reader in list(self.waiting):
            reader.abort()


class HeaderReader(asyncio.Protocol):
    """One connection until its header is read. It is then given to a `DoorConnection`, with what came behind the header."""

    __slots__ = ("_began", "_data", "_entrance", "_peer", "_transport")

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._data = b""
        self._began = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_of(transport)
        entrance, owner = self._entrance, self._entrance.owner
        if not self._peer:
            self.abort()  # gone before we looked: a health check that resets
        elif not entrance.is_proxy(self._peer):
            self._hand_over(self._peer, b"")
        elif owner.crowded():
            owner.observer.refused(owner.name, self._peer, "", "connect", "connections", replies.TOO_MANY_CONNECTIONS)
            self.abort()
        else:
            entrance.waiting.add(self)

    def data_received(self, data: bytes) -> None:
        if self not in self._entrance.waiting:
            return  # cut already
        self._data += data
        header = read(self._data)
        match header:
            case Proxied(length, client):
                self._hand_over(client or self._peer, self._data[length:])
            case Unusable(why):
                self._cut(why)
            case Incomplete():
                pass

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._entrance.waiting and self._data:
            self._cut("proxy-incomplete")
        self._entrance.waiting.discard(self)

    def check(self, now: float) -> None:
        """Cut the connection when its header is late at `now`."""
        if now - self._began > self._entrance.owner.limits.proxy_timeout:
            self._cut("proxy-timeout")

    def abort(self) -> None:
        """Cut the connection."""
        self._entrance.waiting.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def _cut(self, why: str) -> None:
        owner = self._entrance.owner
        owner.observer.cut(owner.name, self._peer, "", why)
        self.abort()

    def _hand_over(self, client: str, rest: bytes) -> None:
        transport = self._transport
        assert transport is not None
        self._entrance.waiting.discard(self)
        connection = DoorConnection(self._entrance.owner, client)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if rest:
            connection.data_received(rest)
