"""What a real run leaves on /metrics, /readyz and in the log: every number that should have moved has moved, and to the right value."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.compose.generate import generate
from gateway.observe.metrics import DEFINITIONS
from mail.event import EventKind
from sandbox.scenario import Mailboxes
from tests.end_to_end.house import GROUND, House, internet, letter, serving

CONFIGURATION = (
    GROUND
    + """
[[account]]
name = "default"
domains = ["shop.test", "keyless.test"]
[[domain]]
name = "shop.test"
dkim = [{ selector = "s1", file = "keys/shop.test.s1.pem" }]
[[domain]]
name = "keyless.test"
without_key = "refuse"
[[source]]
name = "here"
address = "127.7.41.1"
[[source]]
name = "away"
address = "192.0.2.77"
[[stream]]
name = "default"
[[stream]]
name = "elsewhere"
pool = "elsewhere"
[[pool]]
name = "default"
members = { here = 1 }
[[pool]]
name = "elsewhere"
members = { away = 1 }
"""
)

READERS = [Mailboxes(name="readers", domains=["readers.test"])]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    generate("shop.test", "s1", "rsa-sha256", 2048, folder / "keys")
    with internet(READERS) as (_, addresses), serving(House(folder, addresses, CONFIGURATION)) as house:
        with house.client() as client:
            for number in range(3):
                client.sendmail("news@shop.test", [f"r{number}@readers.test"], letter(f"r{number}@readers.test", sender="news@shop.test"))
            client.sendmail("news@shop.test", ["late@readers.test"], letter("late@readers.test", sender="a@shop.test", stream="elsewhere"))
            assert client.docmd("NONSENSE")[0] == 500
        yield house


def _page(house: House) -> dict[str, float]:
    """Series to value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{house.http}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {series: float(value) for series, value in re.findall(r"^(mailwright_[^ ]+) (\S+)$", text, re.M)}


def test_every_number_that_should_have_moved_has_moved(house: House) -> None:
    for number in range(3):
        assert house.ended(f"r{number}@readers.test")[-1].kind is EventKind.DELIVERED
    events = 3 * 2 + 1
    page = house.until(
        lambda: [page for page in [_page(house)] if page.get('mailwright_events_published_total{sink="ndjson"}') == events], "events"
    )[0]
    assert page['mailwright_recipients_accepted_total{listener="submission",stream="default"}'] == 3
    assert page['mailwright_signatures_total{algorithm="rsa-sha256"}'] == 3
    assert page['mailwright_outcomes_total{category="",outcome="delivered",provider="readers.test",stream="default"}'] == 3
    assert page['mailwright_attempts_total{provider="readers.test",source="here"}'] == 3
    assert page['mailwright_delivery_seconds_count{stream="default"}'] == 3
    assert page['mailwright_refusals_total{code="500",listener="submission",reason="protocol"}'] == 1
    assert (
        sum(value for series, value in page.items() if series.startswith("mailwright_connections_total") and 'source="here"' in series) >= 1
    )
    assert page["mailwright_commit_seconds_count"] >= 1
    assert any(series.startswith("mailwright_dns_questions_total") for series in page)


def test_a_source_without_its_address_rests_is_told_once_and_alarms(house: House) -> None:
    series = 'mailwright_lane_suspended{provider="readers.test",source="away"}'
    page = house.until(lambda: [page for page in [_page(house)] if page.get(series) == 1.0], "the lane to rest")[0]
    assert page['mailwright_source_missing{source="away"}'] == 1.0
    (line,) = house.logged("source address missing")
    assert (line["source"], line["level"]) == ("away", "error")
    assert house.history("late@readers.test")[-1].kind is EventKind.ACCEPTED, "no step of its schedule is used up"
    (rest,) = house.until(lambda: house.logged("lane suspended"), "the line")
    assert "192.0.2.77" in rest["why"]


def test_every_series_on_the_page_is_defined(house: House) -> None:
    names = {entry.name for entry in DEFINITIONS}
    for series in _page(house):
        name = series.partition("{")[0]
        assert name in names or re.sub(r"_(bucket|sum|count)$", "", name) in names


def test_mail_that_must_have_a_key_and_has_none_hears_it_at_the_door(house: House) -> None:
    with house.client() as client:
        client.mail("a@keyless.test")
        client.rcpt("r9@readers.test")
        code, words = client.data(letter("r9@readers.test", sender="a@keyless.test"))
    assert (code, words[:5]) == (550, b"5.7.1")
    assert house.history("r9@readers.test") == []
