"""Medians, the rules that make a run invalid, the table and the JSON line. Pure."""

import statistics
from typing import Any

from bench.relay.check import Soundness
from bench.relay.side import Round

POSTFIX_FLOOR = {10_000: 250.0, 50_000: 150.0}
"""Delivered messages per second below which Postfix with OpenDKIM was hindered, by message size."""

SPREAD = 0.25
"""Rounds of one side may lie apart by this part of their median."""

SHORTEST = 8.0
"""Seconds below which a round says too little."""

_FIGURES = ("accepted_per_s", "delivered_per_s", "cpu_ms_per_message", "rss_mb", "pss_mb")


def medians(rounds: list[Round]) -> dict[str, float]:
    """The median of each figure."""
    return {name: round(statistics.median(getattr(each, name) for each in rounds), 3) for name in _FIGURES}


def spread(rounds: list[Round]) -> float:
    """How far the rounds lie apart in delivered messages per second, as part of their median."""
    rates = [each.delivered_per_s for each in rounds]
    return (max(rates) - min(rates)) / statistics.median(rates)


def faults(size: int, rounds: dict[str, list[Round]], soundness: dict[str, Soundness]) -> list[str]:
    """Why this series is no result, as sentences; empty when it is one."""
    found = []
    for name, each in rounds.items():
        if len(each) > 1 and spread(each) > SPREAD:
            found.append(f"{name}: rounds lie apart by {spread(each):.0%} of their median (at most {SPREAD:.0%})")
    floor = POSTFIX_FLOOR.get(size, 0.0)
    postfix = rounds.get("postfix_opendkim", [])
    if postfix and medians(postfix)["delivered_per_s"] < floor:
        found.append(f"postfix_opendkim: {medians(postfix)['delivered_per_s']:.0f}/s is below {floor:.0f}/s")
    if len(rounds) == 2 and min(map(len, rounds.values())) < 3:
        found.append("fewer than three rounds")
    shortest = min((each.seconds for side in rounds.values() for each in side), default=0.0)
    if shortest < SHORTEST:
        found.append(f"a round took only {shortest:.1f} s, and about ten are needed")
    for name, sound in soundness.items():
        if not sound.sound:
            found.append(f"{name}: {sound.verified} of {sound.messages} signatures verify, {sound.syncs_per_message} syncs a message")
    return found


def summary(size: int, rounds: dict[str, list[Round]], soundness: dict[str, Soundness]) -> dict[str, Any]:
    """The figures of one series for the JSON line."""
    wrong = faults(size, rounds, soundness)
    result: dict[str, Any] = {"valid": not wrong, "message_octets": size}
    for name, each in rounds.items():
        result[name] = medians(each) | {"rounds": len(each), "messages": each[0].messages, "spread": round(spread(each), 3)}
        if name in soundness:
            result[name] |= {"signatures_verified": soundness[name].verified, "syncs_per_message": soundness[name].syncs_per_message}
    if len(rounds) == 2:
        ours, theirs = result["mailwright"], result["postfix_opendkim"]
        pairs = list(zip(rounds["mailwright"], rounds["postfix_opendkim"], strict=False))
        result["ratio_delivered"] = round(statistics.median(a.delivered_per_s / b.delivered_per_s for a, b in pairs), 3)
        result["ratio_cpu"] = round(theirs["cpu_ms_per_message"] / ours["cpu_ms_per_message"], 3)
    if wrong:
        result["invalid"] = wrong
    return result


def table(size: int, rounds: dict[str, list[Round]], soundness: dict[str, Soundness]) -> str:
    """The series as text for people."""
    rows: list[tuple[str, ...]] = [
        (f"{size // 1000} KB", "accepted/s", "delivered/s (min-max)", "CPU ms (user+system)", "RSS/PSS MB", "syncs/msg", "signed")
    ]
    rows += [_row(name, each, soundness.get(name)) for name, each in rounds.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _row(name: str, rounds: list[Round], sound: Soundness | None) -> tuple[str, ...]:
    middle = medians(rounds)
    rates = [each.delivered_per_s for each in rounds]
    user, system = (statistics.median(getattr(each, field) for each in rounds) for field in ("cpu_user_ms", "cpu_system_ms"))
    return (
        name,
        f"{middle['accepted_per_s']:.0f}",
        f"{middle['delivered_per_s']:.0f} ({min(rates):.0f}-{max(rates):.0f})",
        f"{middle['cpu_ms_per_message']:.3f} ({user:.2f}+{system:.2f})",
        f"{middle['rss_mb']:.0f}/{middle['pss_mb']:.0f}",
        str(sound.syncs_per_message) if sound else "",
        f"{sound.verified}/{sound.messages}" if sound else "",
    )
