"""Lanes that rest are told once when it begins, once when it ends."""

import json
from pathlib import Path
from typing import Any

from gateway.calls import Lane
from gateway.core.resting import RestingLanes
from gateway.observe import lines
from gateway.traffic.view import LaneView


def _view(until: float, why: str = "") -> LaneView:
    return LaneView(Lane("s1", "google"), 0, 1, 4, 0, 0, None, None, until, why, False, 0, 0, 0, None)


def _told(looks: list[tuple[float, list[LaneView]]], file: Path) -> list[dict[str, Any]]:
    with file.open("wb") as stream:
        lines.configure(stream=stream)
        resting = RestingLanes()
        for now, views in looks:
            resting.look(views, now)
        lines.close()
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_a_rest_is_told_when_it_begins_grows_and_ends(tmp_path: Path) -> None:
    looks = [(0.0, [_view(0.0)]), (5.0, [_view(60.0, "421 slow down")]), (10.0, [_view(60.0, "421 slow down")])]
    looks += [(15.0, [_view(120.0, "421 slower")]), (125.0, [_view(120.0)]), (130.0, [_view(0.0)])]
    told = _told(looks, tmp_path / "log")
    assert [(line["event"], line.get("seconds"), line["why"]) for line in told] == [
        ("lane suspended", 55.0, "421 slow down"),
        ("lane suspended", 105.0, "421 slower"),
        ("lane resumed", None, "its time is over"),
    ]


def test_an_operator_ends_a_rest_early_and_a_forgotten_lane_is_no_trouble(tmp_path: Path) -> None:
    told = _told([(0.0, [_view(60.0)]), (5.0, [_view(0.0)]), (10.0, [_view(60.0)]), (70.0, [])], tmp_path / "log")
    assert [line["why"] for line in told if line["event"] == "lane resumed"] == ["resumed by an operator", "its time is over"]
