"""The watcher carries the doors' facts to metrics and log without a hitch."""

from prometheus_client import generate_latest

from gateway.doors.observer import Watcher
from gateway.observe.metrics import Metrics
from mail.reply import Reply


def test_every_fact_can_be_told() -> None:
    metrics = Metrics()
    conditions: list[tuple[str, str | None]] = []
    watcher = Watcher(metrics, lambda name, why: conditions.append((name, why)))
    watcher.unopened("in", "address in use")
    watcher.listening("in", "127.0.0.1:25", "none")
    assert conditions == [("listener-in", "address in use"), ("listener-in", None)]
    watcher.connected("in", "127.0.0.1")
    watcher.refused("in", "127.0.0.1", "app", "MAIL", "sender", Reply(550, "no", "5.7.1"))
    watcher.cut("in", "127.0.0.1", "app", "command-timeout")
    watcher.logins_blocked("in", "127.0.0.1", 10, 90.0)
    watcher.unknown_stream("app", "nonsense", "default")
    watcher.label_ignored("app", "X-Tags", "tags", "many")
    watcher.certificate("in", "file", "")
    watcher.certificate("in", "file", "bad")
    watcher.trouble("in", ValueError("x"))
    page = generate_latest(metrics.registry).decode()
    assert 'mailwright_client_connections{listener="in"} 1.0' in page
    assert 'mailwright_refusals_total{code="550",listener="in",reason="sender"} 1.0' in page
    assert 'mailwright_labels_ignored_total{label="tags",why="many"} 1.0' in page
    watcher.left("in", "127.0.0.1")
    assert 'mailwright_client_connections{listener="in"} 0.0' in generate_latest(metrics.registry).decode()
