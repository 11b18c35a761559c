"""TLS on a client's connection, after STARTTLS or from its first octet: OpenSSL through memory, between the plain transport and a protocol.

Promises: a connection that idles keeps no buffer of ours, and of OpenSSL its state alone, whatever it sent before (the loop's own TLS keeps
256 KiB and more for each, decision 0027); octets that the loop read before the handshake count as its first; the protocol hears nothing
before `begin` has returned. Only a port with TLS from the first octet may pass such octets: after STARTTLS, what came in the clear must
never be taken for TLS (RFC 3207 section 6). The client cannot renegotiate. Who does not take what we write is not read, so what OpenSSL
answers by itself (new keys, RFC 8446 section 4.6.3) is bounded too.

Bad days: a handshake that fails, stalls or ends is an OSError of `begin`; a broken record later cuts the connection. A peer that closes
without close_notify has closed: SMTP knows by itself what is complete (RFC 5321 section 4.1.1.10), a message never ends by the end of TLS.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

HANDSHAKE_TIMEOUT = 60.0
PIECE = 8_192
"""Octets given to OpenSSL at a time: the memory between us grows to what it once held, and stays so."""
RECORD = 16_384
"""Octets of a record at most (RFC 8446 section 5.1)."""


async def begin(
    plain: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, most: float, read: Callable[[], bytes]
) -> asyncio.Transport:
    """The encrypted transport. `most` bounds the seconds; `read` gives what was read already. Raises OSError (ssl.SSLError is one)."""
    if plain.is_closing():
        raise ConnectionResetError("gone before the handshake")
    layer = _Layer(plain, protocol, context)
    plain.set_protocol(layer)
    if early := read():
        layer.data_received(early)
    plain.resume_reading()
    await asyncio.wait_for(layer.handshake, min(HANDSHAKE_TIMEOUT, most))
    asyncio.get_running_loop().call_soon(layer.open)  # after who called us knows the transport
    return layer.transport


class TlsTransport(asyncio.Transport):
    """What the protocol writes to."""

    def __init__(self, layer: "_Layer", plain: asyncio.Transport) -> None:
        super().__init__()
        self._layer = layer
        self._plain = plain
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._layer.tls if name == "ssl_object" else self._plain.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing:
            self._layer.write(data)

    def close(self) -> None:
        """Say close_notify, write what is left, close."""
        if not self._closing:
            self._closing = True
            self._layer.say_goodbye()
            self._plain.close()

    def abort(self) -> None:
        self._closing = True
        self._plain.abort()

    def is_closing(self) -> bool:
        return self._closing or self._plain.is_closing()

    def pause_reading(self) -> None:
        self._layer.wanted = False
        self._layer.regulate_reading()

    def resume_reading(self) -> None:
        self._layer.wanted = True
        self._layer.regulate_reading()


class _Layer(asyncio.Protocol):
    """The plain transport's protocol: records in, octets on to `protocol`."""

    __slots__ = (
        "_arrived",
        "_ended",
        "_full",
        "_incoming",
        "_lost",
        "_open",
        "_outgoing",
        "_plain",
        "_protocol",
        "_told",
        "handshake",
        "tls",
        "transport",
        "wanted",
    )

    def __init__(self, plain: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext) -> None:
        self._plain = plain
        self._protocol = protocol
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.transport = TlsTransport(self, plain)
        self.handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived: list[bytes] = []
        self._ended = self._told = self._open = self._full = False
        self.wanted = True
        """The protocol wants to hear what comes."""
        self._lost: tuple[Exception | None] | None = None

    def open(self) -> None:
        """The protocol knows its transport: it hears what came meanwhile, and all that comes."""
        self._open = True
        if self._full:
            self._protocol.pause_writing()
        self._deliver()
        if self._lost is not None:
            self._protocol.connection_lost(*self._lost)

    # What the plain transport calls ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), PIECE):
                self._incoming.write(data if len(data) <= PIECE else data[start : start + PIECE])
                self._take()
        except ssl.SSLError as error:
            self._broken(error)
            return
        self._flush()
        if self._open:
            self._deliver()

    def eof_received(self) -> bool:
        if not self.handshake.done():
            self._broken(ConnectionResetError("the handshake was not finished"))
        self._ended = True
        if self._open:
            self._deliver()
        return True  # `_deliver` closes

    def connection_lost(self, error: Exception | None) -> None:
        if not self.handshake.done():
            self.handshake.set_exception(error if isinstance(error, OSError) else ConnectionResetError("lost in the handshake"))
        elif self._open:
            self._protocol.connection_lost(error)
        else:
            self._lost = (error,)

    def pause_writing(self) -> None:
        self._full = True
        self.regulate_reading()
        if self._open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self.regulate_reading()
        if self._open:
            self._protocol.resume_writing()

    def regulate_reading(self) -> None:
        """Hear the client while the protocol wants to and the client takes what we write."""
        if self._plain.is_closing():
            return
        if self.wanted and not self._full:
            self._plain.resume_reading()
        else:
            self._plain.pause_reading()

    # OpenSSL --------------------------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Go on with the handshake, then decrypt what is here. Raises SSLError."""
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self.handshake.done():
                self.tls.do_handshake()
                self.handshake.set_result(None)
            while not self._ended:
                octets = self.tls.read(RECORD)
                if octets:
                    self._arrived.append(octets)
                else:
                    self._ended = True  # close_notify

    def _deliver(self) -> None:
        """Hand over what was decrypted, all together, and the end."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._protocol.data_received(arrived[0] if len(arrived) == 1 else b"".join(arrived))
        if self._ended and not self._told and not self.transport.is_closing():
            self._told = True
            if not self._protocol.eof_received():
                self.transport.close()

    def _broken(self, error: Exception) -> None:
        """Tell the peer why, where OpenSSL has words for it, and end."""
        self._flush()
        if not self.handshake.done():
            self.handshake.set_exception(error)
        else:
            self._plain.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and write."""
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            self._broken(error)
            return
        self._flush()

    def say_goodbye(self) -> None:
        """close_notify; we do not wait for the peer's (RFC 8446 section 6.1)."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self.tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._plain.is_closing():
            self._plain.write(self._outgoing.read())
