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

from mail.http import Exchange, NotHttp

REST = 65_536
MOST_ADDRESSES = 4
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
    except NotHttp as wrong:
        return Unreached(str(wrong))
    except (OSError, ValueError) as error:
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
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    exchange = Exchange("POST", parts.netloc, path, headers, body, REST)
    reader, writer = await _connected(allowed, port, tls, host)
    try:
        writer.write(exchange.request)
        await writer.drain()
        return await _answer(reader, exchange)
    finally:
        writer.transport.abort()


async def _connected(
    addresses: list[str], port: int, tls: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes the connection. Raises OSError of the last."""
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(address, port, ssl=tls, server_hostname=host if tls else None)
        except OSError:
            continue
    return await asyncio.open_connection(addresses[-1], port, ssl=tls, server_hostname=host if tls else None)


def is_public(address: str) -> bool:
    """Whether it is an address of the Internet at large: no private, loopback, link-local or group address, in no disguise."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (ipaddress.IPv4Address(parsed.packed[12:]) if parsed in _NAT64 else None)
        if inner is not None:
            parsed = inner
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 section 2.1


async def _answer(reader: asyncio.StreamReader, exchange: Exchange) -> Answered:
    """The answer, and a little of what follows its header, so that an ordinary receiver sees no reset. Raises NotHttp, OSError."""
    try:
        while not exchange.status:
            exchange.receive(await reader.read(REST))
        async with asyncio.timeout(1.0):
            while not exchange.whole:
                exchange.receive(await reader.read(REST))
    except (NotHttp, OSError):  # TimeoutError is one
        if not exchange.status:
            raise
    return Answered(exchange.status, _seconds(exchange.fields.get("retry-after", "")))


def _seconds(text: str) -> float:
    """A Retry-After (RFC 9110 section 10.2.3), 0 for one that is a date."""
    return min(float(text[:9]), LONGEST_DELAY) if text.isascii() and text.isdigit() else 0.0
