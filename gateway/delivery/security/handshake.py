"""The TLS handshake of an outgoing connection, and what it proved: encryption, a certificate valid for the host, or a match by DANE.

Certificates are checked by OpenSSL within the handshake (`Way.CERTIFICATE`) or against TLSA records right after it (`Way.DANE`); in both
cases before anything of a message is said. Nothing raises but cancellation; a handshake that fails closes the connection, and `Unsecured`
says why, in the words of a report too.
"""

import asyncio
import datetime
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.delivery.connection import Connection
from gateway.delivery.network import Network
from gateway.delivery.security.dane import Dane, Mismatch, judge
from gateway.delivery.security.levels import Way
from gateway.delivery.security.result import Result, of_verification

_DER: Final = 2
"""`_ssl.ENCODING_DER`."""


class Secured(msgspec.Struct, frozen=True, gc=False):
    """It is done. `cipher` is protocol and cipher."""

    cipher: str


class Unsecured(msgspec.Struct, frozen=True, gc=False):
    """It failed. `identity`: encryption worked, and the certificate is not what was asked for."""

    result: Result
    why: str
    identity: bool = False


class Handshake:
    """How handshakes are done: `now` gives the time in UTC for the dates of certificates, `said` an error in words."""

    def __init__(self, network: Network, seconds: float, said: Callable[[BaseException], str]) -> None:
        self._network = network
        self._seconds = seconds
        self._said = said

    async def shake(self, connection: Connection, host: str, address: str, way: Way, dane: Dane | None) -> Secured | Unsecured:
        """Change `connection` to TLS as `way` wants it."""
        plain = connection.transport
        if plain is None:
            return Unsecured(Result.VALIDATION, connection.why or "closed")
        context = self._network.verifying if way is Way.CERTIFICATE else self._network.tls
        # SNI is a host name (RFC 6066 section 3), none for an address; of DANE, the name that has the records (RFC 7672 section 8.1).
        name = dane.base if way is Way.DANE and dane is not None and dane.base else host
        try:
            async with asyncio.timeout(self._seconds):
                secure = await asyncio.get_running_loop().start_tls(
                    plain, connection, context, server_hostname=None if host == address and way is not Way.CERTIFICATE else name
                )
        except ssl.SSLCertVerificationError as error:
            return self._ended(connection, Unsecured(of_verification(error.verify_code), error.verify_message, identity=True))
        except (OSError, ValueError, RuntimeError, TypeError, EOFError) as error:  # ssl.SSLError is an OSError
            return self._ended(connection, Unsecured(Result.VALIDATION, self._said(error)))
        if secure is None:
            connection.why = "closed"
            return Unsecured(Result.VALIDATION, "closed")
        connection.upgraded(secure)
        if connection.over:
            return Unsecured(Result.VALIDATION, connection.why or "closed")
        tls: ssl.SSLObject | None = secure.get_extra_info("ssl_object")
        if way is Way.DANE:
            mismatch = _mismatch(tls, dane, host)
            if mismatch is not None:
                connection.why = mismatch.why
                return Unsecured(mismatch.result, mismatch.why, identity=True)
        cipher = tls.cipher() if tls is not None else None
        return Secured(f"{tls.version()} {cipher[0]}" if tls is not None and cipher is not None else "TLS")

    def _ended(self, connection: Connection, failed: Unsecured) -> Unsecured:
        connection.why = failed.why
        if connection.transport is not None:
            connection.transport.abort()
        connection.give_up()  # a transport that dies in the handshake may not say so
        return failed


def _mismatch(tls: ssl.SSLObject | None, dane: Dane | None, host: str) -> Mismatch | None:
    if tls is None or dane is None:
        return Mismatch(Result.VALIDATION, "there is nothing to compare")
    names = (dane.base, host) if dane.base not in ("", host) else (host,)
    return judge(dane.records, _chain(tls), names, datetime.datetime.now(datetime.UTC))


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    """What the server sent, DER, its own certificate first. Before Python 3.13 only the object below knows it."""
    public: Any = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    below: Any = getattr(tls, "_sslobj", None)
    if below is None:
        leaf = tls.getpeercert(binary_form=True)
        return [leaf] if leaf else []
    return [certificate.public_bytes(_DER) for certificate in below.get_unverified_chain() or ()]
