"""What sessions tell becomes metrics and lines: once for each fact."""

from prometheus_client import generate_latest

from gateway.delivery.attempt import Own, own
from gateway.delivery.watcher import SessionWatcher
from gateway.observe.metrics import Metrics
from mail.outcome import Phase, Verdict
from tests.delivery.stage import verdict_of


def _trouble(why: Own) -> Verdict:
    return verdict_of(own(why, "said so", Phase.CONNECT))


def test_a_missing_source_address_is_shown_until_a_connection_is_made_from_it() -> None:
    metrics = Metrics()
    watcher = SessionWatcher(metrics)

    def page() -> str:
        return generate_latest(metrics.registry).decode()

    watcher.unconnected("s1", "google", _trouble(Own.SOURCE))
    watcher.unconnected("s1", "google", _trouble(Own.SOURCE))
    watcher.unconnected("s2", "google", _trouble(Own.CONNECT))
    assert 'mailwright_source_missing{source="s1"} 1.0' in page()
    assert 'mailwright_source_missing{source="s2"}' not in page()
    assert 'mailwright_connections_total{provider="google",result="failed",source="s1"} 2.0' in page()
    watcher.connected("s1", "google", "tls")
    assert 'mailwright_source_missing{source="s1"} 0.0' in page()
    watcher.unconnected("s1", "google", _trouble(Own.SOURCE))
    watcher.reconfigured()
    assert 'mailwright_source_missing{source="s1"} 0.0' in page()


def test_every_fact_can_be_told() -> None:
    watcher = SessionWatcher(Metrics())
    watcher.no_overlap("mx.example", "one reply too many")
    watcher.faulted("compose", ValueError("x"))
