"""Keys of the HTTP API: made here, kept as hashes in the configuration, and looked up by each request's `Authorization: Bearer`.

A key is 256 random bits, so its plain SHA-256 is as good a secret as a slow hash and costs a microsecond. Nobody can try keys: there is
nothing to guess. The comparison looks at every configured key and takes the same time for each, whatever was sent. Pure.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

import msgspec

from config.api import ApiKey

PREFIX = "mwk_"
"""So that people and leak scanners know what it is."""
LONGEST = 200
ROLES = ("read", "write", "admin")
"""Each may do what those before it may."""


class Caller(msgspec.Struct, frozen=True):
    """Whose key a request has, and what it may do."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether the key opens what `role` opens."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Keys:
    """The configured keys."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = [(key.hash, Caller(key.name, key.role)) for key in keys]

    def caller(self, authorization: str) -> Caller | None:
        """Who sends this value of the Authorization field (RFC 6750 section 2.1), or None: no key, or none of ours."""
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not 0 < len(key) <= LONGEST:
            return None
        hashed = hash_of_key(key)
        found = None
        for known, caller in self._keys:
            if hmac.compare_digest(known, hashed):
                found = caller
        return found


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of_key(key: str) -> str:
    """What the configuration keeps of a key."""
    return "sha256$" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
