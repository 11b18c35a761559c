"""Keeps the core's standing tasks alive: a gateway whose feeder died would accept mail and send none, in silence.

What ends a duty other than its own return is told to `on_bug`, and the duty begins again after a pause. When storage is broken the
committer has told the application already: then a duty just ends.
"""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE = 1.0
"""Seconds before a duty that failed begins again."""


async def duty(run: Callable[[], Awaitable[None]], broken: Callable[[], bool], on_bug: Callable[[BaseException], None]) -> None:
    """Do `run` until it returns."""
    while not broken():
        try:
            await run()
            return
        except Exception as error:
            if broken():
                return
            on_bug(error)
        await asyncio.sleep(PAUSE)
