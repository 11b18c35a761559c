"""Make a DKIM key: the file, the DNS record to publish, the lines of configuration. What `mailwright dkim generate` does.

The private key is written with mode 0600 and never over an existing file. Nothing is printed and no DNS is asked here.
"""

import base64
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from config.sending import DkimAlgorithm
from gateway.compose.dkim import GOOD_RSA, SMALLEST_RSA
from gateway.compose.keyring import write_private
from mail.address import normalise_domain

_STRING = 255  # RFC 1035 section 3.3: octets of one character string
_LARGEST_RSA = 4096


class Generated(msgspec.Struct, frozen=True):
    """A new key, and what the operator has to do with it."""

    record_name: str
    record_value: str
    """The value of the TXT record in one piece."""
    zone_line: str
    """The record for a zone file, cut into strings of at most 255 octets."""
    file: Path
    config: str
    """Lines for the `[[domain]]` of the configuration."""
    warnings: list[str] = []


def generate(domain: str, selector: str, algorithm: DkimAlgorithm | str, bits: int, folder: Path) -> Generated:
    """Write a new key for `domain` into `folder`. `bits` is for RSA. Raises ValueError for bad names or sizes, FileExistsError, OSError."""
    algorithm = DkimAlgorithm(algorithm)
    name, label = normalise_domain(domain), normalise_domain(selector)
    if name is None or name.startswith("["):
        raise ValueError(f"{domain!r} is not a domain name")
    if label is None or label.startswith("[") or not label.isascii():
        raise ValueError(f"{selector!r} is not a selector: letters, digits and hyphens")
    private = _new_key(algorithm, bits)
    file = folder / f"{name}.{label}.pem"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    value = record(private)
    record_name = f"{label}._domainkey.{name}"
    warnings = [] if algorithm is not DkimAlgorithm.RSA_SHA256 or bits >= GOOD_RSA else [f"RSA of {bits} bits is weak; use {GOOD_RSA}"]
    return Generated(record_name, value, _zone_line(record_name, value), file, _config(name, label, file, algorithm), warnings)


def record(private: RSAPrivateKey | Ed25519PrivateKey) -> str:
    """The TXT record's value for the public half (RFC 6376 section 3.6.1; RFC 8463 section 4.2: the raw 32 octets)."""
    public = private.public_key()
    if isinstance(private, RSAPrivateKey):
        octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode('ascii')}"
    octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode('ascii')}"


def _new_key(algorithm: DkimAlgorithm, bits: int) -> RSAPrivateKey | Ed25519PrivateKey:
    if algorithm is DkimAlgorithm.ED25519_SHA256:
        return Ed25519PrivateKey.generate()
    if not SMALLEST_RSA <= bits <= _LARGEST_RSA:
        raise ValueError(f"an RSA key has {SMALLEST_RSA} to {_LARGEST_RSA} bits (RFC 8301 section 3.2); {GOOD_RSA} is usual")
    return generate_private_key(65_537, bits)


def _zone_line(name: str, value: str) -> str:
    strings = [f'"{value[start : start + _STRING]}"' for start in range(0, len(value), _STRING)]
    return f"{name}. IN TXT ( {' '.join(strings)} )"


def _config(domain: str, selector: str, file: Path, algorithm: DkimAlgorithm) -> str:
    return f'[[domain]]\nname = "{domain}"\n\n[[domain.dkim]]\nselector = "{selector}"\nfile = "{file}"\nalgorithm = "{algorithm}"\n'
