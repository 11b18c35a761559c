"""The normal form: which spellings are one person, and which are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.address import normal_form, normalise, subject_of
from mail.address import address_of

SAME = [
    ("Jane.Doe@Example.ORG", "jane.doe@example.org"),
    ("  jane@example.org ", "jane@example.org"),
    ("jane@example.org.", "jane@example.org"),
    ("jane+news@example.org", "jane+news@example.org"),
    ('"jane.doe"@example.org', "jane.doe@example.org"),
    ('"ja\\ne"@example.org', "jane@example.org"),
    ('"Jane Doe"@example.org', '"jane doe"@example.org'),
    ("jane@bücher.example", "jane@xn--bcher-kva.example"),
    ("jane@BÜCHER.example", "jane@xn--bcher-kva.example"),
    ("rene\u0301@example.org", "ren\u00e9@example.org"),
    ("REN\u00c9@example.org", "ren\u00e9@example.org"),
    ("jane@[192.0.2.1]", "jane@[192.0.2.1]"),
]


@pytest.mark.parametrize(("written", "normal"), SAME)
def test_spellings_of_one_person_have_one_form(written, normal):
    assert normalise(written) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jane+a@example.org", "jane+b@example.org"),
        ("ja.ne@example.org", "jane@example.org"),
        ("straße@example.org", "strasse@example.org"),
        ("jane@example.org", "jane@example.com"),
    ],
)
def test_different_people_stay_different(one, other):
    assert normalise(one) != normalise(other)


NO_ADDRESS = ["", "jane", "@example.org", "jane@", "jane@exa mple.org", "a b@example.org", "x" * 65 + "@example.org", "sha256:00"]


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_address_has_no_form(text):
    assert normalise(text) is None
    assert subject_of(text) is None


LOCAL_PARTS = st.text(max_size=40) | st.text(max_size=30).map(lambda text: f'"{text}"')


@given(st.emails() | LOCAL_PARTS.map(lambda text: text + "@example.org"))
def test_the_normal_form_of_a_normal_form_is_itself(text):
    address = address_of(text)
    if address is None:
        return
    normal = normal_form(address)
    again = address_of(normal)
    if again is not None:  # lower case may be longer than what fits into an address
        assert normal_form(again) == normal


def test_a_hash_is_a_subject_too():
    digest = "A0" * 32
    assert subject_of(f"SHA256:{digest}") == "sha256:" + "a0" * 32
    assert subject_of("sha256:" + "g0" * 32) is None
    assert subject_of("Jane@Example.org") == "jane@example.org"


@given(st.from_regex(r"[A-Za-z0-9.+'-]{1,70}@[A-Za-z0-9.-]{1,60}", fullmatch=True))
def test_the_short_way_through_plain_addresses_ends_where_the_long_one_does(text):
    found = address_of(text)
    assert normalise(text) == (None if found is None else normal_form(found))
