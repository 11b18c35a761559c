"""What the doors tell those who watch, and the watcher that writes it to metrics and log.

Each method is called on the loop's thread, once for each fact, and must be quick and raise nothing. Accepted messages are the core's to
report. Nothing here carries a password or the content of a message.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.doors.certificates import expires
from gateway.observe import log
from gateway.observe.metrics import Metrics
from mail.reply import Reply


class DoorObserver(Protocol):
    """The doors' facts."""

    def listening(self, listener: str, address: str, tls: str) -> None:
        """A socket is open."""

    def unopened(self, listener: str, error: str) -> None:
        """A socket that the configuration wants cannot be opened; "": it is no longer wanted."""

    def connected(self, listener: str, client: str) -> None:
        """A client's connection was taken."""

    def left(self, listener: str, client: str) -> None:
        """It ended."""

    def refused(self, listener: str, client: str, account: str, command: str, reason: str, reply: Reply) -> None:
        """A command or message was refused. `reason` is a word of ours."""

    def cut(self, listener: str, client: str, account: str, reason: str) -> None:
        """We ended a connection."""

    def logins_blocked(self, listener: str, client: str, failures: int, seconds: float) -> None:
        """So many logins from an address failed that it is not heard for a while."""

    def unknown_stream(self, account: str, stream: str, used: str) -> None:
        """A message asked for a stream that does not exist; it went to `used`."""

    def label_ignored(self, account: str, header: str, label: str, why: str) -> None:
        """A label was not taken, wholly or in part."""

    def certificate(self, listener: str, file: str, error: str) -> None:
        """A certificate was loaded (`error` is ""), or a changed one cannot be used."""

    def trouble(self, where: str, error: BaseException) -> None:
        """Something raised that should not."""


class Watcher:
    """Carries the doors' facts to metrics and log."""

    _MOST_STREAMS = 1000

    def __init__(self, metrics: Metrics, condition: Callable[[str, str | None], None] = lambda name, why: None) -> None:
        """`condition` is told what is broken, by name, and None when it is well again."""
        self._metrics = metrics
        self._condition = condition
        self._streams_told: set[tuple[str, str]] = set()
        self._labels_told: set[tuple[str, str, str, str]] = set()

    def listening(self, listener: str, address: str, tls: str) -> None:
        log.listening(listener, address, tls)
        self._condition(f"listener-{listener}", None)

    def unopened(self, listener: str, error: str) -> None:
        self._condition(f"listener-{listener}", error or None)

    def connected(self, listener: str, client: str) -> None:
        self._metrics.client_connected(listener)

    def left(self, listener: str, client: str) -> None:
        self._metrics.client_left(listener)

    def refused(self, listener: str, client: str, account: str, command: str, reason: str, reply: Reply) -> None:
        self._metrics.refused(listener, reply.code, reason)
        log.refused(listener=listener, client=client, account=account, command=command, reason=reason, reply=reply)

    def cut(self, listener: str, client: str, account: str, reason: str) -> None:
        self._metrics.refused(listener, 421, reason)
        log.client_cut(listener=listener, client=client, account=account, reason=reason)

    def logins_blocked(self, listener: str, client: str, failures: int, seconds: float) -> None:
        log.logins_blocked(listener=listener, client=client, failures=failures, seconds=seconds)

    def unknown_stream(self, account: str, stream: str, used: str) -> None:
        """Told once for each account and stream: a campaign of a million messages asks a million times."""
        if (account, stream) not in self._streams_told and len(self._streams_told) < self._MOST_STREAMS:
            self._streams_told.add((account, stream))
            log.unknown_stream(account=account, stream=stream, used=used)

    def label_ignored(self, account: str, header: str, label: str, why: str) -> None:
        """Counted each time, told once for each account, field and reason."""
        self._metrics.label_ignored(label, why)
        told = (account, header, label, why)
        if told not in self._labels_told and len(self._labels_told) < self._MOST_STREAMS:
            self._labels_told.add(told)
            log.label_ignored(account=account, header=header, label=label, why=why)

    def certificate(self, listener: str, file: str, error: str) -> None:
        if error:
            log.certificate_refused(listener, file, error)
        else:
            log.certificate_loaded(listener, file, expires(Path(file)))

    def trouble(self, where: str, error: BaseException) -> None:
        log.bug(where, error)
