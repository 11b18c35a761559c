"""The certificate of a listener, read again when its files change.

Promises: `context` costs two `stat` calls while nothing changed; a changed pair that cannot be used leaves the old one in force and is
reported once; TLS 1.2 is the least. It does not watch files in the background: each new TLS connection looks.
"""

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509

from config.submission import Listener, ListenerTls

_Stamp = tuple[int, int, int]


class Certificates:
    """`certificate` (chain, PEM) and `key` (PEM; None: in the same file). `report` is told the file and "" (loaded), or the error."""

    def __init__(self, certificate: Path, key: Path | None, report: Callable[[Path, str], None] = lambda file, error: None) -> None:
        self._certificate = certificate
        self._key = key
        self._report = report
        self._seen: tuple[_Stamp, _Stamp] | None = None
        self._context: ssl.SSLContext | None = None

    def load(self) -> None:
        """Read the files now. Raises OSError or ssl.SSLError (an OSError too) when they cannot be used: for the start."""
        self._seen = self._stamps()
        self._context = self._read()
        self._report(self._certificate, "")

    def context(self) -> ssl.SSLContext:
        """The context for a new connection. Raises as `load` does only when nothing was ever loaded."""
        if self._context is None:
            self.load()
            assert self._context is not None
            return self._context
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps  # before reading: a bad pair is tried and reported once, until it changes again
                self._context = self._read()
                self._report(self._certificate, "")
        except OSError as error:
            if self._seen is not None:
                self._report(self._certificate, why(error))
            self._seen = self._stamps_or_none()
        return self._context

    def _stamps_or_none(self) -> tuple[_Stamp, _Stamp] | None:
        try:
            return self._stamps()
        except OSError:
            return None

    def _stamps(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._certificate), _stamp(self._key or self._certificate)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
        context.options |= ssl.OP_NO_RENEGOTIATION  # of TLS 1.2: it costs the server far more than the client
        # A key with a passphrase would make OpenSSL ask on the terminal; an empty answer is an error instead.
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        return context


def problems(listeners: Iterable[Listener]) -> list[str]:
    """One line for each listener whose certificate and key cannot be used: for the check, the start and a reload."""
    found = []
    for listener in listeners:
        if listener.tls is not ListenerTls.NONE and listener.certificate is not None:
            try:
                Certificates(listener.certificate, listener.key).load()
            except OSError as error:
                found.append(f"listener {listener.name}: {listener.certificate}, {listener.key}: {why(error)}")
    return found


def why(error: OSError) -> str:
    """OpenSSL's reason in words a person can act on."""
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    reason = str(error).rpartition("] ")[2].partition(" (")[0]  # "[SSL] PEM lib (_ssl.c:1)"
    return _REASONS.get(reason.lower(), reason)


_REASONS = {
    "key values mismatch": "certificate and key do not belong together",
    "pem lib": "not PEM, or the key has a passphrase",
    "no start line": "no PEM",
    "ee key too small": "the key is too small",
}


def expires(file: Path) -> str:
    """When the first certificate in `file` (PEM) ends, as UTC text; "" when that cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return ""
    return certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
