"""One small thing over HTTPS: a policy file fetched, or a report posted. Bounded in time, size and addresses; the certificate is checked.

Promises: nothing raises but cancellation, trouble is a value in the words of TLS reports; at most `MAX_HEAD` and `most` octets are read; a
redirect is not followed (RFC 8461 section 3.3); addresses are refused as those of MX hosts are, so that nobody uses us to reach what stands
behind the gateway. An address that took no connection is not tried again for a minute: one dead policy host must not hold up the many
domains that name it. Does not keep connections, and does not cache.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.delivery.network import HostMemory
from gateway.delivery.resolver import Records, Resolver, Trouble
from gateway.delivery.security.result import Result

MAX_HEAD: Final = 16_384
MOST_ADDRESSES: Final = 2
DEAD_SECONDS: Final = 60.0
PATIENCE: Final = 1.0
"""Seconds without a connection that make an address dead. One whose time went for slow DNS was not tried, and others may share it."""
CONCURRENT: Final = 50

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;.*)?")


class Response(msgspec.Struct, frozen=True, gc=False):
    """What came back. `media` is the media type in lower case, without parameters."""

    status: int
    media: str
    body: bytes


class HttpsTrouble(msgspec.Struct, frozen=True, gc=False):
    """Nothing came back: which kind of trouble, for a report, and why for people."""

    result: Result
    why: str


class _NotHttp(Exception):
    """What came is no HTTP response, or one that is too long."""


class Https:
    """`context` gives the TLS settings, `refusal` why an address must not be connected to ("" for none), `clock` Unix seconds."""

    def __init__(
        self, resolver: Resolver, context: Callable[[], ssl.SSLContext], refusal: Callable[[str], str], clock: Callable[[], float]
    ) -> None:
        self._resolver = resolver
        self._context = context
        self._refusal = refusal
        self._dead = HostMemory(DEAD_SECONDS, clock)
        self._places = asyncio.Semaphore(CONCURRENT)

    async def get(self, host: str, port: int, path: str, *, seconds: float, most: int) -> Response | HttpsTrouble:
        """GET `https://host:port/path`."""
        return await self._exchange(host, port, _request("GET", host, port, path, ""), seconds, most)

    async def post(self, host: str, port: int, path: str, media: str, body: bytes, *, seconds: float) -> Response | HttpsTrouble:
        """POST `body` to `https://host:port/path`."""
        request = _request("POST", host, port, path, f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n") + body
        return await self._exchange(host, port, request, seconds, MAX_HEAD)

    async def _exchange(self, host: str, port: int, request: bytes, seconds: float, most: int) -> Response | HttpsTrouble:
        async with self._places:
            try:
                async with asyncio.timeout(seconds):
                    return await self._somewhere(host, port, request, most)
            except TimeoutError:
                return HttpsTrouble(Result.STS_FETCH, f"{host} did not answer in time")

    async def _somewhere(self, host: str, port: int, request: bytes, most: int) -> Response | HttpsTrouble:
        """The answer of the first address that takes a connection."""
        found = (await self._resolver.addresses(host)).answer
        if isinstance(found, Records) and not found.addresses:
            found = (await self._resolver.addresses(host, six=True)).answer
        if not isinstance(found, Records) or not found.addresses:
            why = found.why if isinstance(found, Trouble) else "it has no address"
            return HttpsTrouble(Result.STS_FETCH, f"{host}: {why}")
        trouble = HttpsTrouble(Result.STS_FETCH, f"{host} was not reachable a moment ago")
        for address in found.addresses[:MOST_ADDRESSES]:
            refused = self._refusal(address)
            if refused:
                trouble = HttpsTrouble(Result.STS_FETCH, f"{host} [{address}]: {refused}")
            elif not self._dead.holds(address):
                result = await self._at(address, host, port, request, most)
                if isinstance(result, Response):
                    return result
                trouble = result
        return trouble

    async def _at(self, address: str, host: str, port: int, request: bytes, most: int) -> Response | HttpsTrouble:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=self._context(), server_hostname=host, limit=MAX_HEAD)
        except ssl.SSLCertVerificationError as error:
            return HttpsTrouble(Result.STS_WEBPKI, f"the certificate of {host}: {error.verify_message}")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            if not isinstance(error, ssl.SSLError):
                self._dead.note(address)
            return HttpsTrouble(Result.STS_FETCH, f"{host} [{address}]: {error.strerror if isinstance(error, OSError) else error}")
        except asyncio.CancelledError:
            if loop.time() - began >= PATIENCE:
                self._dead.note(address)
            raise
        try:
            writer.write(request)
            return await _read(reader, most)
        except _NotHttp as wrong:
            return HttpsTrouble(Result.STS_FETCH, f"{host}: {wrong}")
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return HttpsTrouble(Result.STS_FETCH, f"{host}: {type(error).__name__} while it answered")
        finally:
            writer.transport.abort()


def _request(method: str, host: str, port: int, path: str, fields: str) -> bytes:
    place = host if port == 443 else f"{host}:{port}"
    return f"{method} {path} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: mailwright\r\nConnection: close\r\n{fields}\r\n".encode("ascii")


async def _read(reader: asyncio.StreamReader, most: int) -> Response:
    """The response, by whichever length it gives itself (RFC 9112 section 6.3)."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    status = _STATUS.fullmatch(head[0])
    if status is None:
        raise _NotHttp("the answer is not HTTP")
    fields = {name.strip().lower(): value.strip() for name, colon, value in (line.partition(b":") for line in head[1:]) if colon}
    length = fields.get(b"content-length", b"")
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = await _chunks(reader, most)
    elif length:
        body = await reader.readexactly(_bounded(length, 10, most))
    else:
        body = await _until_end(reader, most)
    media = fields.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("ascii", "replace")
    return Response(int(status.group(1)), media, body)


async def _until_end(reader: asyncio.StreamReader, most: int) -> bytes:
    body = b""
    while piece := await reader.read(most + 1 - len(body)):
        body += piece
        if len(body) > most:
            raise _NotHttp("the answer is too long")
    return body


async def _chunks(reader: asyncio.StreamReader, most: int) -> bytes:
    """RFC 9112 section 7.1. Trailer fields are not read: the connection ends."""
    body = b""
    while True:
        size = _SIZE.fullmatch((await reader.readuntil(b"\r\n"))[:-2])
        if size is None:
            raise _NotHttp("the answer has a chunk without a size")
        octets = _bounded(size.group(1), 16, most - len(body))
        if not octets:
            return body
        body += (await reader.readexactly(octets + 2))[:-2]


def _bounded(number: bytes, base: int, most: int) -> int:
    if len(number) > 10 or not number.isalnum():
        raise _NotHttp("the answer has no readable length")
    octets = int(number, base)
    if octets > most:
        raise _NotHttp("the answer is too long")
    return octets
