"""AUTH exchanges, fed by hand."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.sasl import MAX_RESPONSE, MECHANISMS, Challenge, Credentials, Login, Plain, Rejected


def encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


def test_plain_takes_credentials_with_the_command_or_after_a_challenge() -> None:
    wanted = Credentials("act", "user", "päss")
    assert Plain().start(encoded("act\0user\0päss")) == wanted
    exchange = Plain()
    assert exchange.start(None) == Challenge("")
    assert exchange.step(encoded("act\0user\0päss")) == wanted


def test_login_asks_for_name_and_password() -> None:
    exchange = Login()
    assert isinstance(exchange.start(None), Challenge)
    assert isinstance(exchange.step(encoded("user")), Challenge)
    assert exchange.step(encoded("secret")) == Credentials("", "user", "secret")


@pytest.mark.parametrize(
    "response",
    [
        b"*",
        b"",
        b"not base64",
        b"YQ",
        encoded("user"),
        encoded("\0user\0"),
        encoded("\0\0secret"),
        encoded("a\0b\0c\0d"),
        encoded("\0" + "u" * 256 + "\0secret"),
        encoded("\0user\0" + "p" * 1025),
        base64.b64encode(b"\0user\0\xff"),
        b"A" * (MAX_RESPONSE + 1),
    ],
)
def test_responses_that_hold_no_credentials_end_the_exchange(response: bytes) -> None:
    step = Plain().step(response)
    assert isinstance(step, Rejected)
    assert step.reply.permanent


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(sorted(MECHANISMS)))
def test_no_response_makes_an_exchange_raise(responses: list[bytes], mechanism: str) -> None:
    exchange = MECHANISMS[mechanism]()
    step = exchange.start(None)
    for response in responses:
        if not isinstance(step, Challenge):
            break
        step = exchange.step(response)


def test_credentials_print_without_the_password() -> None:
    assert "secret" not in repr(Credentials("", "user", "secret"))
