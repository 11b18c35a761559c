"""The command line's `bounce` verbs: the only place of this room that opens files. Output is what other programs rely on."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from bounce.classify import classify, reply_of
from bounce.mine import MAX_SAMPLES, Sample, as_toml, clusters, propose, replay
from bounce.parse import parse
from bounce.report import Kind, Report
from bounce.rules import Rules, shipped
from mail.event import Event
from mail.outcome import Category, Phase, is_hard
from mail.reply import Reply

MAX_FILE = 16_777_216
"""Octets of a file that are read."""
MAX_LINE = 65_536
"""Characters of a line of an event file; a longer one is read as several, none of which is an event."""


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


def classify_text(text: str, provider: str, out: IO[str], phase: Phase = Phase.RCPT) -> int:
    """What a refusal means and which rule says so, as one line of JSON."""
    reply = reply_of(text)
    found = classify(reply, provider, phase)
    said = {"code": reply.code or None, "enhanced": reply.enhanced or None, "category": found.category, "fault": found.fault}
    out.write(json.dumps({**said, "hard": is_hard(found.category, reply.permanent), "rule": found.rule}) + "\n")
    return 0


def mine_files(paths: Iterable[str | Path], out: IO[str], own_rules: str | Path | None = None, most: int = 20) -> int:
    """Propose rules for what no rule knows in event files (NDJSON) or plain lines of replies, and say what each would have changed."""
    rules = shipped() if own_rules is None else Rules.load(Path(own_rules).read_text("utf-8")).before(shipped())
    samples = _counted(sample for path in paths for sample in _samples(Path(path)))
    for cluster in clusters(samples, rules=rules)[:most]:
        rule = propose(cluster, rules)
        if rule is None:
            continue
        changes = replay(rule, rules, samples)
        if not changes and rule.category is not Category.OTHER:
            continue  # the rules say so already, with less to go by
        dead = sum(change.sample.count for change in changes if change.hard_after and not change.hard_before)
        alive = sum(change.sample.count for change in changes if change.hard_before and not change.hard_after)
        out.write(f"# {cluster.size} refusals; would change {sum(change.sample.count for change in changes)} of the past,\n")
        out.write(f"# of which {dead} newly dead addresses and {alive} no longer dead ones\n{as_toml(rule)}\n")
    return 0


def _counted(samples: Iterable[Sample]) -> list[Sample]:
    """Each refusal once, with how often it was said; of different ones no more than are looked at."""
    counts: dict[Sample, int] = {}
    for sample in samples:
        if sample in counts or len(counts) < MAX_SAMPLES:
            counts[sample] = counts.get(sample, 0) + 1
    return [Sample(sample.reply, sample.provider, count, sample.phase) for sample, count in counts.items()]


_phases = {phase.value: phase for phase in Phase}
_event = msgspec.json.Decoder(Event)


def _samples(path: Path) -> Iterator[Sample]:
    """The refusals in a file: events with a diagnostic, or one reply a line."""
    with open(path, encoding="utf-8", errors="replace") as file:
        while line := file.readline(MAX_LINE):
            line = line.strip()
            if not line.startswith("{"):
                reply = reply_of(line)
                if reply.code >= 400:
                    yield Sample(reply)
                continue
            try:
                event = _event.decode(line)
            except (msgspec.DecodeError, RecursionError):
                continue
            if event.diagnostic and event.code >= 400:
                yield Sample(
                    Reply(event.code, event.diagnostic, event.enhanced), event.provider, phase=_phases.get(event.phase, Phase.RCPT)
                )
