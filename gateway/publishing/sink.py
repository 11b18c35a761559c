"""What is known of one road that events leave by, for those who watch: how much waits, how old it is, whether the last try failed and why.

A failure is logged when it begins, then every `REMIND` seconds, and its end once. Nothing here decides anything.
"""

from collections.abc import Callable

from gateway.observe import log
from gateway.observe.metrics import Metrics
from gateway.observe.view import SinkGauge
from mail.event import unseal

REMIND = 600.0
STOP_WITHIN = 5.0
"""Seconds that a stop waits for events to go out."""


class Sink:
    """One road. `position` is how far it has come, on its far side; what is behind it stays in the outbox."""

    def __init__(self, name: str, position: int, newest: Callable[[], int], metrics: Metrics, clock: Callable[[], float]) -> None:
        self.name = name
        self.position = position
        self.oldest_at = 0.0
        """Time of the oldest event under way; 0 where none is."""
        self.dead = 0
        self.error = ""
        self._newest, self._metrics, self._clock = newest, metrics, clock
        self._most = 0
        self._since = 0.0
        self._reminded = 0.0
        metrics.sink_known(name)

    @property
    def waiting(self) -> int:
        """Events on disk that this road has not carried."""
        return max(0, self._newest() - self.position)

    def reached(self, position: int, events: int) -> None:
        """It has carried `events` more, and everything up to `position` is done."""
        self.position = max(self.position, position)
        if events:
            self._metrics.published(self.name, events)

    def told(self, trouble: str | None) -> None:
        """The last try failed, for this reason, or (None) did not."""
        now = self._clock()
        if trouble is None:
            if self.error:
                log.publishing_well(self.name, now - self._since, self.waiting)
            self.error = ""
            return
        self._metrics.publishing_failed(self.name)
        if not self.error:
            self._since, self._reminded = now, 0.0
        self.error = trouble
        if now - self._reminded >= REMIND:
            self._reminded = now
            log.publishing_failed(self.name, trouble, self.waiting)

    def gauge(self) -> SinkGauge:
        """For the metrics. Progress is measured from the largest backlog since it was last empty."""
        waiting, now = self.waiting, self._clock()
        self._most = max(self._most, waiting) if waiting else 0
        caught_up = 1 - waiting / self._most if self._most else 1.0
        oldest = max(0.0, now - self.oldest_at) if waiting and self.oldest_at else 0.0
        return SinkGauge(self.name, waiting, oldest, caught_up, bool(self.error), self.dead)

    def status(self) -> dict[str, object]:
        """For `mailwright status`."""
        gauge = self.gauge()
        known: dict[str, object] = {"waiting": gauge.waiting, "oldest_seconds": round(gauge.oldest), "error": self.error}
        if gauge.waiting:
            known["caught_up"] = f"{gauge.caught_up:.0%}"
        return known | ({"dead_letters": self.dead} if self.dead else {})


def time_of(line: bytes) -> float:
    """When an event happened; 0 for what is none."""
    try:
        return unseal(line).at
    except ValueError:
        return 0.0
