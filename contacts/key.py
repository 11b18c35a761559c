"""The secret under which addresses are filed, and the filing itself.

The key of an address is BLAKE2b (RFC 7693), keyed, over the SHA-256 of its normal form. Keyed, because plain hashes of addresses are
reversed by trying addresses; over SHA-256, because lists are exchanged as plain SHA-256, and one of those can then be filed, and met by a
lookup, without anybody knowing the address.

The secret is a file of its own, readable by its owner only, made once. On a bad day: a key file that is lost cannot be replaced, the
entries under it can no longer be found; so the caller checks it against `check_value` and refuses to go on, and never makes a second one
silently.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from contacts.address import hash_of
from contacts.trouble import StoreError

SECRET_LENGTH = 32
KEY_LENGTH = 16
"""128 bits: among 10 million entries no lookup meets a wrong one."""


class AddressKeys:
    """Files addresses under one secret."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._keyed = hashlib.blake2b(digest_size=KEY_LENGTH, key=secret, person=b"suppression")

    def of(self, normal: str) -> bytes:
        """The key of an address in normal form, or of `sha256:…` (`contacts.address.subject_of`): both are one key."""
        return self.of_hash(hash_of(normal))

    def of_hash(self, sha256: bytes) -> bytes:
        """The key of the address whose normal form has this SHA-256."""
        keyed = self._keyed.copy()
        keyed.update(sha256)
        return keyed.digest()

    def check_value(self) -> bytes:
        """Says whether two secrets are the same, and nothing about them."""
        return self.of_hash(b"check")


def load_secret(path: Path, *, create: bool) -> bytes:
    """The secret in `path`; with `create` one is made where there is none. Raises StoreError: missing, of a wrong size, open to others."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not create:
            raise StoreError(f"{path} is missing: without it the suppression list beside it cannot be read") from None
        return _create(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise StoreError(f"{path} is open to others: chmod 600")
        secret = file.read(SECRET_LENGTH + 1)
    if len(secret) != SECRET_LENGTH:
        raise StoreError(f"{path} has not {SECRET_LENGTH} octets")
    return secret


def _create(path: Path) -> bytes:
    """Whole or not at all, and on disk before it is used: written beside, then linked into its place."""
    secret = secrets.token_bytes(SECRET_LENGTH)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return secret
