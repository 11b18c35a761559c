"""Idempotency at the door: what stands for an application's key, and for a body, in the spool.

Pure. The key is hashed together with the account's name, so no account can meet the keys of another; two keys never become one. The hash of
a body only tells whether a key is used for two different messages: it leaves out what a client makes anew when it builds the same message
again (the header, boundaries of MIME parts), and reads the first `MOST_BODY` octets.
"""

import hashlib
import re

MOST_BODY = 65_536

# Two expressions that begin with what is looked for: one with both looks at every octet, and takes five times as long.
_DELIMITER = re.compile(rb"\n--[^\r\n]*")
_BOUNDARY = re.compile(rb"boundary=[^\r\n;]*")


def identified(account: str, key: bytes, content: bytes, body_at: int) -> tuple[bytes, int]:
    """What the core is told: 16 octets for the account's key, and the hash of the body."""
    name = account.encode()
    stands_for = hashlib.blake2b(len(name).to_bytes(4, "big") + name + key, digest_size=16).digest()
    body = _BOUNDARY.sub(b"", _DELIMITER.sub(b"\n", b"\n" + content[body_at : body_at + MOST_BODY]))
    return stands_for, int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)
