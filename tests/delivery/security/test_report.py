"""TLS reports: figures, content, and the message (RFC 8460)."""

import email
import email.policy
import gzip
import json
from typing import Any

import pytest

from gateway.calls import TlsFacts, TlsFailure
from gateway.delivery.security.report import Sender, mail_address, message, places, report, web_place
from gateway.delivery.security.results import MOST_FAILURES, MOST_POLICIES, NO_SOURCE, Described, Results, Source, day_of
from mail.address import address_of

NOON = 1_795_867_200.0  # 2026-11-28, 12:00 UTC
DAY = 86_400.0
SENDER = Sender("gateway.test", "tls-reports@gateway.test", "postmaster@gateway.test")
HERE = Source("192.0.2.9", "2001:db8::9")
GOOD = TlsFacts("mta-sts", "certificate")
EXPIRED = TlsFailure("certificate-expired", "mx1.b.test", "192.0.2.1", "certificate has expired")
BAD = TlsFacts("mta-sts", "failed", (EXPIRED,))
SECOND = TlsFacts("mta-sts", "certificate", (EXPIRED,))
LINES = Described(("version: STSv1", "mode: enforce", "mx: *.b.test", "max_age: 86400"), ("*.b.test",))


def figures_of(results: Results, domain: str = "b.test", now: float = NOON) -> Any:
    return results.look(day_of(now), domain)


def test_a_session_counts_once_for_each_domain_and_a_failure_for_each_host() -> None:
    results = Results()
    for domain in ("b.test", "b.test", "c.test"):
        results.session(domain, GOOD, 1.0, HERE, lambda: LINES, NOON)
    results.session("b.test", SECOND, 2.0, HERE, lambda: LINES, NOON)
    results.session("b.test", BAD, 3.0, HERE, lambda: LINES, NOON)
    (of_b,) = figures_of(results)
    assert (of_b.successes, of_b.failed, [one.count for one in of_b.failures]) == (2, 2, [2])
    assert figures_of(results, "c.test")[0].successes == 1


def test_a_failure_names_the_address_of_the_family_it_was_met_by() -> None:
    results = Results()
    for number, address in enumerate(("192.0.2.1", "2001:db8::1", "")):
        failure = TlsFailure("certificate-expired", "mx1.b.test", address, "certificate has expired")
        results.session("b.test", TlsFacts("mta-sts", "failed", (failure,)), float(number), HERE, lambda: LINES, NOON)
    (figures,) = figures_of(results)
    assert [failure.source for failure in figures.failures] == ["192.0.2.9", "2001:db8::9", "192.0.2.9"]


def test_what_was_not_asked_by_the_domain_is_not_counted() -> None:
    results = Results()
    for policy in ("required", "verified", "requiretls"):
        results.session("b.test", TlsFacts(policy, "encrypted"), 1.0, NO_SOURCE, Described, NOON)
    assert len(results) == 0


def test_figures_survive_as_bytes_and_days_end() -> None:
    results = Results()
    results.session("b.test", BAD, 1.0, NO_SOURCE, lambda: LINES, NOON)
    restored = Results()
    restored.restore(results.export())
    assert restored.finished(NOON) == []
    assert restored.finished(NOON + DAY) == ["2026-11-28"]
    assert restored.domains("2026-11-28") == ["b.test"]
    restored.session("b.test", BAD, 1.0, NO_SOURCE, lambda: LINES, NOON)  # another session: numbers begin anew with the process
    (figures,) = restored.take("2026-11-28", "b.test")
    assert (figures.failed, figures.lines) == (2, LINES.lines)
    assert (len(restored), restored.finished(NOON + DAY)) == (0, [])


def test_figures_are_bounded() -> None:
    results = Results()
    for number in range(MOST_POLICIES + 10):
        results.session(f"d{number}.test", GOOD, 1.0, NO_SOURCE, Described, NOON)
    assert (len(results), results.dropped) == (MOST_POLICIES, 10)
    for number in range(MOST_FAILURES + 5):
        failure = TlsFailure("validation-failure", f"mx{number}.test", "", "")
        results.session("d1.test", TlsFacts("mta-sts", "failed", (failure,)), 2.0 + number, NO_SOURCE, Described, NOON)
    (figures,) = figures_of(results, "d1.test")
    assert (len(figures.failures), figures.failed) == (MOST_FAILURES, MOST_FAILURES + 5)
    for day in range(1, 6):
        results.discovery("e.test", EXPIRED, NOON + day * DAY)
    assert results.finished(NOON + 10 * DAY) == ["2026-12-01", "2026-12-02", "2026-12-03"]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=TLSRPTv1; rua=mailto:reports@b.test"], ["mailto:reports@b.test"]),
        (["v=TLSRPTv1;rua=mailto:a@b.test,https://b.test/tls"], ["mailto:a@b.test", "https://b.test/tls"]),
        (["v=TLSRPTv1; rua=ftp://b.test/"], []),
        (["v=TLSRPTv1"], []),
        (["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"], []),
        (["v=TLSRPTv10; rua=mailto:a@b.test"], []),
        (["v=TLSRPTv1; rua=" + ",".join(["mailto:a@b.test"] * 20)], ["mailto:a@b.test"] * 5),
        ([], []),
    ],
)
def test_places_of_reports(texts: list[str], found: list[str]) -> None:
    assert places(texts) == found


def test_addresses_of_places() -> None:
    address = mail_address("mailto:tls%2Breports@b.test?subject=x")
    assert address is not None
    assert str(address) == "tls+reports@b.test"
    assert mail_address("mailto:nobody") is None
    assert mail_address("mailto:a%0d%0aBcc:x@b.test") is None
    assert web_place("https://b.test/v1/tls?x=1") == ("b.test", 443, "/v1/tls?x=1")
    assert web_place("https://b.test:8443") == ("b.test", 8443, "/")
    for bad in ("https://", "http://b.test/", "https://b.test/a b", "https://b.test:99999/", "https://b.test/\r\nX: y"):
        assert web_place(bad) is None


def test_a_report_says_what_the_standard_wants() -> None:
    results = Results()
    results.session("b.test", SECOND, 1.0, HERE, lambda: LINES, NOON)
    made = report(SENDER, "b.test", "2026-11-28", figures_of(results))
    assert json.loads(gzip.decompress(made.content)) == {
        "organization-name": "gateway.test",
        "date-range": {"start-datetime": "2026-11-28T00:00:00Z", "end-datetime": "2026-11-28T23:59:59Z"},
        "contact-info": "postmaster@gateway.test",
        "report-id": "2026-11-28.b.test@gateway.test",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(LINES.lines),
                    "policy-domain": "b.test",
                    "mx-host": ["*.b.test"],
                },
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 1},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "192.0.2.9",
                        "receiving-mx-hostname": "mx1.b.test",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 1,
                        "failure-reason-code": "certificate has expired",
                    }
                ],
            }
        ],
    }


def test_the_message_carries_it() -> None:
    results = Results()
    results.session("b.test", GOOD, 1.0, NO_SOURCE, lambda: LINES, NOON)
    made = report(SENDER, "b.test", "2026-11-28", figures_of(results))
    recipient = address_of("reports@b.test")
    assert recipient is not None
    raw = message(SENDER, made, recipient)
    assert all(len(line) <= 998 and b"\n" not in line for line in raw.split(b"\r\n"))
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert read.get_content_type() == "multipart/report"
    assert read.get_param("report-type") == "tlsrpt"
    assert (read["TLS-Report-Domain"], read["TLS-Report-Submitter"], read["TLS-Required"]) == ("b.test", "gateway.test", "No")
    assert read["Subject"] == "Report Domain: b.test Submitter: gateway.test Report-ID: <2026-11-28.b.test@gateway.test>"
    parts = list(read.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "application/tlsrpt+gzip"]
    assert parts[1].get_filename() == "gateway.test!b.test!1795824000!1795910399.json.gz"
    assert parts[1].get_payload(decode=True) == made.content
