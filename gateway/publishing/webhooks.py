"""All webhook endpoints of a gateway: each with its own road and watch, one store and one thread for what they write down.

With no endpoint configured and no `webhooks.db` from before there is nothing. An endpoint that was taken out of the configuration keeps its
dead letters and its position; what waits for it in the outbox is not kept.
"""

import asyncio
import random
import secrets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from config.publishing import Webhook
from config.settings import Settings
from contacts.endpoint import Endpoint, EndpointRoad, Wanted
from contacts.letters import FILE, Letter, Letters
from contacts.post import Target, verified
from contacts.webhook import WebhookSecret
from gateway.core.duty import duty
from gateway.core.outbox import Outbox
from gateway.observe import log
from gateway.observe.metrics import Metrics
from gateway.publishing.sink import STOP_WITHIN, Sink

T = TypeVar("T")


class Webhooks:
    """Raises StoreError when `webhooks.db` cannot be used, OSError when a `ca` file cannot."""

    def __init__(
        self, settings: Settings, folder: Path, outbox: Outbox, metrics: Metrics, clock: Callable[[], float], chance: random.Random
    ) -> None:
        self._outbox = outbox
        endpoints = [endpoint_of(hook) for hook in settings.webhook]
        self._letters = Letters(folder)
        self._thread = ThreadPoolExecutor(1, "webhooks")
        self._tasks: list[asyncio.Task[None]] = []
        self.roads: dict[str, EndpointRoad] = {}
        self.sinks: dict[str, Sink] = {}
        for endpoint in endpoints:
            self._letters.begin(endpoint.name, 0)
        positions, dead = self._letters.positions(), self._letters.counts()
        for endpoint in endpoints:
            position = positions[endpoint.name]
            sink = Sink(f"webhook:{endpoint.name}", position, lambda: outbox.newest, metrics, clock)
            sink.dead = dead.get(endpoint.name, 0)
            outbox.add(sink.name, position)
            watch = _Watch(sink, outbox, metrics)
            self.sinks[endpoint.name] = sink
            self.roads[endpoint.name] = EndpointRoad(
                endpoint, self._letters, self._thread, outbox, watch, identity, clock, chance, position, settings.events.waiting
            )

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        for name, road in self.roads.items():
            keep = duty(road.run, self._outbox.broken, lambda error: log.bug("webhooks", error))
            self._tasks.append(loop.create_task(keep, name=f"webhook-{name}"))

    async def close(self) -> None:
        """Send what is taken quickly, then end."""
        for road in self.roads.values():
            road.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WITHIN)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for road in self.roads.values():
            road.close()
        self._thread.shutdown()
        self._letters.close()

    async def stored(self, act: Callable[[Letters], T]) -> T:
        """Look at or change what is written down, in its thread. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act, self._letters)

    async def count_dead(self) -> None:
        """The gauge follows what people did."""
        counts = await self.stored(Letters.counts)
        for name, sink in self.sinks.items():
            sink.dead = counts.get(name, 0)


class _Watch:
    """Carries what a road says to its sink, the outbox, metrics and log."""

    def __init__(self, sink: Sink, outbox: Outbox, metrics: Metrics) -> None:
        self._sink, self._outbox, self._metrics = sink, outbox, metrics

    def reached(self, position: int, events: int) -> None:
        self._sink.reached(position, events)
        self._outbox.reached(self._sink.name, position)

    def working(self, born: float) -> None:
        self._sink.oldest_at = born

    def died(self, letter: Letter, why: str) -> None:
        self._sink.dead += 1
        self._metrics.events_lost(self._sink.name, "dead", letter.events)
        log.dead_letter(self._sink.name, letter.id, letter.events, why)

    def passed_over(self, events: int) -> None:
        self._metrics.events_lost(self._sink.name, "bound", events)
        log.events_passed_over(self._sink.name, events)

    def told(self, trouble: str | None) -> None:
        self._sink.told(trouble)


def endpoint_of(hook: Webhook) -> Endpoint:
    """As the road takes it. Raises OSError."""
    try:
        tls = verified(None if hook.ca is None else str(hook.ca)) if hook.url.startswith("https:") else None
    except (OSError, ssl.SSLError) as error:
        raise OSError(f"webhook {hook.name}: ca {hook.ca}: {error}") from error
    return Endpoint(
        hook.name,
        Target(hook.url, hook.timeout, hook.allow_private, tls),
        tuple(WebhookSecret(text) for text in (hook.secret or "").split()),
        Wanted(frozenset(kind.value for kind in hook.events), frozenset(hook.accounts), frozenset(hook.streams)),
        hook.batch,
        hook.give_up,
    )


def identity() -> str:
    """The id of a request, which nobody else makes."""
    return f"mw_{secrets.token_hex(16)}"


def letters_exist(folder: Path) -> bool:
    """Whether there are letters from before."""
    return (folder / FILE).exists()
