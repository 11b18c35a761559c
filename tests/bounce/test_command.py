"""The lines that other programs read."""

import io
import json
from pathlib import Path

from bounce.command import parse_files

RECIPIENT = {"address", "original_address", "action", "status", "category", "fault", "hard", "suppress", "diagnostic", "remote_mta"}
QMAIL = (
    b"From: MAILER-DAEMON@mx.firm.example\nSubject: failure notice\n\nHi. This is the qmail-send program at mx.firm.example.\n\n"
    b"<gone@firm.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\n"
    b"Return-Path: <news@sender.example>\nMessage-ID: <1@sender.example>\n"
)


def test_one_object_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(QMAIL)
    (tmp_path / "b").write_bytes(b"")
    out = io.StringIO()
    assert parse_files([tmp_path / "a", tmp_path / "b"], out) == 0
    first, second = map(json.loads, out.getvalue().splitlines())
    assert set(first) == {"file", "kind", "recipients", "original_message_id", "token", "rule"}
    assert (first["kind"], first["original_message_id"], first["rule"]) == ("bounce", "<1@sender.example>", "qmail")
    assert set(first["recipients"][0]) == RECIPIENT
    assert (first["recipients"][0]["hard"], first["recipients"][0]["status"]) == (True, "5.1.1")
    assert (second["kind"], second["recipients"]) == ("other", [])


def test_a_file_that_is_not_there_is_said_and_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(QMAIL)
    out = io.StringIO()
    assert parse_files([tmp_path / "none", tmp_path / "a"], out) == 1
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["kind"] == "other"
    assert "error" in first
    assert second["kind"] == "bounce"
