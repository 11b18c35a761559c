"""A hundred automatic answers in five languages, fifty answers of people: read right, and never one taken for the other."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from bounce.parse import parse
from bounce.report import Absence, Kind, Report

HERE = Path(__file__).parent
AUTOMATIC = [
    entry for name in ("en_de", "fr", "es_it") for entry in tomllib.loads((HERE / f"auto_replies_{name}.toml").read_text())["auto"]
]
MORE = tomllib.loads((HERE / "auto_replies_more.toml").read_text())["auto"]
HUMAN = tomllib.loads((HERE / "human_replies.toml").read_text())["reply"]


def message(subject: str, body: str, headers: str = "") -> bytes:
    lines = [
        "Return-Path: <>" if "Auto-Submitted" in headers else "Return-Path: <someone@customer.example>",
        "Date: Mon, 06 Jul 2026 09:12:00 +0200",
        "From: Someone <someone@customer.example>",
        "To: b+aaaabbbbccccddddeeeeffffgggghhhh2@mail.sender.example",
        f"Subject: {subject}",
        *([headers] if headers else []),
        "In-Reply-To: <1@sender.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return ("\n".join(lines) + "\n\n" + body.lstrip("\n")).replace("\n", "\r\n").encode()


def wrong(entry: dict[str, Any]) -> str:
    """What is read wrong in one automatic answer, or ""."""
    report = parse(message(entry["subject"], entry["body"], entry["headers"]))
    if report is None or report.kind is not Kind.AUTO_REPLY or report.absence is None:
        return f"{entry['subject']}: kind {report.kind if report else None}"
    wanted = Absence(entry.get("returns", ""), entry.get("successor", ""), entry.get("new_address", ""), entry.get("left", False))
    return "" if report.absence == wanted else f"{entry['subject']}: {report.absence} instead of {wanted}"


def test_there_are_a_hundred_automatic_answers_in_five_languages_and_fifty_human_ones() -> None:
    assert len(AUTOMATIC) == 100
    assert {entry["language"] for entry in AUTOMATIC} == {"en", "de", "fr", "es", "it"}
    assert len(HUMAN) == 50


def test_at_least_ninety_of_a_hundred_automatic_answers_are_read_right() -> None:
    mistakes = [found for entry in AUTOMATIC if (found := wrong(entry))]
    assert len(mistakes) <= 10, "\n".join(mistakes)


def test_answers_that_were_first_read_blind_are_read_right_too() -> None:
    mistakes = [found for entry in MORE if (found := wrong(entry))]
    assert len(mistakes) <= len(MORE) // 10, "\n".join(mistakes)


@pytest.mark.parametrize(
    "subject", ["Out of office party invitation", "Absence of evidence", "Abwesend am Freitag", "Fuori sede", "Vacation photos"]
)
def test_subjects_that_only_sound_automatic_are_those_of_people(subject: str) -> None:
    report = parse(message(subject, "See you there!"))
    assert report is not None
    assert report.kind is Kind.REPLY


def human(entry: dict[str, Any]) -> Report | None:
    return parse(message(entry["subject"], entry["body"]))


@pytest.mark.parametrize("entry", HUMAN, ids=lambda entry: entry["subject"])
def test_what_a_person_writes_is_a_reply_and_nothing_else(entry: dict[str, Any]) -> None:
    report = human(entry)
    assert report is not None
    assert report.kind is Kind.REPLY
    assert report.text == entry["text"].strip()
