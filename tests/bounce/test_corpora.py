"""Measured on labelled messages of the world: floors that must hold, and promises that must hold for every one of them.

The scoring tool beside the corpora gives the full figures; here are the promises and the lower bounds, so that a change that
breaks a family is seen at once.
"""

import random
import time

import pytest

from bench.judgement.labels import complaints, replies
from bounce.classify import classify, reply_of
from bounce.parse import parse
from bounce.report import Kind
from fbl.parse import parse as parse_complaint
from tests.bounce.corpora import CORPORA, folders, labels, messages, needs_corpora

pytestmark = needs_corpora

NO_BOUNCE = {"feedback", "auto-reply", "delivered", "not-bounce", "not-feedback"}


def norm(address: str | None) -> str:
    return (address or "").strip().strip("<>").lower()


def test_no_message_that_is_no_bounce_yields_a_suppression() -> None:
    guilty = []
    for folder in folders():
        for label, raw in labels(folder):
            report = parse(raw) if label["kind"] in NO_BOUNCE else None
            if report is not None and any(entry.suppress or entry.hard for entry in report.recipients):
                guilty.append(label["file"])
    assert guilty == []


@pytest.mark.parametrize(
    ("folder", "floor"), [("sisimai", 0.95), ("flufl_bounce", 0.95), ("kumomta", 0.95), ("mimekit", 0.95), ("bounced", 0.95)]
)
def test_the_exact_set_of_recipients_is_found(folder: str, floor: float) -> None:
    right = asked = 0
    for label, raw in labels(folder):
        wanted = {norm(entry.get("recipient")) for entry in (label.get("expected") or {}).get("results") or []}
        wanted = {address for address in wanted if "@" in address}
        if label["kind"] != "bounce" or not wanted:
            continue
        report = parse(raw)
        entries = report.recipients if report is not None and report.kind in (Kind.BOUNCE, Kind.DELAY) else ()
        found = {norm(entry.address) for entry in entries}
        known = found | {norm(entry.original_address) for entry in entries}
        asked += 1
        right += found == wanted or (wanted <= known and len(found) == len(wanted))
    assert right >= floor * asked


def test_every_complaint_is_seen_and_nothing_else_is_taken_for_one() -> None:
    wrong = []
    for folder in folders():
        wrong += [label["file"] for label, raw in labels(folder) if (parse_complaint(raw) is not None) != (label["kind"] == "feedback")]
    assert wrong == []


def test_labelled_replies_are_put_into_their_category() -> None:
    score = replies(CORPORA)
    print(f"labelled replies: {score.right} of {score.asked}, {score.share:.1%}")
    assert score.asked >= 300
    assert score.share >= 0.90, score.misses


def test_the_labelled_fields_of_complaints_are_read() -> None:
    score = complaints(CORPORA)
    print(f"labelled fields of complaints: {score.right} of {score.asked}, {score.share:.1%}")
    assert score.asked >= 70
    assert score.share >= 0.97, score.misses


def test_no_prefix_and_no_changed_byte_of_any_message_raises() -> None:
    source = random.Random(4)
    for raw in messages():
        for _ in range(3):
            cut = raw[: source.randrange(len(raw) + 1)]
            place = source.randrange(len(raw) + 1)
            changed = raw[:place] + bytes([source.randrange(256)]) + raw[place + 1 :]
            for octets in (cut, changed):
                parse(octets)
                parse_complaint(octets)


def test_a_changed_byte_never_makes_a_bounce_of_what_is_none() -> None:
    source = random.Random(5)
    for folder in folders():
        for label, raw in labels(folder):
            if label["kind"] not in NO_BOUNCE:
                continue
            for _ in range(20):
                place = source.randrange(len(raw))
                report = parse(raw[:place] + bytes([source.randrange(256)]) + raw[place + 1 :])
                assert report is None or not any(entry.suppress for entry in report.recipients), (label["file"], place)


def test_replies_and_reports_are_read_at_speed() -> None:
    """Loose floors (a third of what is promised) because tests share the machine; `make bench` measures."""
    raws = [raw for label, raw in labels("sisimai") if b"message/delivery-status" in raw]
    before = time.process_time()
    for raw in raws:
        parse(raw)
    assert len(raws) / (time.process_time() - before) > 1_000
    said = [reply_of(f"550 5.1.1 <u{number}@firm.example> User unknown in table {number}") for number in range(20_000)]
    before = time.process_time()
    for reply in said:
        classify(reply)
    assert len(said) / (time.process_time() - before) > 33_000
