"""The control socket: a Unix socket in the data folder, open to its owner only; one JSON request a line, one JSON answer a line.

Request `{"call": name, "arguments": {…}}`, answer `{"ok": true, "result": {…}}` or `{"ok": false, "error": "…"}`. Lines are bounded, a
slow or broken client is dropped, and nothing a client sends can raise here: refusals are answered, bugs are told to `on_bug` and answered
as such.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.admin.calls import CHANGING, CallError
from gateway.admin.console import Console
from gateway.spool.port import SpoolError

SOCKET = "control.sock"
LONGEST_REQUEST = 1_000_000
PATIENCE = 60.0
"""Seconds a client may take to send its request."""


class Request(msgspec.Struct, frozen=True):
    """One line from a client."""

    call: str
    arguments: dict[str, Any] = {}


class ControlServer:
    """Serves the console on the socket."""

    def __init__(
        self,
        console: Console,
        folder: Path,
        on_change: Callable[[str, dict[str, Any], str], None],
        on_refused: Callable[[str, str], None],
        on_bug: Callable[[str, BaseException], None],
    ) -> None:
        """`on_change` is told each call that changed something, with its result; looking and counting is nobody's news."""
        self._console = console
        self._path = folder / SOCKET
        self._on_change = on_change
        self._on_refused = on_refused
        self._on_bug = on_bug
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The spool's lock says that no other gateway uses the folder, so an old socket is a leftover."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LONGEST_REQUEST)
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stop listening; calls under way end."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(PATIENCE):
                    line = await reader.readline()
                if not line:
                    break
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # a client that is slow, gone or sends an endless line
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return {"ok": False, "error": f"not a request: {error}"}
        try:
            result = await self._console.call(request.call, request.arguments)
        except (CallError, SpoolError) as error:
            self._on_refused(request.call, str(error))
            return {"ok": False, "error": str(error)}
        except Exception as bug:
            self._on_bug("console", bug)
            return {"ok": False, "error": "the gateway could not carry this out; its log says why"}
        if request.call in CHANGING and not result.get("dry_run"):
            self._on_change(request.call, request.arguments, str(result.get("touched", "done")))
        return {"ok": True, "result": result}
