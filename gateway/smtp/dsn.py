"""The parameters by which a sender says what it wants to be told (RFC 3461 section 4): RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT.

Read strictly: each function gives the value in the one form that is kept and passed on, or None for what the grammar does not allow. What
comes out is printable ASCII without spaces, so it can be written on the wire again as it is; an original recipient in UTF-8 becomes
utf-8-addr-xtext, which any next hop takes (RFC 6533 section 3). Pure; it decides nothing about who is told.
"""

import re

import msgspec

from mail.address import Address
from mail.xtext import decode_utf8_address, decode_xtext, encode_utf8_address

LONGEST_ENVID = 100  # RFC 3461 section 4.4
LONGEST_ORCPT = 500  # RFC 3461 section 4.2

_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]{1,64}")  # RFC 3461 section 4.2: atom


class RecipientCommand(msgspec.Struct, frozen=True, gc=False):
    """RCPT with NOTIFY or ORCPT; both as the functions below give them, "" when absent."""

    address: Address
    notify: str = ""
    orcpt: str = ""


def ret(value: str | None) -> str | None:
    """RET (RFC 3461 section 4.3): FULL or HDRS."""
    word = (value or "").upper()
    return word if word in ("FULL", "HDRS") else None


def envid(value: str | None) -> str | None:
    """ENVID (RFC 3461 section 4.4), in xtext as it came; what it stands for is printable ASCII."""
    if value is None or len(value) > LONGEST_ENVID or decode_xtext(value) is None:
        return None
    return value


def notify(value: str | None) -> str | None:
    """NOTIFY (RFC 3461 section 4.1): NEVER alone, or words in the order SUCCESS, FAILURE, DELAY with commas between."""
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if not all(word in _NOTIFY for word in words):
        return None
    return ",".join(word for word in _NOTIFY if word in words)


def orcpt(value: str | None, *, smtputf8: bool) -> str | None:
    """ORCPT (RFC 3461 section 4.2): address type, semicolon, address in xtext; of type utf-8 as RFC 6533 section 3 says, where letters
    that are not ASCII may stand for themselves only if MAIL asked for SMTPUTF8."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or len((value or "").encode()) > LONGEST_ORCPT or _ADDRESS_TYPE.fullmatch(kind) is None:
        return None
    if kind.lower() != "utf-8":
        return value if decode_xtext(address) is not None else None
    if not smtputf8 and not address.isascii():
        return None
    plain = decode_utf8_address(address)
    return None if plain is None else f"utf-8;{encode_utf8_address(plain)}"
