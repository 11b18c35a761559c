"""The console's calls on a spool whose gateway does not run: take the lock, recover, carry out one call, and close in order.

Nothing is sent, routed or published meanwhile. The lock keeps a gateway from starting in between; the one that starts next finds the change
on disk. A folder without a spool is left as it is.
"""

import asyncio
from pathlib import Path
from typing import Any

from config.load import Configuration
from config.settings import Settings
from contacts.trouble import StoreError
from gateway.spool.connection import FILE
from gateway.spool.port import SpoolError


class NoSpool(Exception):
    """There is nothing to work on, or it cannot be had; the text says why."""


def call(settings: Settings, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Carry out one call. Raises NoSpool, or CallError when the call itself is refused."""
    folder = settings.gateway.data
    if not (folder / FILE).exists():
        raise NoSpool(f"no gateway is running on {folder}, and there is no spool")
    try:
        return asyncio.run(_call(Configuration(Path(), settings), name, arguments))
    except (SpoolError, StoreError, OSError) as error:
        raise NoSpool(f"no gateway is running on {folder}, and its spool cannot be used: {error}") from error


async def _call(configuration: Configuration, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from gateway.app import Gateway

    gateway = Gateway(configuration)
    try:
        gateway.core.start(deliver=False)
        return await gateway.console.call(name, arguments)
    finally:
        await gateway.stop(grace=0.0)
