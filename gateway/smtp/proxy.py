"""The PROXY header: what a load balancer says, before an SMTP connection begins, of the client it stands for (version 1 and 2 of
HAProxy's "The PROXY protocol", proxy-protocol.txt; sections below are its).

`read` is given every octet that came so far and answers with a closed type: the whole header (`Proxied`, with how many octets it took),
not yet whole (`Incomplete`), or of no use (`Unusable`). Promises: never an exception; at most `MOST_OCTETS` are ever wanted; nothing is
taken of what follows the header; a header is believed whole or not at all. TLVs are walked and skipped, but for a checksum, which must be
right.

It does not know who may send a header: `gateway.doors.proxied` does.
"""

import ipaddress

import msgspec

MOST_OCTETS = 4096
"""Longest header; section 2.2 lets a receiver bound it. Address and the TLVs of a TLS client are a few hundred octets."""
_LONGEST_LINE = 107
"""Section 2.1: the longest header of version 1, with its CRLF."""
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
"""Octets of version 2 before the addresses: signature, version and command, family and transport, length."""
_ADDRESSES = {0x0: 0, 0x1: 12, 0x2: 36, 0x3: 216}
"""By address family (UNSPEC, INET, INET6, UNIX): octets that addresses and ports take."""
_LOCAL, _PROXY = 0x20, 0x21
"""Version and command."""
_STREAM = 0x1
_CHECKSUM = 0x03
"""PP2_TYPE_CRC32C, section 2.2.3."""


class Proxied(msgspec.Struct, frozen=True, gc=False):
    """A header of `length` octets. `client` is the address it names; "": none (LOCAL, UNKNOWN, UNSPEC, a Unix socket)."""

    length: int
    client: str


class Incomplete(msgspec.Struct, frozen=True, gc=False):
    """More octets are needed."""


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """No PROXY header, or a broken one. `why` is one of a few words."""

    why: str


Header = Proxied | Incomplete | Unusable

INCOMPLETE = Incomplete()
MALFORMED = Unusable("proxy-malformed")
TOO_LONG = Unusable("proxy-too-long")
WRONG_CHECKSUM = Unusable("proxy-checksum")


def read(data: bytes) -> Header:
    """What `data`, the first octets of a connection, say."""
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _binary(data)
    return _line(data) if data[:6] == b"PROXY "[: len(data)] else MALFORMED


# Version 1: a line of text (section 2.1) -----------------------------------------------------------------------------------------


def _line(data: bytes) -> Header:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        return INCOMPLETE if len(data) < _LONGEST_LINE else TOO_LONG
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:  # whatever follows it is to be ignored
        return Proxied(end + 2, "")
    client = _named(words[1:])
    return Proxied(end + 2, client) if client else MALFORMED


def _named(words: list[bytes]) -> str:
    """The client in `TCP4|TCP6 source destination port port`, or "" where that is not what stands there."""
    if len(words) != 5 or not all(_is_port(word) for word in words[3:]):
        return ""
    version = {b"TCP4": 4, b"TCP6": 6}.get(words[0])
    try:
        source, destination = (ipaddress.ip_address(word.decode("ascii")) for word in words[1:3])
    except ValueError:
        return ""
    scoped = b"%" in words[1] + words[2]
    return _text(source) if source.version == destination.version == version and not scoped else ""


def _is_port(word: bytes) -> bool:
    return word.isdigit() and len(word) <= 5 and int(word) <= 65_535 and (word == b"0" or word[:1] != b"0")


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """One client has one name: an IPv4 address that came mapped into IPv6 is the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


# Version 2: binary (section 2.2) -------------------------------------------------------------------------------------------------


def _binary(data: bytes) -> Header:
    if len(data) < _FIXED:
        return INCOMPLETE
    length = _FIXED + int.from_bytes(data[14:16], "big")
    family, transport = data[13] >> 4, data[13] & 0xF
    addresses = _ADDRESSES.get(family)
    if data[12] not in (_LOCAL, _PROXY) or addresses is None or transport > 0x2:
        return MALFORMED
    if length > MOST_OCTETS:
        return TOO_LONG
    if data[12] == _PROXY and length < _FIXED + addresses:
        return MALFORMED
    if len(data) < length:
        return INCOMPLETE
    if data[12] == _LOCAL:  # the balancer's own, a health check: family, addresses and what follows them are to be discarded
        return Proxied(length, "")
    broken = _extensions(data[:length], _FIXED + addresses)
    if broken is not None:
        return broken
    return Proxied(length, _address(data, family) if transport == _STREAM else "")


def _address(data: bytes, family: int) -> str:
    match family:
        case 0x1:
            return _text(ipaddress.IPv4Address(data[16:20]))
        case 0x2:
            return _text(ipaddress.IPv6Address(data[16:32]))
    return ""


def _extensions(header: bytes, position: int) -> Unusable | None:
    """Skip the TLVs from `position` to the end of `header`; why they cannot be believed, or None."""
    while position < len(header):
        if position + 3 > len(header):
            return MALFORMED
        kind, start = header[position], position + 3
        position = start + int.from_bytes(header[position + 1 : start], "big")
        if position > len(header):
            return MALFORMED
        if kind == _CHECKSUM:
            if position - start != 4:
                return MALFORMED
            if crc32c(header[:start] + bytes(4) + header[position:]) != int.from_bytes(header[start:position], "big"):
                return WRONG_CHECKSUM
    return None


def _table() -> tuple[int, ...]:
    """By octet, for the polynomial of Castagnoli, bits reversed (RFC 3720 appendix B.4)."""
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
        table.append(octet)
    return tuple(table)


_REMAINDERS = _table()


def crc32c(data: bytes) -> int:
    """The checksum of section 2.2.3."""
    remainder = 0xFFFFFFFF
    for octet in data:
        remainder = remainder >> 8 ^ _REMAINDERS[(remainder ^ octet) & 0xFF]
    return remainder ^ 0xFFFFFFFF
