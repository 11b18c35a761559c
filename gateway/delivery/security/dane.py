"""DANE for SMTP: which TLSA records are usable, and whether a server's certificates match them (RFC 7672, RFC 7671, RFC 6698; pure).

DANE-EE(3) pins the server's own certificate or key: its name and dates do not count (RFC 7672 section 3.1.1). DANE-TA(2) pins an issuer
that the server sends along: the path to it, dates and the name are checked (section 3.1.2). PKIX usages 0 and 1 are not usable here
(section 3.1.3). Any chain in, never an exception: what cannot be read does not match.
"""

import datetime
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from gateway.delivery.security.result import Result

LONGEST_CHAIN: Final = 10
"""Certificates of a server that are looked at."""

_TA, _EE = 2, 3
_DIGESTS = {1: (hashlib.sha256, 32), 2: (hashlib.sha512, 64)}


class Tlsa(msgspec.Struct, frozen=True, gc=False, order=True):
    """One TLSA record (RFC 6698 section 2.1): certificate usage, selector, matching type, association data."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


class Dane(msgspec.Struct, frozen=True, gc=False):
    """What DANE asks of one host. No usable `records`: TLS without a check of the certificate (RFC 7672 section 2.2). `trouble`: the
    records could not be had, or are bogus, and the host must not be used. `base` is the name they stand under."""

    base: str = ""
    records: tuple[Tlsa, ...] = ()
    trouble: str = ""


class Mismatch(msgspec.Struct, frozen=True, gc=False):
    """The certificates do not match: the result for a report, and why for people."""

    result: Result
    why: str


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Those of `records` that SMTP can use (RFC 7672 section 3.1)."""
    return tuple(record for record in records if _usable(record))


def _usable(record: Tlsa) -> bool:
    if record.usage not in (_TA, _EE) or record.selector not in (0, 1):
        return False
    if record.matching == 0:
        return bool(record.data)
    return record.matching in _DIGESTS and len(record.data) == _DIGESTS[record.matching][1]


def judge(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: datetime.datetime) -> Mismatch | None:
    """Whether the server's `chain` (DER, its own certificate first) matches one of the usable `records`; None: it does.

    `names` are the names it may have (for DANE-TA), `now` is the time in UTC.
    """
    certificates = _read(chain[:LONGEST_CHAIN])
    if not certificates:
        return Mismatch(Result.VALIDATION, "the server sent no certificate that can be read")
    leaf = certificates[0]
    if any(_matches(record, leaf) for record in records if record.usage == _EE):
        return None
    anchors = [each for each in certificates if any(_matches(record, each) for record in records if record.usage == _TA)]
    if not anchors:
        return Mismatch(Result.VALIDATION, "no certificate of the server matches a TLSA record")
    path = _path(certificates, anchors)
    if path is None:
        return Mismatch(Result.NOT_TRUSTED, "the server's certificate is not signed by the issuer in the TLSA record")
    if any(not each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in path):
        return Mismatch(Result.EXPIRED, "a certificate of the server has expired, or is not valid yet")
    if not any(_has_name(leaf, name) for name in names):
        return Mismatch(Result.HOST_MISMATCH, f"the server's certificate is not for {' or '.join(names)}")
    return None


def _read(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """The certificates up to the first that cannot be read."""
    found: list[x509.Certificate] = []
    for der in chain:
        try:
            certificate = x509.load_der_x509_certificate(der)
            certificate.public_key()
            certificate.extensions  # noqa: B018 - reading them is what may fail
        except Exception:  # a hostile certificate fails in many ways, in a library written in two languages
            return found
        found.append(certificate)
    return found


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    """RFC 6698 section 2.1: the selected part, as it is or hashed."""
    if record.selector == 0:
        part = certificate.public_bytes(Encoding.DER)
    else:
        part = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (part if record.matching == 0 else _DIGESTS[record.matching][0](part).digest()) == record.data


def _path(certificates: list[x509.Certificate], anchors: list[x509.Certificate]) -> list[x509.Certificate] | None:
    """From the server's certificate to an anchor, each signed by the next, or None."""
    path = [certificates[0]]
    while path[-1] not in anchors:
        issuer = next((each for each in certificates if each not in path and _issued(path[-1], each)), None)
        if issuer is None:
            return None
        path.append(issuer)
    return path


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return basic.ca


def _has_name(certificate: x509.Certificate, name: str) -> bool:
    """RFC 7672 section 3.2.3: DNS names, else the common name; `*` is a whole first label."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = alternative.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    if not found:
        found = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    wanted = {name.lower(), f"*.{name.partition('.')[2]}".lower()}
    return any(each.rstrip(".").lower() in wanted for each in found)
