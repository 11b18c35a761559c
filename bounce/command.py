"""The command line's `bounce` verbs: read files, write one JSON object for each, as other programs rely on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from bounce.parse import parse
from bounce.report import Kind, Report

MAX_FILE = 16_777_216
"""Octets of a file that are read."""


def parse_files(paths: Iterable[str | Path], out: IO[str]) -> int:
    """One line of JSON for each file. Returns the exit code: 0, or 1 when a file could not be read (its line says so)."""
    code = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                raw = file.read(MAX_FILE)
        except OSError as error:
            out.write(json.dumps({"file": str(path), "kind": Kind.OTHER, "error": error.strerror or str(error)}) + "\n")
            code = 1
            continue
        out.write(json.dumps(described(str(path), parse(raw)), ensure_ascii=False) + "\n")
    return code


def described(file: str, report: Report | None) -> dict[str, Any]:
    """A report in the shape that others rely on."""
    report = report or Report(Kind.OTHER)
    return {
        "file": file,
        "kind": report.kind,
        "recipients": [
            {
                "address": entry.address,
                "original_address": entry.original_address or None,
                "action": entry.action,
                "status": entry.status or None,
                "category": entry.category,
                "fault": entry.fault,
                "hard": entry.hard,
                "suppress": entry.suppress,
                "diagnostic": entry.diagnostic or None,
                "remote_mta": entry.remote_mta or None,
            }
            for entry in report.recipients
        ],
        "original_message_id": report.original_message_id or None,
        "token": report.token or None,
        "rule": report.rule or None,
    }
