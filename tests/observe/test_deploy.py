"""Alert rules and dashboard speak of metrics that exist, with labels they have, and every alert has its page."""

import json
import re
from pathlib import Path

import pytest

from gateway.observe.metrics import DEFINITIONS

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "mailwright.json"

_SERIES = re.compile(r"(mailwright_[a-z_]+)(?:\{([^}]*)\})?")
_ADDED = {"instance", "job", "le"}


def _known() -> dict[str, set[str]]:
    known = {}
    for entry in DEFINITIONS:
        for suffix in ("_bucket", "_sum", "_count") if entry.kind == "histogram" else ("",):
            known[entry.name + suffix] = {*entry.labels, *_ADDED}
    return known


def _expressions(file: Path) -> list[str]:
    if file.suffix == ".json":
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        return expressions + [str(item["query"]) for item in dashboard["templating"]["list"]]
    found = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", file.read_text(encoding="utf-8"))
    return ["".join(pair) for pair in found]


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_every_series_that_is_asked_for_exists_with_its_labels(file: Path) -> None:
    known = _known()
    expressions = _expressions(file)
    assert len(expressions) > 10
    for expression in expressions:
        for name, selector in _SERIES.findall(expression):
            assert name in known, f"{name} in {expression}"
            for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector):
                assert label in known[name], f"{name} has no label {label}"


def test_every_alert_has_a_place_in_the_alerts_page() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "operations" / "alerts.md").read_text(encoding="utf-8")
    assert [name for name in alerts if f"## {name}\n" not in page] == []
