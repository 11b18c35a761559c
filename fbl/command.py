"""The command line's `fbl` verb: read files, write one JSON object for each, as other programs rely on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from fbl.parse import parse
from fbl.report import Feedback

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
            out.write(json.dumps({"file": str(path), "kind": "other", "error": error.strerror or str(error)}) + "\n")
            code = 1
            continue
        out.write(json.dumps(described(str(path), parse(raw)), ensure_ascii=False) + "\n")
    return code


def described(file: str, feedback: Feedback | None) -> dict[str, Any]:
    """A complaint in the shape that others rely on."""
    return {
        "file": file,
        "kind": "feedback" if feedback else "other",
        "feedback_type": feedback.feedback_type if feedback else None,
        "recipients": list(feedback.recipients) if feedback else [],
        "token": (feedback.token if feedback else "") or None,
        "original_message_id": (feedback.original_message_id if feedback else "") or None,
        "original_mail_from": (feedback.original_mail_from if feedback else "") or None,
        "reported_domain": (feedback.reported_domain if feedback else "") or None,
        "source_ip": (feedback.source_ip if feedback else "") or None,
        "arrival_date": (feedback.arrival_date if feedback else "") or None,
        "user_agent": (feedback.user_agent if feedback else "") or None,
    }
