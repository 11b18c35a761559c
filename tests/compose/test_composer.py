"""What leaves, whole: signatures under dkimpy and OpenDKIM, 8-bit mail to old hops, what cannot be sent, cancellation, bounds."""

import asyncio
import email
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from config.settings import Settings
from gateway.calls import Assignment
from gateway.compose import composer as composer_module
from gateway.compose.composer import Composed, Composer, Unsendable
from gateway.compose.keyring import load_keyring
from mail.address import Address
from mail.message import facts
from tests.compose.material import HEADER, Keys, assignment
from tests.compose.oracle import OPENDKIM, dkimpy_says, opendkim_says

BODY = b"Hello  world \t\r\n\r\n  indented\r\n.\r\n\r\n\r\n"
FRENCH_TEXT = "Bonjour à tous,\r\n\r\nl’été arrive : 30 % de rabais, déjà !\r\n"
FRENCH = (
    HEADER.replace(b"Subject: Hello\r\n folded", b"Subject: =?utf-8?q?=C3=89t=C3=A9?=")
    + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + FRENCH_TEXT.encode()
)
PUBLISHED = ["s1._domainkey.example.org", "ed1._domainkey.example.org", "gw._domainkey.gateway.example"]


def compose(composer: Composer, content: bytes, given: Assignment | None = None, **offers: bool) -> Composed | Unsendable:
    offers = {"eight_bit_ok": True, "utf8_ok": False, **offers}
    return asyncio.run(composer.compose(given or assignment(), content=content, **offers))


def sent(composer: Composer, content: bytes, given: Assignment | None = None, **offers: bool) -> bytes:
    composed = compose(composer, content, given, **offers)
    assert isinstance(composed, Composed)
    message = b"".join(composed.parts)
    assert composed.size == len(message)
    assert composed.eight_bit == (not message.isascii())
    assert message.endswith(b"\r\n")
    return message


def refusal(composer: Composer, content: bytes, given: Assignment | None = None, **offers: bool) -> str:
    answer = compose(composer, content, given, **offers)
    assert isinstance(answer, Unsendable)
    assert answer.reply.synthetic
    assert answer.reply.code == 550
    return answer.reply.enhanced


@pytest.mark.parametrize("body", [BODY, b"", b"\r\n", b"no newline", b"trailing \t", b"a\r\n" * 3000])
def test_every_signature_verifies_under_dkimpy(composer: Composer, keys: Keys, body: bytes) -> None:
    message = sent(composer, HEADER + b"\r\n" + body)
    assert dkimpy_says(message, keys, 3) == [True, True, True]


@pytest.mark.skipif(OPENDKIM is None, reason="opendkim is not installed")
@pytest.mark.parametrize("body", [BODY, b"", b"no newline"])
def test_every_signature_verifies_under_opendkim(composer: Composer, keys: Keys, tmp_path: Path, body: bytes) -> None:
    message = sent(composer, HEADER + b"\r\n" + body)
    assert opendkim_says(message, keys, PUBLISHED, tmp_path) == ["pass", "pass", "pass"]


def test_signatures_stand_in_order_above_received(composer: Composer) -> None:
    composed = compose(composer, HEADER + b"\r\n" + BODY)
    assert isinstance(composed, Composed)
    parsed = email.message_from_bytes(b"".join(composed.parts))
    assert [name for name, _ in parsed.items()][:4] == ["DKIM-Signature", "DKIM-Signature", "DKIM-Signature", "Received"]
    tags = [value.replace("\r\n", "") for value in parsed.get_all("DKIM-Signature", [])]
    assert ["rsa" in tags[0], "ed25519" in tags[1], "d=gateway.example" in tags[2]] == [True, True, True]
    assert composed.signed_by == "example.org,gateway.example"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Hello", b"Subject: Hallo"),
        (b"To: someone", b"To: anyone"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\nCc: forged@example.com\r\n"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\nFrom: forged@example.com\r\n"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\nReply-To: forged@example.com\r\n"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\nList-Unsubscribe: <https://forged.example>\r\n"),
        (b"Hello  world", b"Hello  world!"),
        (b"indented\r\n", b"indented\r\nand more\r\n"),
    ],
)
def test_a_change_on_the_way_breaks_every_signature(composer: Composer, keys: Keys, before: bytes, after: bytes) -> None:
    message = sent(composer, HEADER + b"\r\n" + BODY)
    assert before in message
    assert dkimpy_says(message.replace(before, after), keys, 3) == [False, False, False]


def test_what_relays_may_do_breaks_nothing(composer: Composer, keys: Keys) -> None:
    message = sent(composer, HEADER + b"\r\n" + BODY)
    changed = b"Received: by relay\r\n" + message.replace(b"Subject: Hello\r\n folded", b"SUBJECT:  Hello   folded") + b"\r\n\r\n"
    assert dkimpy_says(changed, keys, 3) == [True, True, True]


def test_who_signs_is_the_configurations_choice(composer: Composer, keys: Keys) -> None:
    def signed_by(domain: str) -> str:
        composed = compose(composer, HEADER + b"\r\n" + BODY, assignment(from_domain=domain, id=0))
        assert isinstance(composed, Composed)
        return composed.signed_by

    assert signed_by("example.org") == "example.org,gateway.example"
    assert signed_by("sub.example.org") == "gateway.example"
    assert signed_by("shop.example") == "shop.example,gateway.example"
    assert signed_by("deep.sub.shop.example") == "shop.example,gateway.example"
    assert signed_by("news.shop.example") == "shop.example,gateway.example"
    assert signed_by("keyless.example") == "gateway.example"
    assert signed_by("unknown.example") == "gateway.example"
    assert signed_by("gateway.example") == "gateway.example"
    assert signed_by("unsigned.example") == ""
    assert refusal(composer, HEADER + b"\r\n", assignment(from_domain="refused.example")) == "5.7.1"
    assert composer.unsignable("refused.example")
    assert not composer.unsignable("unsigned.example")


@pytest.mark.parametrize("eight_bit_ok", [True, False])
def test_french_mail_verifies_with_and_without_8bitmime(composer: Composer, keys: Keys, eight_bit_ok: bool) -> None:
    message = sent(composer, FRENCH, assignment(eight_bit=True), eight_bit_ok=eight_bit_ok)
    assert message.isascii() is not eight_bit_ok
    assert dkimpy_says(message, keys, 3) == [True, True, True]
    payload = email.message_from_bytes(message).get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == FRENCH_TEXT


@pytest.mark.skipif(OPENDKIM is None, reason="opendkim is not installed")
@pytest.mark.parametrize("eight_bit_ok", [True, False])
def test_french_mail_verifies_under_opendkim(composer: Composer, keys: Keys, tmp_path: Path, eight_bit_ok: bool) -> None:
    message = sent(composer, FRENCH, assignment(eight_bit=True), eight_bit_ok=eight_bit_ok)
    assert opendkim_says(message, keys, PUBLISHED, tmp_path) == ["pass", "pass", "pass"]


def test_one_message_goes_to_old_and_new_hops_in_turn(composer: Composer, keys: Keys) -> None:
    for number, eight_bit_ok in enumerate((True, False, True, False)):
        message = sent(composer, FRENCH, assignment(eight_bit=True, delivery=number), eight_bit_ok=eight_bit_ok)
        assert message.isascii() is not eight_bit_ok
        assert dkimpy_says(message, keys, 3) == [True, True, True]


def test_long_lines_are_encoded_whatever_the_hop(composer: Composer, keys: Keys) -> None:
    long = b"word " * 400
    message = sent(composer, HEADER + b"\r\n" + long + b"\r\n", assignment(long_lines=True))
    assert max(map(len, message.split(b"\r\n"))) <= 998
    assert b"Content-Transfer-Encoding: quoted-printable" in message
    assert dkimpy_says(message, keys, 3) == [True, True, True]
    assert email.message_from_bytes(message).get_payload(decode=True) == long + b"\r\n"


def test_a_signed_part_is_never_changed(composer: Composer) -> None:
    content = (
        HEADER + b'Content-Type: multipart/signed; boundary="b"; protocol="application/pgp-signature"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\r\n--b\r\n\r\nsignature\r\n--b--\r\n"
    )
    assert content[-60:] in sent(composer, content, assignment(eight_bit=True))
    assert refusal(composer, content, assignment(eight_bit=True), eight_bit_ok=False) == "5.6.3"


SMTPUTF8_CASES: list[tuple[dict[str, Any], bytes, bool]] = [
    ({}, b"", False),
    ({"smtputf8": True}, b"", False),
    ({"smtputf8": True, "eight_bit": True}, "X-Nom: été\r\n".encode(), True),
    ({"eight_bit": True}, "X-Nom: été\r\n".encode(), False),
    ({"recipient": Address("été@example.net", "example.net"), "smtputf8": True}, b"", True),
    ({"recipient": Address("a@bücher.example", "xn--bcher-kva.example"), "smtputf8": True}, b"", False),
]


@pytest.mark.parametrize(("facts", "field", "needed"), SMTPUTF8_CASES)
def test_smtputf8_is_asked_for_only_where_it_is_needed(composer: Composer, facts: dict[str, Any], field: bytes, needed: bool) -> None:
    content = HEADER + field + b"\r\nbody\r\n"
    composed = compose(composer, content, assignment(**facts), utf8_ok=True)
    assert isinstance(composed, Composed)
    assert composed.smtputf8 is needed
    if needed:
        assert refusal(composer, content, assignment(**facts), utf8_ok=False) == "5.6.7"
    else:
        assert isinstance(compose(composer, content, assignment(**facts), utf8_ok=False), Composed)


def test_a_second_delivery_differs_only_in_what_is_its_own(composer: Composer) -> None:
    first = sent(composer, HEADER + b"\r\n" + BODY, assignment(delivery=1))
    again = sent(composer, HEADER + b"\r\n" + BODY, assignment(delivery=1))
    other = sent(composer, HEADER + b"\r\n" + BODY, assignment(delivery=2))
    assert first == again
    assert first != other
    assert [line for line in first.split(b"\r\n") if line not in other.split(b"\r\n")] == [
        b"\tby mx.gateway.example with ESMTPSA id aaaaaaaaaaaab"
    ]


def test_what_is_remembered_is_bounded(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer_module, "REMEMBERED", 4)
    monkeypatch.setattr(composer_module, "REMEMBERED_OCTETS", 1000)
    for number in range(1, 20):
        delivery = assignment(id=number, eight_bit=True, from_domain="ed.example")
        sent(composer, FRENCH + b"x" * 70 * number, delivery, eight_bit_ok=number % 2 == 0)
        messages, octets = composer.remembered
        assert messages <= 4
        assert octets <= 1000


def test_a_large_message_is_composed_beside_the_loop(composer: Composer, keys: Keys) -> None:
    content = HEADER + b"\r\n" + b"large \t message\r\n" * 60_000

    async def scenario() -> tuple[Composed | Unsendable, int]:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turn())
        composed = await composer.compose(assignment(), eight_bit_ok=True, utf8_ok=False, content=content)
        other.cancel()
        return composed, turns

    composed, turns = asyncio.run(scenario())
    assert isinstance(composed, Composed)
    assert turns > 2
    assert dkimpy_says(b"".join(composed.parts), keys) == [True]


def test_cancelled_callers_do_not_break_the_pool(composer: Composer, keys: Keys) -> None:
    async def one(number: int) -> Composed | Unsendable:
        return await composer.compose(assignment(id=number), eight_bit_ok=True, utf8_ok=False, content=HEADER + b"\r\n" + BODY)

    async def scenario() -> Composed | Unsendable:
        tasks = [asyncio.create_task(one(number)) for number in range(1, 60)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in done) == 30
        assert sum(isinstance(result, Composed) for result in done) == 29
        return await one(100)

    composed = asyncio.run(scenario())
    assert isinstance(composed, Composed)
    assert dkimpy_says(b"".join(composed.parts), keys, 3) == [True, True, True]


def test_a_message_that_cannot_be_signed_now_is_tried_later(composer: Composer) -> None:
    composer.close()
    unsendable = compose(composer, HEADER + b"\r\n" + BODY)
    assert isinstance(unsendable, Unsendable)
    assert str(unsendable.reply) == "451 4.3.0 Not signed: signing has ended"


def test_a_reload_signs_with_the_new_key_at_once(composer: Composer, settings: Settings, keys: Keys, tmp_path: Path) -> None:
    before = sent(composer, HEADER + b"\r\n" + BODY)
    domain = settings.domain[0].model_copy(update={"dkim": list(reversed(settings.domain[0].dkim))})
    changed = settings.model_copy(update={"domain": [domain]})
    composer.reconfigure(changed, load_keyring(changed, tmp_path, "host.example"), "mx.gateway.example")
    after = sent(composer, HEADER + b"\r\n" + BODY)
    assert b"s=s1;" in before
    assert b"s=s0;" in after
    assert dkimpy_says(after, keys, 2) == [True, True]


def test_an_oversized_header_is_not_sent(composer: Composer) -> None:
    assert refusal(composer, b"X: y\r\n" * 1001 + b"\r\nbody\r\n") == "5.6.0"


HEADER_WORDS = st.sampled_from([b"a", b" ", b"\t", b"\r\n ", b"\r\n\t", b":", b";", b"  ", b"Re: x", "é".encode()])
BODY_WORDS = st.sampled_from([b"a", b" ", b"\t", b"  ", b"\r\n", b"\r\n\r\n", b".", b" \r\n", b"=20", "é".encode(), b"x" * 999])


@given(
    st.lists(st.tuples(st.sampled_from([b"To", b"Subject", b"X-a", b"List-Unsubscribe"]), st.lists(HEADER_WORDS, max_size=8))),
    st.lists(BODY_WORDS),
)
@settings_of_hypothesis(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_signatures_of_any_message_verify(
    composer: Composer, keys: Keys, lines: list[tuple[bytes, list[bytes]]], body: list[bytes]
) -> None:
    fields = b"".join(name + b":x" + b"".join(words).rstrip(b"\r\n\t ") + b"\r\n" for name, words in lines)
    content = b"From: a@example.org\r\n" + fields + b"\r\n" + b"".join(body)
    known = facts(content)
    delivery = assignment(id=0, from_domain="gateway.example", eight_bit=known.eight_bit, long_lines=known.long_lines)
    for eight_bit_ok in (True, False):
        message = sent(composer, content, delivery, eight_bit_ok=eight_bit_ok)
        assert dkimpy_says(message, keys) == [True]
        assert not facts(message).long_lines


@given(
    st.lists(st.one_of(HEADER_WORDS, BODY_WORDS, st.binary(max_size=4), st.just(b"Content-Type: multipart/mixed; boundary=a\r\n"))).map(
        b"".join
    )
)
@settings_of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_bytes_are_composed_or_unsendable(composer: Composer, content: bytes) -> None:
    for eight_bit_ok in (True, False):
        delivery = assignment(id=0, from_domain="ed.example", eight_bit=True, long_lines=True)
        answer = compose(composer, content, delivery, eight_bit_ok=eight_bit_ok)
        assert isinstance(answer, Unsendable) or b"".join(answer.parts).endswith(b"\r\n")


def test_every_signature_is_counted_by_its_algorithm(settings: Settings, keys: Keys, tmp_path: Path) -> None:
    keys.write(tmp_path)
    counted: list[str] = []
    composer = Composer(settings, load_keyring(settings, tmp_path, "host.example"), "mx.gateway.example", lambda: 0.0, counted.append)
    sent(composer, HEADER + b"\r\n" + BODY)
    composer.close()
    assert counted == ["rsa-sha256", "ed25519-sha256", "rsa-sha256"]
