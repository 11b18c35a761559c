"""Password hashes of accounts: scrypt (RFC 7914), written as `scrypt$N$r$p$SALT$HASH` with base64 parts.

`hash_password` makes one for `mailwright account add`; `verify_password` compares in constant time and takes as long for an account that
does not exist (give it `NOBODY`). A hash comes from a configuration file, but its costs are bounded all the same, so that a slip of the
hand cannot take the memory of the machine. Both are pure and slow on purpose (about 50 ms, 16 MiB): call them in a thread, never in the
loop.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1  # 16 MiB, about 50 ms: passwords of applications are long and random
_LARGEST_MEMORY = 128 * 1024 * 1024
_SALT = 16
_LENGTH = 32
LONGEST_PASSWORD = 1024
"""Octets. A longer one never verifies."""


def hash_password(password: str) -> str:
    """The hash to write in the configuration. Raises ValueError for an empty password or one over `LONGEST_PASSWORD` octets."""
    data = password.encode("utf-8")
    if not 0 < len(data) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has 1 to {LONGEST_PASSWORD} octets")
    salt = secrets.token_bytes(_SALT)
    return f"scrypt${_COST}${_BLOCK}${_PARALLEL}${_text(salt)}${_text(_scrypt(data, salt, _COST, _BLOCK, _PARALLEL, _LENGTH))}"


def verify_password(password: str, hashed: str) -> bool:
    """Whether `password` is the one of `hashed`. False for anything that is not a hash of ours; never an exception."""
    parsed = _parse(hashed)
    data = password.encode("utf-8", "surrogatepass")
    if parsed is None or not 0 < len(data) <= LONGEST_PASSWORD:
        return False
    cost, block, parallel, salt, expected = parsed
    return hmac.compare_digest(_scrypt(data, salt, cost, block, parallel, len(expected)), expected)


def is_hash(text: str) -> bool:
    """Whether `text` is a hash that `verify_password` can use."""
    return _parse(text) is not None


def _parse(hashed: str) -> tuple[int, int, int, bytes, bytes] | None:
    parts = hashed.strip().split("$")
    if len(parts) != 6 or parts[0] != "scrypt" or len(hashed) > 500:
        return None
    try:
        cost, block, parallel = (int(part) for part in parts[1:4])
        salt, expected = base64.b64decode(parts[4], validate=True), base64.b64decode(parts[5], validate=True)
    except (ValueError, binascii.Error):
        return None
    power_of_two = cost >= 2 and cost & (cost - 1) == 0
    if not power_of_two or not 1 <= block <= 32 or not 1 <= parallel <= 4 or 128 * cost * block * parallel > _LARGEST_MEMORY:
        return None
    return (cost, block, parallel, salt, expected) if 8 <= len(salt) <= 64 and 16 <= len(expected) <= 64 else None


def _scrypt(data: bytes, salt: bytes, cost: int, block: int, parallel: int, length: int) -> bytes:
    return hashlib.scrypt(data, salt=salt, n=cost, r=block, p=parallel, maxmem=2 * _LARGEST_MEMORY, dklen=length)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


NOBODY = f"scrypt${_COST}${_BLOCK}${_PARALLEL}${_text(bytes(_SALT))}${_text(bytes(_LENGTH))}"
"""A hash that no password has: verified for accounts that do not exist, so that a login tells nothing about names."""
