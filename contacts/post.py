"""One HTTP POST to an address that somebody configured, answered within a time and a size (RFC 9112), each on a connection of its own.

Redirects are not followed: a receiver that moved is a matter for people. The certificate is verified. The name is resolved here and every
address is judged before anybody connects to it, so that a name which leads to a private address, now or after the configuration was
checked, reaches nothing unless that is allowed. What a receiver answers beyond its status line and header is not read further than `REST`.

Everything that can go wrong on the way is an `Unreached` with a sentence; nothing raises but cancellation.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import Executor
from urllib.parse import urlsplit

import msgspec

HEAD = 16_384
"""Octets of an answer's header, at most."""
REST = 65_536
MOST_ADDRESSES = 4
INTERIM = 3
"""Answers 1xx before the real one, at most."""
LONGEST_DELAY = 3600.0


class Answered(msgspec.Struct, frozen=True):
    """The receiver answered; `retry_after` in seconds, 0 when it did not say."""

    status: int
    retry_after: float = 0.0


class Unreached(msgspec.Struct, frozen=True):
    """It did not."""

    why: str


class Target(msgspec.Struct, frozen=True):
    """Where to post."""

    url: str
    timeout: float
    allow_private: bool = False
    tls: ssl.SSLContext | None = None


def verified(ca: str | None) -> ssl.SSLContext:
    """A TLS context that verifies, against the authorities in the file `ca` or the system's. Raises OSError (ssl.SSLError too)."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def post(target: Target, headers: Mapping[str, str], body: bytes, names: Executor) -> Answered | Unreached:
    """Send `body`. `names` is where a name is looked up, which may hang."""
    try:
        async with asyncio.timeout(target.timeout):
            return await _post(target, headers, body, names)
    except TimeoutError:
        return Unreached(f"no answer within {target.timeout:g} s")
    except ssl.SSLCertVerificationError as error:
        return Unreached(f"certificate: {error.verify_message}")
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        return Unreached(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"[:300])


async def _post(target: Target, headers: Mapping[str, str], body: bytes, names: Executor) -> Answered | Unreached:
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(names, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:MOST_ADDRESSES]
    allowed = [address for address in addresses if target.allow_private or is_public(address)]
    if not allowed:
        return Unreached(f"{host} leads to a private address, which allow_private does not allow")
    tls = target.tls if parts.scheme == "https" else None
    reader, writer = await _connected(allowed, port, tls, host)
    try:
        writer.write(_head(parts.path, parts.query, parts.netloc, headers, len(body)) + body)
        await writer.drain()
        answered, length = await _answer(reader)
        await _read_rest(reader, length)
        return answered
    finally:
        writer.transport.abort()


async def _connected(
    addresses: list[str], port: int, tls: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes the connection. Raises OSError of the last."""
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(address, port, ssl=tls, server_hostname=host if tls else None, limit=HEAD)
        except OSError:
            continue
    return await asyncio.open_connection(addresses[-1], port, ssl=tls, server_hostname=host if tls else None, limit=HEAD)


def is_public(address: str) -> bool:
    """Whether it is an address of the Internet at large: no private, loopback, link-local or group address, in no disguise."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (ipaddress.IPv4Address(parsed.packed[12:]) if parsed in _NAT64 else None)
        if inner is not None:
            parsed = inner
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 section 2.1


def _head(path: str, query: str, host: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"POST {path or '/'}{'?' + query if query else ''} HTTP/1.1", f"host: {host}", "user-agent: mailwright"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {length}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> tuple[Answered | Unreached, int]:
    """The answer, and how many octets follow, `REST` when it does not say."""
    for _ in range(INTERIM + 1):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not (len(status) == 3 and status.isascii() and status.isdigit()):
            return Unreached("the answer is not HTTP/1.1"), 0
        if status[0] != "1":
            length = 0 if status in ("204", "304") else _number(lines, "content-length", REST)
            return Answered(int(status), min(_number(lines, "retry-after", 0), LONGEST_DELAY)), length
    return Unreached("too many interim answers"), 0


def _number(lines: list[str], field: str, otherwise: int) -> int:
    """The value of a header field that is a number; a Retry-After (RFC 9110 section 10.2.3) that is a date is passed over."""
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == field and value.strip().isascii() and value.strip().isdigit():
            return int(value.strip()[:9])
    return otherwise


async def _read_rest(reader: asyncio.StreamReader, length: int) -> None:
    """A little of it, so that an ordinary receiver sees no reset."""
    left = min(length, REST)
    try:
        async with asyncio.timeout(1.0):
            while left > 0 and (piece := await reader.read(left)):
                left -= len(piece)
    except (OSError, TimeoutError):
        pass
