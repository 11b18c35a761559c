"""What the routes of the API stand on: the console's calls, made in the name of a key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.admin.calls import CHANGING, Result
from gateway.admin.console import Console
from gateway.admin.http.keys import Caller, Keys


class Desk:
    """What the routes stand on: the console, the keys in force, and who is told what."""

    def __init__(
        self,
        console: Console,
        keys: Keys,
        on_change: Callable[[str, dict[str, Any], str], None],
        on_refused: Callable[[str, str], None],
        folder: Path = Path(),
        node: str = "",
    ) -> None:
        self.folder, self.node = folder, node
        """The data folder, and the name of this node in events."""
        self.console = console
        self.keys = keys
        self.on_refused = on_refused
        self._on_change = on_change

    async def call(self, caller: Caller, name: str, **arguments: Any) -> Result:
        """Carry out one call of the console. Raises CallError, SpoolError."""
        result = await self.console.call(name, arguments)
        if name in CHANGING and not result.get("dry_run"):
            self._on_change(name, {**arguments, "key": caller.name}, str(result.get("touched", "done")))
        return result
