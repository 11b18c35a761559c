"""RFC 7672: usable records, and what matches them. Certificates are real ones, made by the sandbox's authority."""

import datetime
import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.security.dane import Mismatch, Tlsa, judge, usable
from gateway.delivery.security.result import Result
from sandbox.certificate import Authority, Chain, chain, self_signed

NOW = datetime.datetime.now(datetime.UTC)
HOST = "mx1.good.test"
AUTHORITY = Authority()
GOOD = chain(AUTHORITY, [HOST], "good")
EXPIRED = chain(AUTHORITY, [HOST], "expired")
OTHER = chain(AUTHORITY, [HOST], "wrong-name")
UNTRUSTED = chain(AUTHORITY, [HOST], "untrusted")
ALONE = self_signed([HOST])


def part(made: Chain, which: int, selector: int) -> bytes:
    certificate = made.certificates[which]
    if selector == 0:
        return certificate.public_bytes(Encoding.DER)
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def record(usage: int, selector: int, matching: int, made: Chain) -> Tlsa:
    """The TLSA record that pins `made`: its own certificate for DANE-EE, its issuer for DANE-TA."""
    whole = part(made, 0 if usage == 3 else -1, selector)
    data = {0: lambda: whole, 1: lambda: hashlib.sha256(whole).digest(), 2: lambda: hashlib.sha512(whole).digest()}[matching]()
    return Tlsa(usage, selector, matching, data)


def verdict(records: list[Tlsa], shown: Chain, host: str = HOST) -> Result | None:
    found = judge(usable(records), [each.public_bytes(Encoding.DER) for each in shown.certificates], [host], NOW)
    return None if found is None else found.result


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_every_usage_selector_and_matching_type_matches_what_it_pins_and_nothing_else(usage: int, selector: int, matching: int) -> None:
    pinned = record(usage, selector, matching, GOOD)
    assert verdict([pinned], GOOD) is None
    assert verdict([pinned], UNTRUSTED) is Result.VALIDATION
    assert verdict([record(usage, selector, matching, UNTRUSTED), pinned], GOOD) is None


@pytest.mark.parametrize("shown", [EXPIRED, OTHER, ALONE])
def test_a_pinned_certificate_needs_neither_name_nor_dates_nor_issuer(shown: Chain) -> None:
    assert verdict([record(3, 1, 1, shown)], shown) is None


def test_under_a_pinned_issuer_dates_and_name_are_checked() -> None:
    anchor = record(2, 0, 1, GOOD)
    assert verdict([anchor], EXPIRED) is Result.EXPIRED
    assert verdict([anchor], OTHER) is Result.HOST_MISMATCH
    assert verdict([anchor], GOOD, "mx2.good.test") is Result.HOST_MISMATCH


def test_a_pinned_issuer_that_did_not_sign_is_no_match() -> None:
    forged = Chain.__new__(Chain)
    forged.certificates = [UNTRUSTED.certificates[0], AUTHORITY.certificate]
    assert verdict([record(2, 0, 1, GOOD)], forged) is Result.NOT_TRUSTED


def test_a_wildcard_is_one_label() -> None:
    wild = AUTHORITY.issue(["*.good.test"], NOW - datetime.timedelta(days=1), NOW + datetime.timedelta(days=1))
    anchor = record(2, 1, 1, GOOD)
    assert verdict([anchor], wild) is None
    assert verdict([anchor], wild, "a.b.good.test") is Result.HOST_MISMATCH


@pytest.mark.parametrize(
    "odd",
    [
        Tlsa(0, 0, 1, b"x" * 32),
        Tlsa(1, 1, 1, b"x" * 32),
        Tlsa(3, 2, 1, b"x" * 32),
        Tlsa(3, 1, 3, b"x" * 32),
        Tlsa(3, 1, 1, b"x" * 31),
        Tlsa(3, 0, 0, b""),
    ],
)
def test_records_that_smtp_cannot_use_are_passed_over(odd: Tlsa) -> None:
    assert usable([odd]) == ()


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_no_chain_is_too_strange(certificates: list[bytes]) -> None:
    assert isinstance(judge([record(3, 1, 1, GOOD)], certificates, [HOST], NOW), Mismatch)


def test_a_chain_with_bits_flipped_matches_or_not_and_never_raises() -> None:
    der = bytearray(GOOD.certificates[0].public_bytes(Encoding.DER))
    for position in range(0, len(der), 3):
        broken = bytes(der[:position]) + bytes([der[position] ^ 0x41]) + bytes(der[position + 1 :])
        judge([record(2, 0, 1, GOOD)], [broken, GOOD.certificates[1].public_bytes(Encoding.DER)], [HOST], NOW)
