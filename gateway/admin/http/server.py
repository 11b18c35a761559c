"""uvicorn inside the gateway's loop: no signals, no log of its own, sockets we have bound, and clients that must not dawdle.

A client has `patience` seconds for the header of its first request, at most twice that for later ones, and from there
`gateway.admin.http.bounds` holds. Connections are bounded; one more is answered 503, and beyond twice as many are cut. An address that is
taken raises OSError at start.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.admin.http.bounds import Application

HEADER = 16_384
"""Octets of a request's header, at most."""
END = 5
"""Seconds that requests under way get at a stop."""


class _Server(uvicorn.Server):
    """Leaves the process's signals alone: they are the gateway's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _patient(seconds: float) -> type[H11Protocol]:
    class Patient(H11Protocol):
        """Closes a connection that has waited for a whole header since the last look, and cuts one whose client does not read the end."""

        _seen: object = None
        _closing = False
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * (self.limit_concurrency or 1):
                transport.abort()
                return
            self._timer = self.loop.call_later(seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            if self.transport.is_closing():
                if self._closing:
                    self.transport.abort()
                    return
                self._closing = True
            cycle = self.cycle
            if cycle is self._seen and (cycle is None or cycle.response_complete):
                self.transport.close()
            self._seen = cycle
            self._timer = self.loop.call_later(seconds, self._look)

    return Patient


class ApiServer:
    """Serves `application` on `address`, (IP address, port); port 0 takes a free one, see `port`. Raises OSError."""

    def __init__(self, application: Application, address: tuple[str, int], connections: int, patience: float) -> None:
        logging.getLogger("uvicorn.error").disabled = True  # what goes wrong is told by `bounds`
        logging.getLogger("uvicorn.access").disabled = True
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise
        options: dict[str, Any] = {"lifespan": "off", "ws": "none", "log_config": None, "access_log": False, "proxy_headers": False}
        self._server = _Server(
            uvicorn.Config(
                application,
                http=_patient(patience),
                server_header=False,
                limit_concurrency=connections,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=END,
                h11_max_incomplete_event_size=HEADER,
                backlog=connections,
                **options,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def listening(self) -> bool:
        """Whether it takes connections by now."""
        return self._server.started

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._server.server_state.connections)

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]), name="api")

    async def close(self) -> None:
        """Stop; requests under way have `END` seconds."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()
