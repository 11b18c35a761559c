"""Reports an hour, for an account and for an address."""

from gateway.notices import allowance
from gateway.notices.allowance import Allowance

NOW = 1_800_000_000.0
HOUR = 3600.0


def test_an_address_gets_a_burst_and_then_its_rate() -> None:
    allowed = Allowance(1000 / HOUR, 100 / HOUR)
    assert sum(allowed.take("shop", "a@shop.example", NOW) for _ in range(500)) == 10
    assert allowed.take("shop", "b@shop.example", NOW)
    assert sum(allowed.take("shop", "a@shop.example", NOW + second) for second in range(1, 3601)) in (99, 100)


def test_an_account_has_a_limit_over_all_its_addresses_and_others_are_not_touched() -> None:
    allowed = Allowance(100 / HOUR, 100 / HOUR)
    assert sum(allowed.take("shop", f"{number}@shop.example", NOW) for number in range(500)) == 10
    assert allowed.take("bank", "1@shop.example", NOW)


def test_a_refusal_by_one_limit_takes_no_token_of_the_other() -> None:
    allowed = Allowance(200 / HOUR, 10 / HOUR)
    assert [allowed.take("shop", "a@shop.example", NOW) for _ in range(5)] == [True] + [False] * 4
    assert sum(allowed.take("shop", f"{number}@shop.example", NOW) for number in range(100)) == 19


def test_a_report_that_could_not_go_counts_as_never_taken() -> None:
    allowed = Allowance(10 / HOUR, 10 / HOUR)
    for _ in range(20):
        assert allowed.take("shop", "a@shop.example", NOW)
        allowed.give_back("shop", "a@shop.example")
    allowed.give_back("bank", "b@bank.example")
    assert [allowed.take("shop", "a@shop.example", NOW) for _ in range(2)] == [True, False]


def test_what_is_remembered_is_bounded() -> None:
    allowed = Allowance(1e9, 1e9)
    for number in range(allowance.MOST + 100):
        allowed.take("shop", f"{number}@shop.example", NOW)
    assert len(allowed) == allowance.MOST
