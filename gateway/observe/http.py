"""A small HTTP server in threads of its own: /metrics, /healthz and /readyz.

A scrape never waits for the mail loop, nor the loop for a scrape. It answers GET and HEAD of these three paths and nothing else, at most
`_TOGETHER` requests at once (one more waits in the kernel's queue), each with a time limit. What it reads (registry, health) is safe from
any thread. It keeps no state and writes no log: whoever scrapes knows whether it got an answer. Not meant for the open Internet: it has no
TLS and no login, and listens on loopback by default.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler, ThreadingMixIn
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.observe.health import Health

_TOGETHER = 8
_REQUEST_SECONDS = 10.0
_END_SEEN = 0.1  # seconds in which the thread notices that it should stop
_TEXT = "text/plain; charset=utf-8"


class StatusServer:
    """Serves until `close`. `address` is (IP address, port); port 0 takes a free one, see `port`. Raises OSError when it cannot listen."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self._server = _Server(address, registry, health)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_END_SEEN,), name="status", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop. Requests under way are not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Server(ThreadingMixIn, HTTPServer):
    """One thread a request, never more than `_TOGETHER`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self.health = health
        self._slots = threading.BoundedSemaphore(_TOGETHER)
        super().__init__(address, cast(type[BaseRequestHandler], _Handler))

    def server_bind(self) -> None:
        """As the parent's, without its reverse DNS question, which may hang."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._slots.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was begun, so nobody else gives the slot back
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, close."""

    server_version = "mailwright"
    sys_version = ""
    timeout = _REQUEST_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Answer with the page of the path, or 404."""
        status, kind, body = self._page(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _page(self, path: str) -> tuple[int, str, bytes]:
        health = self.server.health
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry)
        if path == "/healthz":
            return (200, _TEXT, b"ok\n") if health.alive else (503, _TEXT, b"the mail loop does not turn\n")
        if path == "/readyz":
            reasons = health.reasons()
            answer = msgspec.json.encode({"ready": not reasons, "broken": reasons}) + b"\n"
            return (503 if reasons else 200), "application/json", answer
        return 404, _TEXT, b"/metrics, /healthz and /readyz are here\n"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
