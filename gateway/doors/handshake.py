"""The upgrade of a client's connection to TLS, after STARTTLS or from its first octet.

`begin` differs from the loop's `start_tls` in one thing: octets that the loop read before the handshake began are handed to it instead of
being lost. uvloop starts to read after `connection_made` whatever that paused, so on an implicit TLS port the client's first message
often comes early. Only such a port may pass them: after STARTTLS, what came in the clear must never be taken for TLS (RFC 3207 section 6).
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

HANDSHAKE_TIMEOUT = 60.0


async def begin(
    plain: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, most: float, read: Callable[[], bytes]
) -> asyncio.Transport | None:
    """The encrypted transport. `most` bounds the seconds; `read` gives what was read already. Raises OSError (ssl.SSLError is one)."""
    loop = asyncio.get_running_loop()
    plain.pause_reading()
    loop.call_soon(_hand_on, plain, read)  # runs between set_protocol and the handshake's first step, both inside start_tls
    return await loop.start_tls(plain, protocol, context, server_side=True, ssl_handshake_timeout=min(HANDSHAKE_TIMEOUT, most))


def _hand_on(plain: asyncio.Transport, read: Callable[[], bytes]) -> None:
    """Give the octets to the protocol that now listens to `plain`, as the transport itself would."""
    rest = memoryview(read())
    protocol = cast(asyncio.BufferedProtocol, plain.get_protocol())  # uvloop's has its methods and not its name
    while rest:
        room = memoryview(protocol.get_buffer(len(rest))).cast("B")
        taken = min(len(room), len(rest))
        room[:taken] = rest[:taken]
        protocol.buffer_updated(taken)
        rest = rest[taken:]
