"""One listening socket: who may connect, how many, and the one sweeper that looks at their times.

Promises: connections in all and for each address are bounded (421 4.7.0 beyond); there is one timer for all connections, once a second;
`stop_accepting` closes the socket; `close` lets messages under way finish within the grace, tells idle clients 421 4.3.2 at once, and cuts
what is left. Works with uvloop and asyncio. What is said on a connection is `gateway.doors.connection`; what is decided is the door's.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from config.submission import Listener as ListenerSettings
from config.submission import ListenerTls
from gateway.doors.accounts import networks_of
from gateway.doors.certificates import Certificates, why
from gateway.doors.connection import DoorConnection
from gateway.doors.observer import DoorObserver
from gateway.doors.proxied import Entrance
from gateway.doors.visitor import Budget, Visitor
from gateway.smtp import replies
from mail.reply import Reply

SWEEP_SECONDS = 1.0
BACKLOG = 1024


class Listener:
    """A socket and its connections. `welcome` is given a client's IP address and returns its visitor, or the reply that turns it away."""

    def __init__(
        self, settings: ListenerSettings, welcome: Callable[[str], Visitor | Reply], observer: DoorObserver, budget: Budget
    ) -> None:
        self.name = settings.name
        self.limits = settings.limits
        self.settings = settings
        self.budget = budget
        self.observer = observer
        self.implicit_tls = settings.tls is ListenerTls.IMPLICIT
        self.certificates: Certificates | None = None
        if settings.tls is not ListenerTls.NONE and settings.certificate is not None:
            self.certificates = Certificates(
                settings.certificate, settings.key, lambda file, error: observer.certificate(settings.name, str(file), error)
            )
        self._entrance = Entrance(self, networks_of(settings.proxy_networks)) if settings.proxy_networks else None
        self._welcome = welcome
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._connections: set[DoorConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False

    @property
    def open_connections(self) -> int:
        """How many clients there are, those whose proxy has not told them yet among them."""
        return len(self._connections) + (len(self._entrance.waiting) if self._entrance is not None else 0)

    @property
    def address(self) -> tuple[str, int]:
        """IP address and port; the port is the real one where 0 was configured. Only after `bind`."""
        assert self._socket is not None
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def bind(self) -> None:
        """Take the address and read the certificate. Raises OSError that names what cannot be had."""
        try:
            if self.certificates is not None:
                self.certificates.load()
            elif self.settings.tls is not ListenerTls.NONE:
                raise OSError("TLS needs a certificate")
            self._take_address()
        except OSError as error:
            raise OSError(f"listener {self.name}: {self.settings.address}: {why(error)}") from error

    def _take_address(self) -> None:
        host, _, port = self.settings.address.rpartition(":")
        host = host.strip("[]")
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if found.family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.setblocking(False)
            found.bind((host, int(port)))
            found.listen(BACKLOG)
        except BaseException:
            found.close()
            raise
        self._socket = found

    async def start(self) -> None:
        """Begin to accept. Binds where `bind` was not called before."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        begin = self._entrance.reader if self._entrance is not None else lambda: DoorConnection(self)
        self._server = await loop.create_server(begin, sock=self._socket, backlog=BACKLOG)
        if self._stopping:
            self.stop_accepting()
            return
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep_again)
        host, port = self.address
        self.observer.listening(self.name, f"{host}:{port}", self.settings.tls.value)

    # What connections ask -------------------------------------------------------------------------------------------------------

    def arrived(self, connection: DoorConnection, client: str) -> Visitor | Reply:
        """Count the client and let the door look at it."""
        self.observer.connected(self.name, client)
        self._connections.add(connection)
        self._by_address[client] += 1
        self._empty.clear()
        if self._stopping:
            return replies.SHUTTING_DOWN
        crowded = self.open_connections > self.limits.connections or self._by_address[client] > self.limits.connections_per_ip
        visitor = replies.TOO_MANY_CONNECTIONS if crowded else self._welcome(client)
        if isinstance(visitor, Reply):
            self.observer.refused(self.name, client, "", "connect", "connections", visitor)
        return visitor

    def left(self, connection: DoorConnection, client: str) -> None:
        """Uncount it."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._by_address[client] -= 1
        if self._by_address[client] <= 0:
            del self._by_address[client]
        if not self._connections:
            self._empty.set()
        self.observer.left(self.name, client)

    def crowded(self) -> bool:
        """There is no room for one more connection."""
        return self._stopping or self.open_connections >= self.limits.connections

    def tls_context(self) -> ssl.SSLContext:
        """The context for a new handshake."""
        if self.certificates is None:
            raise OSError("no certificate")
        return self.certificates.context()

    # Times ----------------------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End every connection whose time is up at `now` (the loop's time)."""
        for connection in list(self._connections):
            connection.check(now)
        if self._entrance is not None:
            self._entrance.sweep(now)

    def _sweep_again(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.sweep(loop.time())
        except Exception as error:  # the sweeper must live, or nothing times out any more
            self.observer.trouble(f"{self.name} sweep", error)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep_again)

    # The end --------------------------------------------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Close the socket; connections stay."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()

    async def close(self, grace: float) -> None:
        """End every connection: idle ones now, those with a message under way within `grace` seconds."""
        self.stop_accepting()
        if self._entrance is not None:
            self._entrance.close()
        for connection in list(self._connections):
            connection.finish(replies.SHUTTING_DOWN)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self._connections):
            connection.terminate(replies.SHUTTING_DOWN, "shutdown")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), 1.0)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
