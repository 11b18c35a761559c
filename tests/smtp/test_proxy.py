"""The PROXY header, octet by octet: what names a client, what names nobody, and what is believed in nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.proxy import (
    INCOMPLETE,
    MALFORMED,
    MOST_OCTETS,
    TOO_LONG,
    WRONG_CHECKSUM,
    Incomplete,
    Proxied,
    crc32c,
    read,
)

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
INET = bytes([192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 25])
INET6 = bytes.fromhex("20010db800000000000000000000000720010db800000000000000000000000130390019")
MAPPED = bytes.fromhex("00000000000000000000ffffc000020700000000000000000000ffffc633640130390019")


def binary(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def checked(block: bytes, wrong: int = 0) -> bytes:
    """An INET header with `block` behind the addresses and a checksum behind that."""
    blank = binary(0x21, 0x11, INET + block + tlv(3, bytes(4)))
    return blank[:-4] + (crc32c(blank) ^ wrong).to_bytes(4, "big")


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 25\r\n", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 12345 25\r\n", "192.0.2.7"),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", ""),
        (binary(0x21, 0x11, INET), "192.0.2.7"),
        (binary(0x21, 0x21, INET6), "2001:db8::7"),
        (binary(0x21, 0x21, MAPPED), "192.0.2.7"),
        (binary(0x21, 0x11, INET + tlv(2, b"mail.example") + tlv(0x20, bytes(50)) + tlv(4, b"")), "192.0.2.7"),
        (binary(0x21, 0x31, bytes(216)), ""),
        (binary(0x21, 0x00, b""), ""),
        (binary(0x21, 0x00, tlv(2, b"mail.example")), ""),
        (binary(0x21, 0x12, INET), ""),
        (binary(0x20, 0x00, b""), ""),
        (binary(0x20, 0x11, INET), ""),
        (binary(0x20, 0x11, b"xx"), ""),
        (checked(b""), "192.0.2.7"),
        (checked(tlv(2, b"mail.example")), "192.0.2.7"),
    ],
)
def test_a_header_names_its_client_and_takes_nothing_behind_it(header: bytes, client: str) -> None:
    for behind in (b"", b"EHLO x\r\n", b"\r\n", header):
        assert read(header + behind) == Proxied(len(header), client)
    for length in range(len(header)):
        assert isinstance(read(header[:length]), Incomplete), length


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.example\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25 \r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 12345 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 012 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 12345 25\r\n",
        b"PROXY TCP4 192.0.2.007 198.51.100.1 12345 25\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 25\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 12345 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 12345 25\r\n",
        b"PROXY TCP4 \xd9\xa1.0.2.7 198.51.100.1 12345 25\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 12345 25\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.1 12345 25\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 12345 25\r\n",
        b"PROXY \r\n",
        SIGNATURE[:11] + b"\r",
        binary(0x11, 0x11, INET),
        binary(0x22, 0x11, INET),
        binary(0x21, 0x41, INET),
        binary(0x21, 0x13, INET),
        binary(0x21, 0x11, INET[:-1]),
        binary(0x21, 0x21, INET),
        binary(0x21, 0x31, bytes(215)),
        binary(0x21, 0x11, INET + b"\x02"),
        binary(0x21, 0x11, INET + b"\x02\x00\x05abcd"),
        binary(0x21, 0x11, INET + tlv(3, bytes(5))),
    ],
)
def test_what_is_no_header_is_malformed(header: bytes) -> None:
    assert read(header) == MALFORMED


def test_a_wrong_checksum_is_not_believed() -> None:
    assert read(checked(tlv(2, b"x"), wrong=1)) == WRONG_CHECKSUM


def test_a_header_is_bounded() -> None:
    assert read(b"PROXY TCP4 " + b"1" * 96) == TOO_LONG
    assert read(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") == Proxied(107, "")
    assert read(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n") == TOO_LONG
    room = MOST_OCTETS - 16 - len(INET) - 3
    assert read(binary(0x21, 0x11, INET + tlv(2, bytes(room)))) == Proxied(MOST_OCTETS, "192.0.2.7")
    assert read(binary(0x21, 0x11, INET + tlv(2, bytes(room + 1)))[:16]) == TOO_LONG  # said before it is here


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda rest: SIGNATURE + rest)))
def test_no_octets_raise_and_more_never_change_a_verdict(data: bytes) -> None:
    verdict = read(data)
    if verdict != INCOMPLETE:
        assert read(data + b"more") == verdict
    if isinstance(verdict, Proxied):
        assert verdict.length <= len(data)
