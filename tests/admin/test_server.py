"""The control socket: who may open it, what it answers to anything at all, and what it tells the log."""

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.admin.calls import CallError
from gateway.admin.server import SOCKET, ControlServer

Ask = Callable[[bytes], Awaitable[dict[str, Any]]]


class Desk:
    """A console with one queue of three, and a bug."""

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name == "queue.cancel":
            return {"matched": 3, "touched": 0 if arguments.get("dry_run") else 3, "dry_run": bool(arguments.get("dry_run"))}
        if name == "queue.list":
            return {"deliveries": []}
        if name == "lanes.list":
            raise RuntimeError("a bug")
        raise CallError(f"no such call: {name[:60]}")


def _with_server(folder: Path, talk: Callable[[Ask], Awaitable[None]]) -> list[tuple[str, ...]]:
    """Runs `talk` against a server; what the server told the log."""
    told: list[tuple[str, ...]] = []

    async def run() -> None:
        server = ControlServer(
            Desk(),  # type: ignore[arg-type]
            folder,
            lambda name, arguments, result: told.append(("changed", name, result)),
            lambda name, error: told.append(("refused", name)),
            lambda where, error: told.append(("bug", where)),
        )
        await server.start()
        assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(folder / SOCKET)

        async def ask(line: bytes) -> dict[str, Any]:
            writer.write(line + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer

        try:
            await talk(ask)
        finally:
            writer.close()
            await server.close()
        assert not (folder / SOCKET).exists()

    asyncio.run(run())
    return told


def test_only_what_changes_something_or_is_refused_is_told(tmp_path: Path) -> None:
    async def talk(ask: Ask) -> None:
        assert (await ask(b'{"call": "queue.list"}'))["ok"]
        assert (await ask(b'{"call": "queue.cancel", "arguments": {"dry_run": true}}'))["result"]["matched"] == 3
        assert (await ask(b'{"call": "queue.cancel", "arguments": {"dry_run": false}}'))["result"]["touched"] == 3
        assert "no such call" in (await ask(b'{"call": "queue.burn"}'))["error"]

    assert _with_server(tmp_path, talk) == [("changed", "queue.cancel", "3"), ("refused", "queue.burn")]


def test_nonsense_and_bugs_are_answered_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def talk(ask: Ask) -> None:
        for line in (b"", b"{", b"[]", b'{"call": 1}', b"\xff\xfe", b'{"call": "\xff"}', b'{"call": "x", "arguments": []}'):
            assert "not a request" in (await ask(line))["error"]
        assert "its log says why" in (await ask(b'{"call": "lanes.list"}'))["error"]
        assert (await ask(b'{"call": "queue.list"}'))["ok"]

    assert _with_server(tmp_path, talk) == [("bug", "console")]
