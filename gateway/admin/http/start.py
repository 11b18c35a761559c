"""Puts the API together: which parts it has, and whether there is one at all. Without an address its libraries are not even loaded."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.units import split_host_port
from gateway.admin.console import Console
from gateway.admin.http.bounds import Application, Bounded
from gateway.admin.http.desk import Desk
from gateway.admin.http.keys import Keys

if TYPE_CHECKING:
    from gateway.admin.http.server import ApiServer


class ApiDoor:
    """The API of one gateway; nothing where `api.address` is none."""

    def __init__(
        self,
        settings: Settings,
        console: Console,
        on_change: Callable[[str, dict[str, Any], str], None],
        on_refused: Callable[[str, str], None],
        on_bug: Callable[[str, BaseException], None],
    ) -> None:
        self._api = settings.api
        self._desk = Desk(console, Keys(settings.api_key), on_change, on_refused, settings.gateway.data, settings.gateway.node)
        self._on_bug = on_bug
        self._server: ApiServer | None = None

    @property
    def address(self) -> str | None:
        """Where it listens, once it does."""
        if self._server is None or self._api.address is None:
            return None
        return f"{self._api.address.rpartition(':')[0]}:{self._server.port}"

    def reconfigure(self, settings: Settings) -> None:
        """New keys; the rest waits for a restart."""
        self._desk.keys = Keys(settings.api_key)

    def start(self) -> None:
        """Listen. Raises OSError."""
        if self._api.address is None:
            return
        from gateway.admin.http.server import ApiServer

        ring = Bounded(self._application(), self._most, self._api.patience, self._on_bug)
        try:
            self._server = ApiServer(ring, split_host_port(self._api.address), self._api.connections, self._api.patience)
        except OSError as error:
            raise OSError(f"api.address {self._api.address}: {error.strerror or error}") from error
        self._server.start()

    def _application(self) -> Application:
        """What adds routes stands here."""
        from gateway.admin.http import events, lists, suppression
        from gateway.admin.http.app import Guarded, application

        return Guarded(application(self._desk, (suppression.routes, lists.routes, events.routes)), self._desk)

    def _most(self, path: str) -> int:
        return self._api.import_size if path.startswith("/v1/import/") else self._api.request_size

    async def close(self) -> None:
        """Stop; requests under way get a few seconds."""
        if self._server is not None:
            await self._server.close()
