"""Password hashes: what verifies, what never does, and what they may cost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.doors.passwords import NOBODY, hash_password, is_hash, verify_password


def test_a_hash_verifies_its_password_and_no_other() -> None:
    hashed = hash_password("correct horse é")
    assert is_hash(hashed)
    assert verify_password("correct horse é", hashed)
    assert not verify_password("correct horse e", hashed)
    assert not verify_password("", hashed)
    assert hash_password("correct horse é") != hashed, "each hash has its own salt"


def test_nobody_has_no_password() -> None:
    assert is_hash(NOBODY)
    assert not verify_password("x", NOBODY)


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_empty_and_endless_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match="octets"):
        hash_password(password)
    assert not verify_password(password, hash_password("x"))


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "secret",
        "scrypt$16384$8$1$AAAA",
        "scrypt$1073741824$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16383$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16384$999999$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$-2$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16384$8$1$!!$!!",
        "bcrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
    ],
)
def test_what_is_no_hash_or_too_dear_never_verifies_and_costs_nothing(hashed: str) -> None:
    began = time.perf_counter()
    assert not is_hash(hashed)
    assert not verify_password("secret", hashed)
    assert time.perf_counter() - began < 0.5


@given(st.text(), st.text())
@settings(max_examples=30)
def test_any_text_is_answered_without_an_exception(password: str, hashed: str) -> None:
    assert not verify_password(password, hashed)
