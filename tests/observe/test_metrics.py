"""Metrics: what moves them, what bounds them, and that the page about them is true."""

from pathlib import Path

from prometheus_client import generate_latest

from gateway.observe.metrics import DEFINITIONS, Metrics
from gateway.observe.reference import page
from gateway.observe.view import Bound, LaneGauge, QueueView, SinkGauge, View


def _page_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_every_method_moves_its_series() -> None:
    metrics = Metrics("1.2.3", ["google"])
    metrics.client_connected("submission")
    metrics.accepted("submission", "default", 3, 10_000)
    metrics.refused("submission", 550, "sender")
    metrics.attempted("s1", "google", "default", "deferred", "greylisted", 0.2)
    metrics.ended("google", "default", "expired", "greylisted")
    metrics.delivered("default", 12.0)
    metrics.connected("s1", "google", "tls")
    metrics.signed("rsa-sha256")
    metrics.asked_dns("hit")
    metrics.source_missing("s1", True)
    metrics.committed(8, 0.004)
    metrics.commit_failed("full")
    metrics.published("file", 5)
    metrics.reloaded("ok")
    metrics.log_lines_dropped(2)
    text = _page_of(metrics)
    for line in (
        'mailwright_build_info{version="1.2.3"} 1.0',
        'mailwright_client_connections{listener="submission"} 1.0',
        'mailwright_recipients_accepted_total{listener="submission",stream="default"} 3.0',
        'mailwright_octets_accepted_total{listener="submission",stream="default"} 10000.0',
        'mailwright_refusals_total{code="550",listener="submission",reason="sender"} 1.0',
        'mailwright_outcomes_total{category="greylisted",outcome="deferred",provider="google",stream="default"} 1.0',
        'mailwright_outcomes_total{category="greylisted",outcome="expired",provider="google",stream="default"} 1.0',
        'mailwright_attempts_total{provider="google",source="s1"} 1.0',
        'mailwright_commit_failures_total{result="full"} 1.0',
        'mailwright_commit_failures_total{result="broken"} 0.0',
        'mailwright_source_missing{source="s1"} 1.0',
        "mailwright_log_lines_dropped_total 2.0",
    ):
        assert line in text, line


def test_a_flood_of_unknown_providers_becomes_other() -> None:
    metrics = Metrics(providers=["google"], unnamed=2)
    for name in ("mx1.example", "mx2.example", "mx3.example", "mx4.example", "google", "mx1.example"):
        metrics.attempted("s1", name, "default", "delivered", "", 0.1)
    text = _page_of(metrics)
    assert 'mailwright_attempts_total{provider="other",source="s1"} 2.0' in text
    assert 'mailwright_attempts_total{provider="mx1.example",source="s1"} 2.0' in text
    assert 'mailwright_attempts_total{provider="google",source="s1"} 1.0' in text
    assert "mx3.example" not in text


def test_a_provider_that_left_the_queue_leaves_the_page() -> None:
    metrics = Metrics()
    metrics.show(
        View(
            queue=[QueueView("google", queued=7, leased=1, due=3, oldest=60.0)],
            lanes=[LaneGauge("s1", "google", connections=2, limit=5, suspended=True)],
            bounds=[Bound("windows", 10, 20_000)],
            spool={"wal": 4096},
            sinks=[SinkGauge("file", 2)],
            conditions={"disk": True},
        )
    )
    text = _page_of(metrics)
    for line in (
        'mailwright_queue_deliveries{provider="google",state="queued"} 7.0',
        'mailwright_queue_oldest_seconds{provider="google"} 60.0',
        'mailwright_lane_suspended{provider="google",source="s1"} 1.0',
        'mailwright_bound_limit{bound="windows"} 20000.0',
        'mailwright_spool_octets{part="wal"} 4096.0',
        'mailwright_condition_broken{condition="disk"} 1.0',
    ):
        assert line in text, line
    metrics.show(View())
    assert "google" not in _page_of(metrics)


def test_names_and_labels_follow_the_rules_of_the_house() -> None:
    names = [entry.name for entry in DEFINITIONS]
    assert len(names) == len(set(names))
    for entry in DEFINITIONS:
        assert entry.name.startswith("mailwright_")
        assert (entry.kind == "counter") == entry.name.endswith("_total")
        assert not {"account", "recipient", "campaign"} & set(entry.labels), "labels without a bound"


def test_the_metrics_page_is_what_the_definitions_say() -> None:
    assert Path("docs/metrics.md").read_text(encoding="utf-8") == page(), "run: make docs"
