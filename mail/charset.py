"""Text out of octets whose charset is named wrongly, not at all, or by something that is no charset.

Never an exception and never a slow codec: only the codecs listed here are used, with replacement characters. A name that is not known,
and octets that do not fit their name, are read as UTF-8 when they are UTF-8, else as Latin-1.
"""

import html
import re

_CODECS = {
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "utf-7": "utf-7",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp",
    "iso-2022-jp-2": "iso2022_jp_2",
    "iso-2022-jp-ms": "iso2022_jp",
    "cp50220": "iso2022_jp",
    "iso-2022-kr": "iso2022_kr",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "x-gbk": "gb18030",
    "big5": "big5",
    "big5-hkscs": "big5hkscs",
    "koi8-r": "koi8_r",
    "koi8-u": "koi8_u",
    "cp437": "cp437",
    "cp850": "cp850",
    "cp866": "cp866",
    "ibm850": "cp850",
    "macintosh": "mac_roman",
    "tis-620": "tis_620",
}
_CODECS |= {f"iso-8859-{part}": f"iso8859_{part}" for part in range(1, 17) if part != 12}
_CODECS |= {f"iso8859-{part}": f"iso8859_{part}" for part in range(1, 17) if part != 12}
_CODECS |= {f"windows-{page}": f"cp{page}" for page in (874, *range(1250, 1259))}
_CODECS |= {f"cp{page}": f"cp{page}" for page in (874, *range(1250, 1259))}

_BREAKS = re.compile(
    r"<(?:br|p|/p|div|/div|li|/li|tr|/tr|/td|h[1-6]|/h[1-6]|hr|blockquote|/blockquote|pre|/pre)(?:\s[^<>]{0,500})?/?>", re.I
)
_TAGS = re.compile(r"<[a-z/!?][^<>]{0,2000}>", re.I)
_MANY_NEWLINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


def decode(octets: bytes, charset: str) -> str:
    """`octets` as text. A byte order mark is taken off."""
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    codec = _CODECS.get(charset.strip().strip("'\"").lower(), "")
    if codec in ("", "utf-8"):
        return _guess(octets)
    try:
        return octets.decode(codec)
    except (UnicodeError, ValueError):
        if codec != "cp1252" and not codec.startswith("iso8859") and not octets.isascii():
            return octets.decode(codec, "replace")
        return _guess(octets)


def _guess(octets: bytes) -> str:
    """Text whose charset nobody named in a way that fits."""
    if b"\x1b$" in octets:
        return octets.decode("iso2022_jp", "replace")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def text_of_html(source: str) -> str:
    """The words of a page, one block a line, so that what reads plain text can read it too. Linear; not a renderer."""
    source = _without(source, "<script", "</script")
    source = _without(source, "<style", "</style")
    source = source.replace("\n", " ")
    source = _BREAKS.sub("\n", source)
    source = html.unescape(_TAGS.sub("", source)).replace("\xa0", " ")
    return _MANY_NEWLINES.sub("\n\n", source)


def _without(source: str, opening: str, closing: str) -> str:
    """`source` less everything from each `opening` to the `closing` after it (both in lower case)."""
    lower = source.lower()
    if len(lower) != len(source) or opening not in lower:
        return source
    kept, at = [], 0
    while True:
        start = lower.find(opening, at)
        if start < 0:
            kept.append(source[at:])
            return "".join(kept)
        kept.append(source[at:start])
        end = lower.find(closing, start)
        if end < 0:
            return "".join(kept)
        at = end
