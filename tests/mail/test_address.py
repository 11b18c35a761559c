"""Addresses and the normal form of a domain: what is one, what is not, and that any text is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.address import MAX_ADDRESS, NULL_SENDER, address_of, normalise_domain


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("ann@Example.COM", "example.com"),
        ("ann+tag@example.com.", "example.com"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("ann@straße.example", "xn--strae-oqa.example"),
        ("ann@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ('"a b@c"@example.com', "example.com"),
        ("жена@example.com", "example.com"),
        ("ann@[192.0.2.1]", "[192.0.2.1]"),
        ("o'hara!#$%&*/=?^_`{|}~@example.com", "example.com"),
        (f"{'a' * 64}@example.com", "example.com"),
    ],
)
def test_the_text_is_kept_and_the_domain_is_normal(text: str, domain: str) -> None:
    address = address_of(text)
    assert address is not None
    assert (address.text, address.domain, str(address)) == (text, domain, text)
    assert f"{address.local}@{text.rpartition('@')[2]}" == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@.",
        "ann@exa mple.com",
        "a b@example.com",
        "<ann@example.com>",
        "ann\r\n@example.com",
        "ann\x00@example.com",
        '"ann\n"@example.com',
        "ann@-example.com",
        "ann@example-.com",
        "ann@a..b",
        "ann@" + "a" * 64 + ".com",
        "a" * 65 + "@example.com",
        "ann@" + ".".join(["a" * 60] * 5),
        "ann@[192.0.2.1",
        "ann,bob@example.com",
        "\ud800@example.com",
    ],
)
def test_what_cannot_be_an_address(text: str) -> None:
    assert address_of(text) is None


def test_a_null_sender_has_nothing() -> None:
    assert (NULL_SENDER.text, NULL_SENDER.domain, NULL_SENDER.local) == ("", "", "")


@given(st.text())
def test_any_text_is_answered_and_a_normal_form_stays_as_it_is(text: str) -> None:
    normal = normalise_domain(text)
    if normal is not None:
        assert normal.isascii() or normal.startswith("[")
        assert normalise_domain(normal) == normal
    address = address_of(text)
    assert address is None or len(address.text.encode()) <= MAX_ADDRESS


@given(st.text(), st.text())
def test_what_is_taken_has_no_character_that_could_end_a_command(local: str, domain: str) -> None:
    address = address_of(f"{local}@{domain}")
    if address is not None:
        assert not any(character in address.text for character in "\r\n\x00")
