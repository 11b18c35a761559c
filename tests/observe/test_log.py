"""Log lines: what they say, that they cannot be forged, and that a slow reader never blocks the mail."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.calls import AttemptFacts, Lane
from gateway.observe import lines, log
from mail.outcome import Category, Deferred, Delivered, Fault, Phase, Verdict
from mail.reply import Reply

FACTS = AttemptFacts(
    100.0, 100.25, Lane("s1", "google"), host="mx.example", address="192.0.2.1:25", tls="TLSv1.3", signed_by="shop.example"
)


@pytest.fixture(autouse=True)
def _quiet_after() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    lines.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _written(stream: io.BytesIO) -> list[dict[str, Any]]:
    lines.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _attempt(outcome: Delivered | Deferred) -> None:
    log.attempt(
        delivery=77,
        message=76,
        recipient="ann@example.com",
        return_path="b+x@bounces.shop.example",
        account="shop",
        stream="marketing",
        campaign="spring",
        number=2,
        outcome=outcome,
        facts=FACTS,
        queued_at=90.0,
        next_attempt_at=400.25,
        consequence="retry",
    )


def test_the_attempt_line_has_all_an_operator_needs() -> None:
    stream = io.BytesIO()
    lines.configure(stream=stream)
    _attempt(Deferred(Verdict(Reply(451, "try later", "4.7.1"), Category.GREYLISTED, Fault.RECEIVER, "greylist", Phase.RCPT)))
    _attempt(Delivered(Reply(250, "queued", "2.0.0")))
    deferred, delivered = _written(stream)
    assert list(deferred)[:3] == ["time", "level", "event"]
    assert deferred["outcome"] == "deferred"
    assert deferred["delivery"] == "aaaaaaaaaaacn"
    assert deferred["reply"] == "451 4.7.1 try later"
    assert (deferred["category"], deferred["fault"], deferred["phase"], deferred["rule"]) == ("greylisted", "receiver", "rcpt", "greylist")
    assert (deferred["seconds"], deferred["age"], deferred["next_attempt_in"]) == (0.25, 10.25, 300.0)
    assert (deferred["source"], deferred["provider"], deferred["host"]) == ("s1", "google", "mx.example")
    assert delivered["outcome"] == "delivered"
    assert "category" not in delivered


def test_text_from_the_network_cannot_forge_a_line() -> None:
    for kind in ("json", "text"):
        stream = io.BytesIO()
        lines.configure(format=kind, stream=stream)
        reply = Reply(550, 'no\n2026-01-01T00:00:00.000Z info forged: "x"=\x1b[2J' + "a" * 5000)
        log.refused(listener="l", client="192.0.2.1", account="", command="MAIL", reason="sender", reply=reply)
        lines.close()
        written = stream.getvalue()
        assert written.count(b"\n") == 1
        assert b"\x1b" not in written
        assert len(written) < 1000


def test_a_line_below_the_level_is_not_written() -> None:
    stream = io.BytesIO()
    lines.configure(level="error", stream=stream)
    _attempt(Delivered(Reply(250, "ok")))
    log.stopping("SIGTERM")
    log.condition_broken("disk", "full")
    assert [line["event"] for line in _written(stream)] == ["not ready"]


def test_before_configure_nothing_is_written() -> None:
    _attempt(Delivered(Reply(250, "ok")))
    log.condition_broken("disk", "full")


def test_what_libraries_log_comes_out_as_lines() -> None:
    stream = io.BytesIO()
    lines.configure(stream=stream)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    (line,) = _written(stream)
    assert (line["level"], line["logger"], line["error"]) == ("error", "asyncio", "RuntimeError: boom")


def test_a_bug_line_names_the_place() -> None:
    stream = io.BytesIO()
    lines.configure(stream=stream)
    try:
        raise KeyError("x")
    except KeyError as error:
        log.bug("engine", error)
    (line,) = _written(stream)
    assert "test_log.py:" in line["place"]


class _Stuck(io.BytesIO):
    """A reader that does not read until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def write(self, data: Any) -> int:
        self.release.wait(10)
        return super().write(data)


def test_a_reader_that_stands_still_loses_lines_and_the_loss_is_told() -> None:
    stream = _Stuck()
    dropped: list[int] = []
    writer = lines.LineWriter(stream, dropped.append, bound=10)
    for number in range(100):  # never blocks, though nobody reads
        writer.write(b"%d" % number)
    stream.release.set()
    writer.close()
    written = stream.getvalue().splitlines()
    assert written[:10] == [b"%d" % number for number in range(10)]
    assert json.loads(written[-1])["event"] == "log lines dropped"
    assert sum(dropped) == 100 - (len(written) - 1)


def test_a_stream_that_fails_is_counted_and_not_raised() -> None:
    stream = io.BytesIO()
    dropped: list[int] = []
    stream.close()
    writer = lines.LineWriter(stream, dropped.append)
    writer.write(b"lost")
    writer.close()
    assert dropped == [1]
