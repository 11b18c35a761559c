"""Header text for people and labels: encoded words (RFC 2047), raw UTF-8 or Latin-1, no control characters.

Promises: any octets in, text out, never an exception; what cannot be decoded stays as it is written. Only charsets of mail are looked
up, so a hostile name cannot reach a codec that inflates or evaluates.
"""

import binascii
import codecs
import functools
import re

MAX_TEXT = 4096
"""Octets of a value that are decoded; the rest is cut off."""

_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[A-Za-z0-9-]{1,20})?\?([bBqQ])\?([!->@-~]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?)")
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")
_CHARSET = re.compile(
    r"utf-8|ascii|iso8859-\d+|cp\d+|koi8-[rtu]|big5|big5hkscs|gb2312|gbk|gb18030|euc_jp|shift_jis|iso2022_jp\w*|iso2022_kr|euc_kr"
    r"|mac-(?:roman|cyrillic|greek|latin2|turkish)|tis-620"
)


@functools.lru_cache(maxsize=256)
def _charset(name: str) -> str | None:
    """The codec for a charset of mail, or None: codecs that are no charset (zlib, idna, unicode_escape …) have no place here."""
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return codec if _CHARSET.fullmatch(codec) else None


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, written = match.groups()
    codec = _charset(charset.lower())
    if codec is None:
        return match.group()
    try:
        if encoding in "bB":
            octets = binascii.a2b_base64(written + "=" * (-len(written) % 4))
        else:
            octets = binascii.a2b_qp(written.encode("ascii"), header=True)
        return octets.decode(codec, "replace")
    except (ValueError, LookupError):  # binascii.Error and UnicodeError are ValueErrors
        return match.group()


def text(value: bytes, most: int = MAX_TEXT) -> str:
    """An unfolded `value` for people and labels, on one line and without white space at its ends; `most` octets of it."""
    value = value[:most]
    try:
        decoded = value.decode("utf-8")
    except UnicodeDecodeError:
        decoded = value.decode("latin-1")
    if "=?" in decoded:
        decoded = _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1", decoded))  # RFC 2047 section 6.2
    return one_line(decoded)


def one_line(written: str) -> str:
    """`written` without control characters and without white space at its ends."""
    if not written.isprintable():
        written = written.translate(_CONTROLS)
    return written.strip()
