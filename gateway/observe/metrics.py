"""Every metric of the gateway, in one place: what it is called, what it counts, and the one method that moves it.

`DEFINITIONS` is the whole list; docs/metrics.md is printed from it. Callers say what happened (`accepted`, `attempted`, `committed` …) and
never touch a Prometheus object. Two kinds of number exist: counters and histograms, moved as things happen (their label children are
cached, about 0.3 us a step), and the *view*, a snapshot of queue, lanes and bounds that the core replaces every few seconds, so that a
provider that has left the queue leaves the page too.

The number of series is bounded: accounts are never a label, and of providers that no configuration names only the first `unnamed` get their
own; the rest count as "other". Moving a metric never raises and never blocks.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from gateway.calls import TlsFacts
from gateway.observe.view import View, ViewCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # the time at which each series began: twice the page for nothing that anybody asks

OTHER = "other"
"""The provider label of providers beyond the bound."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0)
_MANY = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Definition(msgspec.Struct, frozen=True):
    """One metric. `kind` is counter, gauge, histogram or view (a gauge taken from the last snapshot)."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


DEFINITIONS: tuple[Definition, ...] = (
    Definition("mailwright_build_info", "gauge", "Always 1; the version is the label.", ("version",)),
    Definition("mailwright_client_connections", "gauge", "Open connections of clients.", ("listener",)),
    Definition("mailwright_messages_accepted_total", "counter", "Messages on disk and answered 250.", ("listener", "stream")),
    Definition(
        "mailwright_recipients_accepted_total", "counter", "Recipients of these messages: deliveries begun.", ("listener", "stream")
    ),
    Definition(
        "mailwright_recipients_repeated_total",
        "counter",
        "Recipients answered 250 and not queued, for they were accepted before under the same idempotency key.",
        ("stream", "body"),
    ),
    Definition("mailwright_octets_accepted_total", "counter", "Octets of these messages.", ("listener", "stream")),
    Definition("mailwright_refusals_total", "counter", "Commands and messages refused at our doors.", ("listener", "code", "reason")),
    Definition("mailwright_labels_ignored_total", "counter", "Labels that were not taken, wholly or in part.", ("label", "why")),
    Definition("mailwright_attempts_total", "counter", "Attempts ended, whatever their end.", ("source", "provider")),
    Definition(
        "mailwright_attempt_seconds", "histogram", "Duration of an attempt, from MAIL to its end.", ("provider",), (*_SECONDS, 30.0, 60.0)
    ),
    Definition(
        "mailwright_outcomes_total",
        "counter",
        "Outcomes: delivered, deferred, failed, unsure of attempts; expired, cancelled and suppressed of deliveries.",
        ("provider", "stream", "outcome", "category"),
    ),
    Definition("mailwright_delivery_seconds", "histogram", "Time from acceptance to delivery.", ("stream",), _LONG),
    Definition("mailwright_connections_total", "counter", "Connections to next hops, by how they began.", ("source", "provider", "result")),
    Definition(
        "mailwright_tls_sessions_total",
        "counter",
        "Connections of which more than opportunistic TLS was asked, by what asked (MTA-STS, DANE, REQUIRETLS, the configuration) and how "
        "they were protected; `failed`: none was made, for want of that.",
        ("provider", "policy", "result"),
    ),
    Definition(
        "mailwright_tls_failures_total",
        "counter",
        "Hosts whose TLS was not as asked, by what asked and result type of RFC 8460.",
        ("policy", "result"),
    ),
    Definition("mailwright_mta_sts_fetches_total", "counter", "MTA-STS policies fetched: ok, or what was wrong.", ("result",)),
    Definition("mailwright_tls_reports_total", "counter", "TLS reports: sent, posted, unwanted or trouble.", ("result",)),
    Definition(
        "mailwright_source_missing", "gauge", "1 while this machine does not have the address of a source: its lanes rest.", ("source",)
    ),
    Definition("mailwright_signatures_total", "counter", "DKIM signatures made.", ("algorithm",)),
    Definition("mailwright_dns_questions_total", "counter", "Questions to our DNS cache, by where the answer came from.", ("result",)),
    Definition("mailwright_commit_seconds", "histogram", "Duration of a commit with its fsync.", (), _SECONDS),
    Definition("mailwright_commit_size", "histogram", "Messages and outcomes in one commit.", (), _MANY),
    Definition(
        "mailwright_commit_failures_total", "counter", "Commits that failed: `full` wrote nothing, `broken` is unknown.", ("result",)
    ),
    Definition("mailwright_events_published_total", "counter", "Events written to a sink.", ("sink",)),
    Definition("mailwright_events_failures_total", "counter", "Tries to write events to a sink that failed.", ("sink",)),
    Definition(
        "mailwright_events_lost_total",
        "counter",
        "Events a sink did not get: `dead` became dead letters, `bound` were passed over at events.waiting, `damaged` are no events.",
        ("sink", "why"),
    ),
    Definition("mailwright_statements_refused_total", "counter", "Your own statements that the contact database refused for one event."),
    Definition("mailwright_replica_changes_total", "counter", "Changes of the suppression table taken into this gateway's view."),
    Definition("mailwright_notices_total", "counter", "Reports to senders: `sent`, or dropped and why.", ("action", "result")),
    Definition("mailwright_reloads_total", "counter", "Reloads of the configuration.", ("result",)),
    Definition("mailwright_log_lines_dropped_total", "counter", "Log lines dropped because standard error did not take them."),
    Definition("mailwright_queue_deliveries", "view", "Deliveries in the queue, on disk.", ("provider", "state")),
    Definition("mailwright_queue_due", "view", "Deliveries in the queue whose time has come.", ("provider",)),
    Definition("mailwright_queue_oldest_seconds", "view", "Age of the oldest delivery in the queue.", ("provider",)),
    Definition("mailwright_lane_connections", "view", "Open connections of a lane.", ("source", "provider")),
    Definition("mailwright_lane_connections_limit", "view", "Connections a lane may have.", ("source", "provider")),
    Definition("mailwright_lane_suspended", "view", "1 while a lane is suspended or held.", ("source", "provider")),
    Definition("mailwright_bound_used", "view", "Used part of every queue, cache, pool and buffer, in its own unit.", ("bound",)),
    Definition("mailwright_bound_limit", "view", "The bound of the same.", ("bound",)),
    Definition("mailwright_spool_octets", "view", "Sizes of the spool: database, wal, free space of its disk.", ("part",)),
    Definition("mailwright_events_waiting", "view", "Events on disk that a sink has not taken yet.", ("sink",)),
    Definition("mailwright_events_oldest_seconds", "view", "Age of the oldest event that a sink has not taken.", ("sink",)),
    Definition(
        "mailwright_events_caught_up_ratio", "view", "How much of its largest backlog, since it last had none, a sink has taken.", ("sink",)
    ),
    Definition("mailwright_events_failing", "view", "1 while the last try of a sink failed; `mailwright status` says why.", ("sink",)),
    Definition("mailwright_dead_letters", "view", "Requests to a webhook that were given up and are kept.", ("sink",)),
    Definition(
        "mailwright_account_quotas", "view", "Accounts that have a quota (`limited`), and have used it up (`exhausted`).", ("state",)
    ),
    Definition("mailwright_condition_broken", "view", "1 while a condition of /readyz is broken.", ("condition",)),
)


class Metrics:
    """All metrics, on a registry of their own. Methods may be called from any thread."""

    def __init__(self, version: str = "", providers: Iterable[str] = (), unnamed: int = 50) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._named = set(providers)
        self._room = unnamed
        self._children: dict[tuple[str, ...], Any] = {}
        self._metrics: dict[str, Any] = {entry.name: self._make(entry) for entry in DEFINITIONS if entry.kind != "view"}
        self._view = ViewCollector((entry.name, entry.help, entry.labels) for entry in DEFINITIONS if entry.kind == "view")
        self.registry.register(self._view)
        ProcessCollector(registry=self.registry)
        self._child("mailwright_build_info", version).set(1)
        for result in ("ok", "refused"):  # an alert on a rate needs the series before its first step
            self._child("mailwright_reloads_total", result)
        for result in ("full", "broken"):
            self._child("mailwright_commit_failures_total", result)

    def _make(self, entry: Definition) -> Any:
        if entry.kind == "histogram":
            return Histogram(entry.name, entry.help, entry.labels, registry=self.registry, buckets=entry.buckets)
        return {"counter": Counter, "gauge": Gauge}[entry.kind](entry.name, entry.help, entry.labels, registry=self.registry)

    def _child(self, *key: str) -> Any:
        """The child with these labels; `key` is the metric's name and its label values."""
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[key[0]]
            child = self._children[key] = metric.labels(*key[1:]) if len(key) > 1 else metric
        return child

    def provider(self, name: str) -> str:
        """`name`, or "other" when too many providers without a configuration already have a label."""
        if name in self._named:
            return name
        if self._room <= 0:
            return OTHER
        self._room -= 1
        self._named.add(name)
        return name

    def name_providers(self, providers: Iterable[str]) -> None:
        """These always have their own label: called again after a reload."""
        self._named.update(providers)

    # The doors.

    def client_connected(self, listener: str) -> None:
        """A client's connection was accepted."""
        self._child("mailwright_client_connections", listener).inc()

    def client_left(self, listener: str) -> None:
        """A client's connection ended."""
        self._child("mailwright_client_connections", listener).dec()

    def accepted(self, listener: str, stream: str, recipients: int, size: int) -> None:
        """A message is on disk and was answered 250."""
        self._child("mailwright_messages_accepted_total", listener, stream).inc()
        self._child("mailwright_recipients_accepted_total", listener, stream).inc(recipients)
        self._child("mailwright_octets_accepted_total", listener, stream).inc(size)

    def refused(self, listener: str, code: int, reason: str) -> None:
        """Something was refused. `reason` is a word of ours, never a client's text: it is a label."""
        self._child("mailwright_refusals_total", listener, str(code), reason).inc()

    def repeated(self, stream: str, recipients: int, differs: bool) -> None:
        """Recipients were accepted before under the same idempotency key, with the same body or another."""
        self._child("mailwright_recipients_repeated_total", stream, "another" if differs else "same").inc(recipients)

    def label_ignored(self, label: str, why: str) -> None:
        """A label was not taken, wholly or in part. Both are words of ours."""
        self._child("mailwright_labels_ignored_total", label, why).inc()

    # The way out.

    def attempted(self, source: str, provider: str, stream: str, outcome: str, category: str, seconds: float) -> None:
        """An attempt ended. `category` is "" when delivered."""
        provider = self.provider(provider)
        self._child("mailwright_attempts_total", source, provider).inc()
        self._child("mailwright_attempt_seconds", provider).observe(seconds)
        self._child("mailwright_outcomes_total", provider, stream, outcome, category).inc()

    def ended(self, provider: str, stream: str, outcome: str, category: str) -> None:
        """A delivery ended by time or by decision: expired (after its last attempt too), cancelled, suppressed."""
        self._child("mailwright_outcomes_total", self.provider(provider), stream, outcome, category).inc()

    def delivered(self, stream: str, seconds: float) -> None:
        """A delivery ended well, `seconds` after its acceptance."""
        self._child("mailwright_delivery_seconds", stream).observe(seconds)

    def connected(self, source: str, provider: str, result: str) -> None:
        """A connection was opened (`plain`, `tls`) or could not be (`failed`)."""
        self._child("mailwright_connections_total", source, self.provider(provider), result).inc()

    def secured(self, provider: str, facts: TlsFacts) -> None:
        """Something was asked of a connection's TLS, and this came of it."""
        self._child("mailwright_tls_sessions_total", self.provider(provider), facts.policy, facts.result).inc()
        for failure in facts.failures:
            self._child("mailwright_tls_failures_total", facts.policy, failure.result).inc()

    def sts_fetched(self, result: str) -> None:
        """An MTA-STS policy was fetched (`ok`), or could not be had (a result type of RFC 8460)."""
        self._child("mailwright_mta_sts_fetches_total", result).inc()

    def tls_reported(self, result: str) -> None:
        """A TLS report was sent, posted, is unwanted, or met trouble."""
        self._child("mailwright_tls_reports_total", result).inc()

    def source_missing(self, source: str, missing: bool) -> None:
        """This machine does not have a source's address, or has it again."""
        self._child("mailwright_source_missing", source).set(missing)

    def signed(self, algorithm: str) -> None:
        """A signature was made."""
        self._child("mailwright_signatures_total", algorithm).inc()

    def asked_dns(self, result: str) -> None:
        """A question to the cache: `hit`, `joined` (another waited already), `asked`; and what asking came to: `stale` or `trouble`."""
        self._child("mailwright_dns_questions_total", result).inc()

    # The core.

    def committed(self, size: int, seconds: float) -> None:
        """A commit of `size` messages and outcomes is on disk."""
        self._child("mailwright_commit_size").observe(size)
        self._child("mailwright_commit_seconds").observe(seconds)

    def commit_failed(self, result: str) -> None:
        """A commit failed: `full` or `broken`."""
        self._child("mailwright_commit_failures_total", result).inc()

    def published(self, sink: str, events: int) -> None:
        """Events reached a sink."""
        self._child("mailwright_events_published_total", sink).inc(events)

    def sink_known(self, sink: str) -> None:
        """There is such a sink: an alert on a rate needs its series before their first step."""
        for why in ("dead", "bound", "damaged"):
            self._child("mailwright_events_lost_total", sink, why)
        self._child("mailwright_events_failures_total", sink)

    def publishing_failed(self, sink: str) -> None:
        """A try to write events to a sink failed."""
        self._child("mailwright_events_failures_total", sink).inc()

    def events_lost(self, sink: str, why: str, events: int) -> None:
        """A sink does not get these: `dead`, `bound` or `damaged`."""
        self._child("mailwright_events_lost_total", sink, why).inc(events)

    def statements_refused(self, count: int) -> None:
        """The contact database refused statements of the customer's."""
        self._child("mailwright_statements_refused_total").inc(count)

    def replicated(self, changes: int) -> None:
        """Changes of the suppression table are in the view."""
        self._child("mailwright_replica_changes_total").inc(changes)

    def told(self, action: str, result: str) -> None:
        """A report to a sender was accepted by ourselves (`sent`), or dropped."""
        self._child("mailwright_notices_total", action, result).inc()

    def reloaded(self, result: str) -> None:
        """The configuration was read again: `ok` or `refused`."""
        self._child("mailwright_reloads_total", result).inc()

    def log_lines_dropped(self, lines: int) -> None:
        """The log could not be written."""
        self._child("mailwright_log_lines_dropped_total").inc(lines)

    def show(self, view: View) -> None:
        """Replace the snapshot."""
        self._view.view = view
