"""RFC 8461: the record, the policy file, and which hosts a policy names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.security.sts_policy import KEPT, Invalid, Mode, Policy, names_host, policy_id, read_policy

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.net\r\nmx: *.Mail.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1; more=x;"], "1"),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=a-b;"], None),
        (["v=STSv1; id=" + "1" * 33], None),
        (["V=STSv1; id=1"], None),
        (["v=STSv10; id=1"], None),
        ([" v=STSv1; id=1"], None),
        ([], None),
    ],
)
def test_a_record_is_one_that_begins_with_its_version_and_has_an_id(texts: list[str], found: str | None) -> None:
    assert policy_id(texts) == found


def test_a_policy_is_read_with_crlf_and_lf() -> None:
    for body in (GOOD, GOOD.replace(b"\r\n", b"\n"), GOOD + b"\r\nextension: anything\r\n"):
        policy = read_policy(body)
        assert isinstance(policy, Policy)
        assert (policy.mode, policy.max_age, policy.mx) == (Mode.ENFORCE, 604800.0, ("mx1.example.net", "*.mail.example.net"))
        assert policy.lines[:2] == ("version: STSv1", "mode: enforce")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>not found</html>",
        GOOD.replace(b"STSv1", b"STSv2"),
        GOOD.replace(b"enforce", b"insist"),
        GOOD.replace(b"604800", b"a week"),
        GOOD.replace(b"604800", b"-1"),
        GOOD.replace(b"mx1.example.net", b"mx1 example"),
        GOOD.replace(b"*.Mail.example.net", b"*.*.example.net"),
        b"version: STSv1\nmode: enforce\nmax_age: 1\n",
        GOOD + b"mx: a.example.net\n" * 200,
        GOOD + b"\xff\xfe\n",
        GOOD + b"x" * 70_000,
    ],
)
def test_what_is_not_clearly_a_policy_is_none(body: bytes) -> None:
    assert isinstance(read_policy(body), Invalid)


def test_of_a_policys_lines_the_first_are_kept_for_reports() -> None:
    said = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n"
    policy = read_policy(said + b"".join(b"note: %01000d\n" % number for number in range(60)))
    assert isinstance(policy, Policy)
    assert policy.lines[:4] == tuple(said.decode().splitlines())
    assert 3_000 < sum(map(len, policy.lines)) <= KEPT


def test_max_age_has_a_ceiling_and_none_needs_no_host() -> None:
    policy = read_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999\n")
    assert isinstance(policy, Policy)
    assert (policy.mode, policy.max_age) == (Mode.NONE, 31_557_600.0)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mx1.example.net", True),
        ("mx2.example.net", False),
        ("a.mail.example.net", True),
        ("mail.example.net", False),
        ("a.b.mail.example.net", False),
        ("example.net", False),
    ],
)
def test_a_star_stands_for_one_label(host: str, named: bool) -> None:
    policy = read_policy(GOOD)
    assert isinstance(policy, Policy)
    assert names_host(policy, host) is named


@given(st.binary(max_size=400))
def test_any_bytes_are_a_policy_or_none(body: bytes) -> None:
    assert isinstance(read_policy(body), Policy | Invalid)
    policy_id([body.decode("latin-1")])
