"""Tokens come back as they went, survive case folding, and nothing else is taken for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail.token import SHORT_LENGTH, Purpose, Sealed, TokenKey, TokenKeys, day_of, read_short, seal, short, unseal

KEYS = TokenKeys((TokenKey("a", b"k" * 32),))
OTHER = TokenKeys((TokenKey("a", b"o" * 32),))
ROTATED = KEYS.with_new(b"n" * 32)
DELIVERY = 3_141_592_653_589_793
DAY = 20_000
LETTER = Sealed("shop", "marketing", "news", DELIVERY, "a@example.org")


def test_a_short_token_has_35_characters_that_survive_case_folding() -> None:
    token = short(KEYS, DELIVERY, DAY)
    assert len(token) == SHORT_LENGTH == 35
    assert token == token.lower()
    assert token.startswith("b+a")
    assert read_short(KEYS, token, DAY, 30) == DELIVERY
    assert read_short(KEYS, token.upper(), DAY, 30) == DELIVERY


@pytest.mark.parametrize(("today", "good"), [(DAY - 2, False), (DAY - 1, True), (DAY, True), (DAY + 30, True), (DAY + 31, False)])
def test_a_short_token_is_good_for_its_window(today: int, good: bool) -> None:
    assert (read_short(KEYS, short(KEYS, DELIVERY, DAY), today, 30) == DELIVERY) is good


def test_the_day_may_wrap() -> None:
    day = 3 * 32_768 - 1
    assert read_short(KEYS, short(KEYS, DELIVERY, day), day + 10, 30) == DELIVERY
    assert read_short(KEYS, short(KEYS, DELIVERY, day), day + 31, 30) is None


def test_a_changed_character_anywhere_is_noticed() -> None:
    token = short(KEYS, DELIVERY, DAY)
    for place in range(SHORT_LENGTH):
        for letter in "a7+é\u212a":
            changed = token[:place] + letter + token[place + 1 :]
            assert changed == token or read_short(KEYS, changed, DAY, 30) is None


def test_another_secret_reads_nothing() -> None:
    assert read_short(OTHER, short(KEYS, DELIVERY, DAY), DAY, 30) is None
    assert unseal(OTHER, Purpose.UNSUBSCRIBE, seal(KEYS, Purpose.UNSUBSCRIBE, LETTER)) is None


def test_a_retired_key_reads_and_no_longer_writes() -> None:
    assert read_short(ROTATED, short(KEYS, DELIVERY, DAY), DAY, 30) == DELIVERY
    assert unseal(ROTATED, Purpose.REPLY, seal(KEYS, Purpose.REPLY, LETTER)) == LETTER
    assert short(ROTATED, DELIVERY, DAY)[2] == "b"
    assert read_short(KEYS, short(ROTATED, DELIVERY, DAY), DAY, 30) is None


def test_a_set_without_a_key_in_use_does_not_write() -> None:
    with pytest.raises(ValueError, match="retired"):
        short(TokenKeys((TokenKey("a", b"k" * 32, retired=True),)), DELIVERY, DAY)
    with pytest.raises(ValueError, match="octets"):
        KEYS.with_new(b"short")
    full = TokenKeys(())
    for _ in range(32):
        full = full.with_new(b"k" * 32)
    with pytest.raises(ValueError, match="32"):
        full.with_new(b"k" * 32)


def test_a_sealed_token_serves_only_its_purpose() -> None:
    token = seal(KEYS, Purpose.UNSUBSCRIBE, LETTER)
    assert unseal(KEYS, Purpose.UNSUBSCRIBE, token) == LETTER
    assert unseal(KEYS, Purpose.COMPLAINT, token) is None
    assert "example" not in token
    assert seal(KEYS, Purpose.UNSUBSCRIBE, LETTER) == token


def test_a_sealed_token_that_was_touched_is_none() -> None:
    token = seal(KEYS, Purpose.UNSUBSCRIBE, LETTER)
    assert unseal(KEYS, Purpose.UNSUBSCRIBE, token[:-1]) is None
    for place in range(len(token) - 1):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert unseal(KEYS, Purpose.UNSUBSCRIBE, changed) is None


@given(st.integers(0, (1 << 63) - 1), st.integers(0, 100_000))
@settings(deadline=None, max_examples=200)
def test_every_delivery_comes_back(delivery: int, day: int) -> None:
    assert read_short(KEYS, short(KEYS, delivery, day), day, 0) == delivery


@given(st.one_of(st.text(max_size=60), st.text("b+a234567zé", min_size=35, max_size=35)))
@settings(deadline=None, max_examples=300)
def test_any_text_is_no_token(text: str) -> None:
    assert read_short(KEYS, text, DAY, 30) is None
    assert unseal(KEYS, Purpose.UNSUBSCRIBE, text) is None


def test_days_count_from_1970() -> None:
    assert day_of(0.0) == 0
    assert day_of(86_399.9) == 0
    assert day_of(1_700_000_000.0) == 19_675
