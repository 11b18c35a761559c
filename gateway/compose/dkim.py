"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463): which fields are signed, what a signature says, the private-key operation.

What leaves is relaxed/relaxed, over the whole body (no l=), without Received and Return-Path. Fields that a forger would like to add
(`OVERSIGNED`) are named once more often than they are there, so adding one breaks the signature (RFC 6376 section 8.15).

A signature is made in three steps, so that each is paid once and in the right place: `prepare` once a message (field list and canonical
header), `unsigned` once a delivery, `signature` and `finished` once a delivery too; `signature` is the slow one for RSA, and has processes
of its own (gateway.compose.signing).

A selector change needs nothing here: signatures are made when mail leaves, with the key that is first at that time. The old key's DNS
record has to stay until what it signed has been delivered and checked, a week at least.

Pure: reads no clock, no file. A key of less than 1024 bits is refused with ValueError (RFC 8301 section 3.2).
"""

import base64
import functools
import hashlib

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.compose.canonical import relaxed_value
from mail.message import Field

OVERSIGNED = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
)
"""Named as often as present plus once."""

SIGNED = (
    b"sender",
    b"in-reply-to",
    b"references",
    b"content-transfer-encoding",
    b"list-id",
    b"list-help",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
    b"auto-submitted",
)
"""Named as often as present (RFC 6376 section 5.4.1)."""

SMALLEST_RSA = 1024  # RFC 8301 section 3.2: verifiers must not take less
GOOD_RSA = 2048  # RFC 8301 section 3.2: signers should use at least
_ORDER = (*OVERSIGNED, *SIGNED)
_LINE = 72
_PADDING = padding.PKCS1v15()
_SHA256 = utils.Prehashed(hashes.SHA256())


class Key(msgspec.Struct, frozen=True):
    """A private key with the name under which its public half is published."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @property
    def slow(self) -> bool:
        """RSA: a matter of 0.3 ms, for another process. Ed25519 takes a tenth of that."""
        return isinstance(self.private, RSAPrivateKey)

    @property
    def algorithm(self) -> str:
        """The a= tag."""
        return "rsa-sha256" if self.slow else "ed25519-sha256"


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """What all signatures of a message share."""

    header: bytes
    """Canonical signed fields, CRLF after each."""
    names: bytes
    """The h= tag, folded."""
    body_hash: bytes
    """The bh= tag."""


class Unsigned(msgspec.Struct, frozen=True):
    """A signature field but for its b= value, and the hash that is to be signed."""

    key: Key
    field: bytes
    digest: bytes


def load_key(pem: bytes, domain: str, selector: str) -> Key:
    """The key in `pem`. Raises ValueError with words for an operator: unreadable, encrypted, another algorithm, under 1024 bits."""
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ValueError("the private key is encrypted; store it without a passphrase, readable by the gateway alone") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("no PEM private key") from error
    if isinstance(private, RSAPrivateKey):
        if private.key_size < SMALLEST_RSA:
            raise ValueError(f"RSA key of {private.key_size} bits; verifiers refuse less than {SMALLEST_RSA} (RFC 8301), use {GOOD_RSA}")
    elif not isinstance(private, Ed25519PrivateKey):
        raise ValueError("the private key is neither RSA nor Ed25519")
    return Key(domain, selector, private)


def private_pem(key: Key) -> bytes:
    """The private key as `load_key` reads it."""
    return key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def body_hash(canonical_body: bytes) -> bytes:
    """The bh= tag for a body in canonical form."""
    return base64.b64encode(hashlib.sha256(canonical_body).digest())


def prepare(fields: list[Field], hashed_body: bytes) -> Prepared:
    """Choose and canonicalise the fields to sign. Of several with one name, the lowest is signed first (RFC 6376 section 5.4.2)."""
    present: dict[bytes, list[bytes]] = {}
    for field in fields:
        name = field.name
        if name in _SIGNABLE:
            raw = field.raw
            line = _usual_line(name, raw) if len(raw) <= _USUAL_LENGTH else _line(name, raw)
            if name in present:
                present[name].insert(0, line)
            else:
                present[name] = [line]
    names = _names(tuple([(name, len(found)) for name, found in present.items()]))
    lines: list[bytes] = []
    for name in _ORDER:
        lines += present.get(name, ())
    return Prepared(b"".join(lines), names, hashed_body)


def _line(name: bytes, raw: bytes) -> bytes:
    return b"%b:%b\r\n" % (name, relaxed_value(raw[raw.index(b":") + 1 :]))


_USUAL_LENGTH = 200
_usual_line = functools.lru_cache(maxsize=4096)(_line)
"""Many fields of a campaign are alike: From, Reply-To, List-Id, MIME-Version … About a megabyte when full."""


@functools.lru_cache(maxsize=256)
def _names(present: tuple[tuple[bytes, int], ...]) -> bytes:
    """The h= tag for fields that are there so many times. Mail of one application has the same few sets of them."""
    times = dict(present)
    listed: list[bytes] = []
    for name in _ORDER:
        listed += [name] * (times.get(name, 0) + (name in _OVERSIGNED))
    return _folded_names(listed)


_SIGNABLE = frozenset(_ORDER)
_OVERSIGNED = frozenset(OVERSIGNED)


def _folded_names(names: list[bytes]) -> bytes:
    """`names` with colons, folded (RFC 6376 section 3.5, h=: white space may stand after a colon)."""
    rows: list[bytes] = []
    row = b""
    for name in names:
        if len(row) + len(name) > _LINE:
            rows.append(row)
            row = b""
        row += name + b":"
    rows.append(row)
    return b"\r\n ".join(rows)[:-1]


def unsigned(key: Key, prepared: Prepared, now: float) -> Unsigned:
    """The signature field made at Unix time `now`, without its b= value, and the hash to sign (RFC 6376 section 3.7).

    The field is written so that its canonical form is itself with the folds taken out: single spaces only, and only where it folds.
    """
    algorithm = key.algorithm.encode()
    field = b"v=1; a=%b; c=relaxed/relaxed; d=%b;\r\n s=%b; t=%d;\r\n h=%b;\r\n bh=%b;\r\n b=" % (
        algorithm,
        key.domain.encode("ascii"),
        key.selector.encode("ascii"),
        int(now),
        prepared.names,
        prepared.body_hash,
    )
    digest = hashlib.sha256(prepared.header)
    digest.update(b"dkim-signature:" + field.replace(b"\r\n ", b" "))
    return Unsigned(key, field, digest.digest())


def signature(key: Key, digest: bytes) -> bytes:
    """The signature of the SHA-256 `digest`. RSA of 2048 bits takes about 0.3 ms."""
    private = key.private
    if isinstance(private, RSAPrivateKey):
        return private.sign(digest, _PADDING, _SHA256)
    return private.sign(digest)  # RFC 8463 section 3: Ed25519 over the SHA-256 hash


def finished(unsigned: Unsigned, made: bytes) -> bytes:
    """The whole field with its CRLF, signature in place."""
    written = base64.b64encode(made)
    rows = [written[start : start + _LINE] for start in range(0, len(written), _LINE)]
    return b"DKIM-Signature: %b%b\r\n" % (unsigned.field, b"\r\n ".join(rows))


def sign(unsigned: Unsigned) -> bytes:
    """`finished` with the signature made here and now."""
    return finished(unsigned, signature(unsigned.key, unsigned.digest))
