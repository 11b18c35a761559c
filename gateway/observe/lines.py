"""How a log line is made and written: the machinery under `gateway.observe.log`, which owns the lines themselves.

A line is one JSON object (or text, for people) on standard error, with `time`, `level` and `event` first. Writing must cost the mail loop
little and may never block it: a line is formatted at once, put into a bounded buffer, and written by a thread of its own a moment later.
Lines that standard error does not take in time are dropped and counted (`mailwright_log_lines_dropped_total`), and a line says how many.
A crash of the process may lose the last tenth of a second of lines; the event log in the spool loses nothing. What libraries say to
`logging` comes out here too. Before `configure` lines go nowhere, so that tests and commands are quiet.
"""

import atexit
import collections
import logging
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, BinaryIO

import msgspec
import structlog

LONGEST_TEXT = 500
"""Characters of a reply or an error that a line keeps."""

_BUFFERED_LINES = 20_000
_GATHER_SECONDS = 0.05
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LineWriter:
    """Writes lines to `stream` from a thread of its own. `dropped` is told how many lines were lost, from that thread."""

    def __init__(self, stream: BinaryIO, dropped: Callable[[int], None] = lambda lines: None, bound: int = _BUFFERED_LINES) -> None:
        self._stream = stream
        self.dropped = dropped
        self._bound = bound
        self._lines: collections.deque[bytes] = collections.deque()
        self._lost = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line, without its newline. Never blocks."""
        lines = self._lines
        if len(lines) >= self._bound:
            self._lost += 1
            return
        lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, seconds: float = 2.0) -> None:
        """Write what is buffered, waiting for at most `seconds`."""
        self._closing = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing:
                time.sleep(_GATHER_SECONDS)  # one write for many lines
            self._wake.clear()
            self._drain()
            if self._closing and not self._lines:
                return

    def _drain(self) -> None:
        batch = [self._lines.popleft() for _ in range(len(self._lines))]
        lost, self._lost = self._lost, 0
        if lost:
            batch.append(msgspec.json.encode({"level": "warning", "event": "log lines dropped", "lines": lost}))
        if not batch:
            return
        try:
            self._stream.write(b"\n".join(batch) + b"\n")
            self._stream.flush()
        except (OSError, ValueError):  # standard error is gone; mail goes on
            lost += len(batch)
        if lost:
            self.dropped(lost)


class _Sink:
    """What structlog calls with a finished line: the same method for every level. Nothing is written until there is a writer."""

    writer: LineWriter | None = None

    def msg(self, line: bytes) -> None:
        if self.writer is not None:
            self.writer.write(line)

    debug = info = warning = error = msg


_encode = msgspec.json.Encoder(enc_hook=str).encode


def json_line(_logger: object, level: str, fields: MutableMapping[str, Any]) -> bytes:
    """The line as one JSON object."""
    return _encode({"time": _now_text(), "level": level, "event": fields.pop("event"), **fields})


def text_line(_logger: object, level: str, fields: MutableMapping[str, Any]) -> bytes:
    """The line for people; empty values are left out."""
    event = fields.pop("event")
    rest = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value != "")
    return f"{_now_text()} {level:7} {event}{': ' if rest else ''}{rest}".encode("utf-8", "backslashreplace")


def _plain(value: object) -> str:
    """`value` for people: quoted where it has spaces or anything that could forge a line."""
    text = value if isinstance(value, str) else _encode(value).decode()
    return text if text.isascii() and text.isprintable() and " " not in text else _encode(text).decode()


_last_second = -1
_last_text = ""


def _now_text() -> str:
    """Now as RFC 3339 UTC with milliseconds; the part up to the second is kept until it changes."""
    global _last_second, _last_text
    now = time.time()
    second = int(now)
    if second != _last_second:
        _last_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = second
    return f"{_last_text}.{int((now - second) * 1000):03d}Z"


class _State:
    """The one log of the process: how lines look, which are written, and where to."""

    def __init__(self) -> None:
        self.sink = _Sink()
        self.set(logging.INFO, json_line)
        self.informs = False

    def set(self, level: int, render: Callable[[object, str, MutableMapping[str, Any]], bytes]) -> None:
        self.render = render
        self.informs = level <= logging.INFO
        wrapper = structlog.make_filtering_bound_logger(level)
        self.logger: Any = structlog.wrap_logger(self.sink, processors=[render], wrapper_class=wrapper).bind()


_state = _State()


def info(event: str, **fields: Any) -> None:
    """Something normal that an operator wants to see."""
    _state.logger.info(event, **fields)


def warning(event: str, **fields: Any) -> None:
    """Something an operator should look at, today."""
    _state.logger.warning(event, **fields)


def error(event: str, **fields: Any) -> None:
    """Something an operator must look at, now."""
    _state.logger.error(event, **fields)


def informs() -> bool:
    """Whether lines of level info are written: worth asking before a line of the hot path is put together."""
    return _state.informs


def quick(fields: dict[str, Any]) -> None:
    """An info line of the hot path, `event` first in `fields`: without structlog, which costs as much as all the rest."""
    _state.sink.msg(_state.render(None, "info", fields))


def cut(text: str) -> str:
    """`text`, at most `LONGEST_TEXT` characters of it."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


class _LibraryLines(logging.Handler):
    """Lines that libraries write by `logging`: asyncio's unhandled errors, above all."""

    def emit(self, record: logging.LogRecord) -> None:
        write = error if record.levelno >= logging.ERROR else warning
        raised = f"{record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info and record.exc_info[0] else ""
        write("library", logger=record.name, message=cut(record.getMessage()), error=cut(raised))


def configure(
    level: str = "info", format: str = "json", stream: BinaryIO | None = None, dropped: Callable[[int], None] = lambda lines: None
) -> LineWriter:
    """Begin to write, to standard error where no `stream` is given. Called again after a reload, it changes level and format."""
    _state.set(_LEVELS[level], text_line if format == "text" else json_line)
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryLines()], force=True)
    if _state.sink.writer is None or stream is not None:
        if _state.sink.writer is not None:
            _state.sink.writer.close()
        _state.sink.writer = LineWriter(stream if stream is not None else sys.stderr.buffer, dropped)
        atexit.register(close)
    return _state.sink.writer


def on_dropped(tell: Callable[[int], None]) -> None:
    """From now on `tell` learns how many lines were lost, from the writer's thread: the metric, once there is one."""
    if _state.sink.writer is not None:
        _state.sink.writer.dropped = tell


def close() -> None:
    """Write what is buffered and stop writing."""
    writer, _state.sink.writer = _state.sink.writer, None
    _state.informs = False
    if writer is not None:
        writer.close()
