"""One small thing over HTTPS: a policy file fetched, or a report posted. Bounded in time, size and addresses; the certificate is checked.

Promises: nothing raises but cancellation, trouble is a value in the words of TLS reports; a header of `mail.http.HEAD` and a body of `most`
octets are taken; a redirect is not followed (RFC 8461 section 3.3); addresses are refused as those of MX hosts are, so that nobody uses us
to reach what stands behind the gateway. An address that took no connection is not tried again for a minute: one dead policy host must not
hold up the many domains that name it. Does not keep connections, and does not cache.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gateway.delivery.network import HostMemory
from gateway.delivery.resolver import Records, Resolver, Trouble
from gateway.delivery.security.result import Result
from mail.http import HEAD, Exchange, NotHttp

PIECE: Final = 65_536
MOST_ADDRESSES: Final = 2
DEAD_SECONDS: Final = 60.0
PATIENCE: Final = 1.0
"""Seconds without a connection that make an address dead. One whose time went for slow DNS was not tried, and others may share it."""
CONCURRENT: Final = 50


class Response(msgspec.Struct, frozen=True, gc=False):
    """What came back. `media` is the media type in lower case, without parameters."""

    status: int
    media: str
    body: bytes


class HttpsTrouble(msgspec.Struct, frozen=True, gc=False):
    """Nothing came back: which kind of trouble, for a report, and why for people."""

    result: Result
    why: str


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
        return await self._exchange(host, port, partial(Exchange, "GET", _place(host, port), path, {}, b"", most), seconds)

    async def post(self, host: str, port: int, path: str, media: str, body: bytes, *, seconds: float) -> Response | HttpsTrouble:
        """POST `body` to `https://host:port/path`."""
        ask = partial(Exchange, "POST", _place(host, port), path, {"content-type": media}, body, HEAD)
        return await self._exchange(host, port, ask, seconds)

    async def _exchange(self, host: str, port: int, ask: Callable[[], Exchange], seconds: float) -> Response | HttpsTrouble:
        async with self._places:
            try:
                async with asyncio.timeout(seconds):
                    return await self._somewhere(host, port, ask)
            except TimeoutError:
                return HttpsTrouble(Result.STS_FETCH, f"{host} did not answer in time")

    async def _somewhere(self, host: str, port: int, ask: Callable[[], Exchange]) -> Response | HttpsTrouble:
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
                result = await self._at(address, host, port, ask)
                if isinstance(result, Response):
                    return result
                trouble = result
        return trouble

    async def _at(self, address: str, host: str, port: int, ask: Callable[[], Exchange]) -> Response | HttpsTrouble:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=self._context(), server_hostname=host)
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
            exchange = ask()
            writer.write(exchange.request)
            return await _read(reader, exchange)
        except NotHttp as wrong:
            return HttpsTrouble(Result.STS_FETCH, f"{host}: {wrong}")
        except (OSError, ValueError) as error:
            return HttpsTrouble(Result.STS_FETCH, f"{host}: {type(error).__name__} while it answered")
        finally:
            writer.transport.abort()


def _place(host: str, port: int) -> str:
    return host if port == 443 else f"{host}:{port}"


async def _read(reader: asyncio.StreamReader, exchange: Exchange) -> Response:
    """The answer, whole. Raises NotHttp."""
    while not exchange.whole:
        exchange.receive(await reader.read(PIECE))
    media = exchange.fields.get("content-type", "").partition(";")[0].strip().lower()
    return Response(exchange.status, media, exchange.body)
