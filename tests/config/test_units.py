"""Units: what people write, and that it is printed as they would write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.units import (
    check_domain_pattern,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
    split_host_port,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h 30m", 5400), ("5d", 432_000), ("250ms", 0.25), (7, 7), ("2 w", 1_209_600), ("0s", 0)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 parsecs", "s", "-1s", "1h30", True, -1, None, "1" * 400])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "octets"), [("50MB", 50_000_000), ("64KiB", 65_536), (1024, 1024), ("1.5 kB", 1500), ("7", 7)])
def test_sizes(text: object, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "50 MBit", -1, True, 1.5, "MB"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "rate"), [("100/min", 100 / 60), ("3600/h", 1.0), (5, 5.0), ("1/day", 1 / 86_400)])
def test_rates(text: object, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "fast", "1/fortnight", 0, True])
def test_what_is_no_rate(text: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


@given(st.integers(1, 10**9))
def test_what_is_printed_is_read_back(value: int) -> None:
    assert parse_duration(format_duration(float(value))) == value
    assert parse_size(format_size(value)) == value
    assert parse_rate(format_rate(value / 60)) == pytest.approx(value / 60, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:25", ("127.0.0.1", 25)), ("[::1]:0", ("::1", 0)), ("192.0.2.1", ("192.0.2.1", 53)), ("::1", ("::1", 53))],
)
def test_addresses_with_ports(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text, 53) == expected


@pytest.mark.parametrize("text", ["", "localhost:25", "127.0.0.1:", "127.0.0.1:65536", "[::1:25", "[::1]25", "127.0.0.1", "1.2.3.4:٢"])
def test_what_is_no_address_with_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="IP address and port"):
        split_host_port(text)


def test_a_leading_dot_and_a_star_mean_the_same() -> None:
    assert check_domain_pattern(".Example.com") == check_domain_pattern("*.example.com") == "*.example.com"
    assert check_domain_pattern("Bücher.example") == "xn--bcher-kva.example"
    for text in ("", "*", "*.", "a b.example", "[192.0.2.1]"):
        with pytest.raises(ValueError, match="domain name"):
            check_domain_pattern(text)
