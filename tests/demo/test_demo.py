"""`mailwright demo` whole: a real gateway, a real sandbox, and two books that agree."""

import json

import pytest

from gateway.demo import DemoError, Ledger, run
from mail.event import Event, EventKind, seal


def _line(kind: EventKind, delivery: str, recipient: str = "a@p.test", code: int = 0) -> bytes:
    return seal(Event(id=f"{delivery}.1", kind=kind, at=1.0, recipient=recipient, delivery=delivery, code=code))


def test_a_ledger_adds_up_by_provider_and_counts_an_expired_deliverys_last_attempt_as_a_deferral() -> None:
    ledger = Ledger({"p.test": "p"})
    for delivery in ("1", "2", "3"):
        ledger.read(_line(EventKind.ACCEPTED, delivery))
    ledger.read(_line(EventKind.DEFERRED, "1", code=450))
    ledger.read(_line(EventKind.DELIVERED, "1", code=250))
    ledger.read(_line(EventKind.EXPIRED, "2", code=452))
    ledger.read(_line(EventKind.BOUNCED, "3", code=550))
    ledger.read(_line(EventKind.ACCEPTED, "4", "a@elsewhere.test"))
    figures = ledger.figures["p"]
    assert (figures.accepted, figures.delivered, figures.bounced, figures.expired, figures.deferrals) == (3, 1, 1, 1, 2)
    assert (ledger.accepted, ledger.ended) == (4, 3)


def test_a_delivery_that_ends_twice_is_no_result() -> None:
    ledger = Ledger({})
    ledger.read(_line(EventKind.DELIVERED, "1"))
    with pytest.raises(DemoError, match="ended twice"):
        ledger.read(_line(EventKind.BOUNCED, "1"))


@pytest.mark.slow
def test_the_demo_runs_and_every_number_agrees_with_what_the_providers_counted(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(messages=150, json_output=True, keep=False) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["agrees"] is True
    assert result["accepted"] == 150 == result["delivered"] + result["bounced"] + result["expired"]
    assert result["deferrals"] > 0
    assert all(set(each) >= {"accepted", "delivered", "bounced", "expired"} for each in result["providers"].values())
