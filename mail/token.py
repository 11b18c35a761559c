"""Tokens: how mail that comes back finds the delivery it belongs to, and how a link in a message proves who may use it (DESIGN section 5).

Two shapes, with their purpose inside the MAC, so that one never serves as another:

- *short*, for the local part of the return path: `b+`, key id (1), day (3), delivery (13), MAC (16), all lower-case base32 (RFC 4648
  alphabet): 35 characters, of the 64 that a local part has. Local parts lose their case on the way, so it is read in any case. It is good
  for a window of days and says nothing by itself; the sent ledger knows the rest.
- *sealed*, for links and header fields: account, stream, list, delivery, address, encrypted and authenticated (AES-SIV, RFC 5297: no nonce
  to repeat, equal contents give equal tokens). It never expires and needs no ledger.

Keys are retired, not deleted: a retired key still reads and no longer writes. Promises: any text in, an answer or None out, never an
exception; MACs are compared in constant time. Reads no clock and no file (`gateway.compose.keyring` does).
"""

import base64
import binascii
import enum
import functools
import hashlib
import hmac

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from mail.identity import TEXT_LENGTH, from_text, to_text

SHORT_LENGTH = 35
SECRET_LENGTH = 32
MAX_SEALED = 2048
"""Characters of the longest sealed token that is looked at."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_MAC_BYTES = 10  # 80 bits
_DAYS = 1 << 15  # 3 characters; the day is kept modulo this, 89 years
_PREFIX = "b+"


class Purpose(enum.StrEnum):
    """What a token is for. At most 16 octets (the personalisation of BLAKE2b); never change one."""

    RETURN_PATH = "return-path"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    REPLY = "reply"


class TokenKey(msgspec.Struct, frozen=True, gc=False):
    """One secret. `id` is one character of the base32 alphabet."""

    id: str
    secret: bytes
    retired: bool = False


class TokenKeys(msgspec.Struct, frozen=True):
    """All secrets, old and new. The last one that is not retired writes."""

    keys: tuple[TokenKey, ...]

    def current(self) -> TokenKey:
        """The key that writes. Raises ValueError when every key is retired."""
        for key in reversed(self.keys):
            if not key.retired:
                return key
        raise ValueError("no token key in use: every one is retired")

    def find(self, identifier: str) -> TokenKey | None:
        """The key with this id, retired or not."""
        for key in self.keys:
            if key.id == identifier:
                return key
        return None

    def with_new(self, secret: bytes) -> "TokenKeys":
        """A set in which `secret` writes and all others only read. Raises ValueError when no id is free or the secret is short."""
        free = [letter for letter in _ALPHABET if self.find(letter) is None]
        if not free or len(secret) < SECRET_LENGTH:
            raise ValueError("32 token keys exist already" if not free else f"a token secret has at least {SECRET_LENGTH} octets")
        retired = (msgspec.structs.replace(key, retired=True) for key in self.keys)
        return TokenKeys((*retired, TokenKey(free[0], secret)))


class Sealed(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a sealed token says. Fields may be added at the end, with defaults; never reorder them."""

    account: str
    stream: str
    list: str
    delivery: int
    address: str


def _mac(secret: bytes, purpose: Purpose, said: str) -> str:
    """80 bits over `said` as 16 characters: keyed BLAKE2b (RFC 7693), the purpose as its personalisation."""
    digest = hashlib.blake2b(said.encode("ascii"), digest_size=_MAC_BYTES, key=secret, person=purpose.encode("ascii")).digest()
    number = int.from_bytes(digest, "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in (70, 60, 50, 40, 30, 20, 10, 0)])


def day_of(now: float) -> int:
    """The day that Unix time `now` falls on, counted from 1970."""
    return int(now // 86_400)


def short(keys: TokenKeys, delivery: int, day: int) -> str:
    """The return path's local part for `delivery`, made on `day` (see `day_of`)."""
    key = keys.current()
    day %= _DAYS
    said = f"{key.id}{_ALPHABET[day >> 10]}{_PAIRS[day & 1023]}{to_text(delivery)}"
    return _PREFIX + said + _mac(key.secret, Purpose.RETURN_PATH, said)


def read_short(keys: TokenKeys, local_part: str, today: int, window_days: int) -> int | None:
    """The delivery named by `local_part`, or None: not ours, not whole, older than `window_days`, or from a day after tomorrow."""
    if len(local_part) != SHORT_LENGTH or not local_part.isascii():
        return None
    token = local_part.lower()
    said, mac = token[len(_PREFIX) : -16], token[-16:]
    key = keys.find(said[0])
    if not token.startswith(_PREFIX) or key is None:
        return None
    if not hmac.compare_digest(_mac(key.secret, Purpose.RETURN_PATH, said), mac):
        return None
    day = _ALPHABET.index(said[1]) << 10 | _ALPHABET.index(said[2]) << 5 | _ALPHABET.index(said[3])
    age = (today - day) % _DAYS
    if window_days < age < _DAYS - 1:  # one day ahead is a clock that was set back
        return None
    return from_text(said[-TEXT_LENGTH:])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Sealed)


@functools.lru_cache(maxsize=256)
def _cipher(secret: bytes, purpose: Purpose) -> AESSIV:
    return AESSIV(hashlib.blake2b(b"seal", digest_size=64, key=secret, person=purpose.encode("ascii")).digest())


def seal(keys: TokenKeys, purpose: Purpose, sealed: Sealed) -> str:
    """`sealed` as text for a URL or a header field: letters, digits, `-` and `_`, the first one the key id."""
    key = keys.current()
    octets = _cipher(key.secret, purpose).encrypt(_encoder.encode(sealed), [key.id.encode("ascii")])
    return key.id + base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def unseal(keys: TokenKeys, purpose: Purpose, token: str) -> Sealed | None:
    """What `token` says, or None when it was not sealed by us for this purpose."""
    if not 1 < len(token) <= MAX_SEALED or not token.isascii():
        return None
    key = keys.find(token[0])
    if key is None:
        return None
    try:
        octets = base64.b64decode(token[1:] + "=" * (-len(token[1:]) % 4), altchars=b"-_", validate=True)
        return _decoder.decode(_cipher(key.secret, purpose).decrypt(octets, [key.id.encode("ascii")]))
    except (binascii.Error, InvalidTag, ValueError, msgspec.DecodeError):
        return None
