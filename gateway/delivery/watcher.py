"""What sessions tell, carried to metrics and log.

Connections are counted here and nowhere else. A source whose address this machine does not have is told once, when it is found out, and
its gauge stays at 1 until a connection from that source is made again (or a reload changes the sources).
"""

from gateway.calls import TlsFacts
from gateway.delivery.attempt import Own
from gateway.observe import log
from gateway.observe.metrics import Metrics
from mail.outcome import Verdict


class SessionWatcher:
    """A `SessionObserver` for real life."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._missing: set[str] = set()

    def connected(self, source: str, provider: str, result: str) -> None:
        """A connection was made: `plain` or `tls`."""
        self._metrics.connected(source, provider, result)
        if source in self._missing:
            self._missing.discard(source)
            self._metrics.source_missing(source, False)

    def unconnected(self, source: str, provider: str, trouble: Verdict) -> None:
        """No connection could be made or used."""
        self._metrics.connected(source, provider, "failed")
        if trouble.rule == Own.SOURCE.value and source not in self._missing:
            self._missing.add(source)
            self._metrics.source_missing(source, True)
            log.source_missing(source, trouble.reply.text)

    def secured(self, provider: str, facts: TlsFacts) -> None:
        """Something was asked of a connection's TLS, and this came of it."""
        self._metrics.secured(provider, facts)

    def no_overlap(self, host: str, why: str) -> None:
        """A host lost count when an envelope followed the final dot."""
        log.no_overlap(host, why)

    def no_pipelining(self, host: str, why: str) -> None:
        """A host lost count within one pipelined group."""
        log.no_pipelining(host, why)

    def faulted(self, what: str, error: BaseException) -> None:
        """A bug or a broken part of ours."""
        log.bug(what, error)

    def reconfigured(self) -> None:
        """The sources may be others now: each is found out anew."""
        for source in self._missing:
            self._metrics.source_missing(source, False)
        self._missing.clear()
