"""A webhook receiver as a customer would write one: it verifies with the public library, keeps ids, and can be slow, down or choosy."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Listens on loopback. `answer(events)` gives the status of a request; every request is in `requests`, id and events."""

    def __init__(self, verify: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[list[dict[str, Any]]], int] = lambda events: 204
        self.extra: list[tuple[str, str]] = []
        self.requests: list[tuple[str, list[dict[str, Any]]]] = []
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.verify = verify
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                for name, value in receiver.extra:
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}/hook?from=mailwright"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        headers = {name.lower(): value for name, value in headers.items()}
        if self.verify:
            Webhook(SECRET).verify(body, headers)
        content = json.loads(body)
        assert set(content) == {"type", "timestamp", "data"}
        assert content["type"] == "mailwright.events"
        identity, events = headers["webhook-id"], content["data"]
        self.requests.append((identity, events))
        status = self.answer(events)
        if 200 <= status < 300:
            assert self.taken.setdefault(identity, events) == events, "the same id is the same request"
        return status

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was taken, once each, in order."""
        return [event for events in self.taken.values() for event in events]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
