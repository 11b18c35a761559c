"""Re-encoding: the same text by another spelling, nothing else touched, and nothing that must not be."""

import email
import email.message
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compose.reencode import MAX_DEPTH, Impossible, Reencoded, reencode
from mail.message import Field, has_long_line, read_header

E = "é".encode()


def content_of(header: bytes, body: bytes) -> bytes:
    return header + b"\r\n" + body


def changed(content: bytes, *, seven_bit: bool = True) -> bytes:
    header = read_header(content)
    result = reencode(header.fields, content[header.body_at :], seven_bit=seven_bit)
    assert isinstance(result, Reencoded), result
    return b"".join(field.raw + b"\r\n" for field in result.fields) + b"\r\n" + result.body


def why_not(content: bytes) -> str:
    header = read_header(content)
    result = reencode(header.fields, content[header.body_at :], seven_bit=True)
    assert isinstance(result, Impossible)
    return result.why


def leaves(message: email.message.Message) -> list[tuple[str, bytes]]:
    """Type and octets of every part that has no parts."""
    found = []
    for part in message.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((str(part.get("Content-Type")), payload))
    return found


def test_text_becomes_quoted_printable_and_keeps_its_charset() -> None:
    text = b"Mime-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"
    message = changed(content_of(text, b"l'\xe9t\xe9 = chaud \r\nFrom here\r\n.\r\n"))
    assert message == text.replace(b"8bit", b"quoted-printable") + b"\r\nl'=E9t=E9 =3D chaud=20\r\nFrom here\r\n=2E\r\n"


def test_text_that_is_mostly_8_bit_becomes_base64() -> None:
    body = "Привет, как дела\r\n".encode() * 20
    message = changed(content_of(b"Content-Type: text/plain; charset=utf-8\r\n", body))
    assert b"Content-Transfer-Encoding: base64" in message
    assert email.message_from_bytes(message).get_payload(decode=True) == body


@pytest.mark.parametrize("kind", [b"application/octet-stream", b"image/png", b"text/plain; charset=utf-16"])
def test_other_media_become_base64(kind: bytes) -> None:
    body = b"\x89PNG\r\n\x00\xff" * 30
    message = changed(content_of(b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: binary\r\n", body))
    assert message.count(b"Content-Transfer-Encoding: base64") == 1
    assert b"binary" not in message
    assert email.message_from_bytes(message).get_payload(decode=True) == body


@pytest.mark.parametrize(("body", "charset"), [(b"caf" + E, b"utf-8"), (b"caf\xe9", b"unknown-8bit")])
def test_a_message_without_mime_gets_it(body: bytes, charset: bytes) -> None:
    message = changed(content_of(b"Subject: a\r\n", body + b"\r\n"))
    assert b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=" + charset + b"\r\n" in message


MIXED = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out er"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    b"preamble\r\n--out er\r\nContent-Type: multipart/alternative;\r\n boundary=outer-inner\r\n\r\n"
    b"--outer-inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + E + b" text\r\n"
    b"--outer-inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>plain  </p>\r\n\r\n"
    b"--outer-inner--\r\n\r\n--out er \t\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
    b"--out er\r\n\r\nno header, " + E + b"\r\n--out er--\r\nepilogue\r\n"
)


def test_only_the_parts_that_need_it_change() -> None:
    message = changed(MIXED)
    assert message.isascii()
    before, after = email.message_from_bytes(MIXED), email.message_from_bytes(message)
    assert leaves(before) == leaves(after)
    assert b"Content-Transfer-Encoding: 7bit\r\n\r\n<p>plain  </p>\r\n\r\n--outer-inner--" in message
    assert b"\r\npreamble\r\n--out er\r\n" in message
    assert message.endswith(b"--out er--\r\nepilogue\r\n")
    assert after["Content-Transfer-Encoding"] == "7bit"


def test_a_message_in_a_message_is_changed_inside() -> None:
    inner = b"Subject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + E + b"\r\n"
    message = changed(content_of(b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n", inner))
    assert b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n" in message
    assert leaves(email.message_from_bytes(message)) == [("text/plain; charset=utf-8", E + b"\r\n")]


def test_preamble_and_epilogue_that_cannot_be_sent_are_dropped() -> None:
    message = changed(MIXED.replace(b"preamble", E).replace(b"epilogue", E * 3))
    assert message.isascii()
    assert leaves(email.message_from_bytes(message)) == leaves(email.message_from_bytes(MIXED))


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_an_encoded_part_with_long_lines_is_encoded_anew(encoding: bytes) -> None:
    body = b"aGVsbG8g" * 200 if encoding == b"base64" else b"hello " * 300
    message = changed(content_of(b"Content-Transfer-Encoding: " + encoding + b"\r\n", body + b"\r\n"), seven_bit=False)
    assert not has_long_line(message)
    text = email.message_from_bytes(message).get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.startswith(b"hello " * 200)


def test_with_8bitmime_only_long_lines_are_changed() -> None:
    content = content_of(
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", E + b"\r\n"
    )
    assert changed(content, seven_bit=False) == content
    assert b"quoted-printable" in changed(content + b"x" * 999, seven_bit=False)


PGP = b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\n' + E + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (PGP, "signed"),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + PGP + b"\r\n--a--\r\n", "signed"),
        (b"Content-Type: Multipart/Encrypted; boundary=b\r\n\r\n--b\r\n\r\n" + E + b"\r\n--b--\r\n", "encrypted"),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\n" + E, "without a boundary"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + E, "boundary in the body"),
        (b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\n" + E, "must not have"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb" * 60_000 + E, "told from the text"),
        (b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\n' + E, "told from the text"),
        (b"Content-Type: message/delivery-status\r\n\r\n" + E, "must not be encoded"),
        (b"Content-Type: message/rfc822\r\n\r\nSubject: " + E + b"\r\n\r\n", "header"),
        (b"Content-Transfer-Encoding: x-uuencode\r\n\r\n" + E, "not known"),
        (b"Content-Transfer-Encoding: base64\r\n\r\nAAAAA" + E, "none"),
        (b'Content-Type: multipart/mixed; boundary="\xe9"\r\n\r\n--\xe9\r\n\r\n' + E + b"\r\n--\xe9--\r\n", "boundary"),
    ],
)
def test_what_must_not_be_changed_is_not(content: bytes, why: str) -> None:
    assert why in why_not(content)


def nested(depth: int) -> bytes:
    if not depth:
        return b"\r\n" + E
    inner = nested(depth - 1)
    return b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%b\r\n--b%d--" % (depth, depth, inner, depth)


def test_depth_and_parts_are_bounded() -> None:
    assert isinstance(changed(nested(MAX_DEPTH)), bytes)
    assert "parts" in why_not(nested(MAX_DEPTH + 1))
    assert "parts" in why_not(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b\r\n\r\n" + E + b"\r\n") * 2001)


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b" * 500_000 + E,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\r\n--b " * 300_000 + b" " * 300_000 + E,
        b"Content-Type: multipart/mixed" + b'; boundary="' * 5000 + b"\r\n\r\n" + E,
        b"Content-Type: text/plain\r\n\r\n" + b" \t" * 500_000 + E,
        b"Content-Type: text/plain\r\n\r\n" + b"=" * 1_000_000 + E,
    ],
)
def test_hostile_structures_take_linear_time(content: bytes) -> None:
    header = read_header(content)
    started = time.process_time()
    reencode(header.fields, content[header.body_at :], seven_bit=True)
    assert time.process_time() - started < 1.0


@given(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"=", b".", b"\r\n", E, b"word ", b"x" * 80, b"From ", b"\x00", b"\r"]), max_size=60).map(
        b"".join
    )
)
def test_any_text_comes_back(body: bytes) -> None:
    content = content_of(b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n", body + E + b"\r\n")
    message = changed(content)
    assert message.isascii()
    assert not has_long_line(message, 0, None, 76 if b"quoted-printable" in message else 998)
    assert email.message_from_bytes(message).get_payload(decode=True) == body + E + b"\r\n"


PIECES = st.sampled_from(
    [
        b"--b\r\n",
        b"\r\n--b",
        b"--",
        b"\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        E,
        b"x" * 999,
    ]
)


@given(st.lists(PIECES, max_size=25).map(b"".join), st.booleans())
def test_any_bytes_are_fit_afterwards_or_impossible(body: bytes, seven_bit: bool) -> None:
    fields = [Field(b"content-type", b"Content-Type: multipart/mixed; boundary=b")]
    result = reencode(fields, body, seven_bit=seven_bit)
    if isinstance(result, Reencoded):
        assert not has_long_line(result.body)
        assert result.body.isascii() or not seven_bit
