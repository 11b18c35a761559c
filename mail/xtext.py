"""xtext, and the forms of an address that is not ASCII (RFC 3461 section 4, RFC 6533 section 3): what ENVID and ORCPT are written in.

Promises: any text in, the decoded text or None out; what comes out is printable and on one line, so it can stand in a field of a report.
Pure.
"""

import re

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # RFC 3461 section 4: xchar / hexchar
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+")  # RFC 6533 section 3: QCHAR, UTF-8, embedded
_ENCODED = re.compile(r"[^!-*,-<>-\[\]-~]")
_MUST_EMBED = frozenset("+=\\ ")


def decode_xtext(text: str) -> str | None:
    """The printable ASCII text that `text` stands for, or None when it is not xtext or stands for anything else."""
    if _XTEXT.fullmatch(text) is None:
        return None
    plain = _HEXCHAR.sub(lambda found: chr(int(found.group(1), 16)), text) if "+" in text else text
    return plain if plain.isascii() and plain.isprintable() else None


def decode_utf8_address(text: str) -> str | None:
    """The address that a utf-8-addr-xtext or utf-8-addr-unitext stands for, or None. Code points are in capitals, without leading zeros,
    and only those that cannot stand for themselves are embedded (RFC 6533 section 3, HEXPOINT)."""
    if _UNITEXT.fullmatch(text) is None:
        return None
    for digits in _EMBEDDED.findall(text):
        number = int(digits, 16)
        if digits != f"{number:02X}" or not _may_be_embedded(number):
            return None
    plain = _EMBEDDED.sub(lambda found: chr(int(found.group(1), 16)), text)
    return plain if plain.isprintable() else None


def encode_utf8_address(address: str) -> str:
    """A printable address as utf-8-addr-xtext: ASCII alone, fit for any command and report."""
    return _ENCODED.sub(lambda found: f"\\x{{{ord(found.group()):02X}}}", address)


def _may_be_embedded(number: int) -> bool:
    if 0xD800 <= number < 0xE000 or number > 0x10FFFF:
        return False
    return number >= 0x80 or chr(number) in _MUST_EMBED
