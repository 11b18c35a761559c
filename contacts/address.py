"""The normal form of an address: two spellings that reach one person are one text, and nothing else is.

Suppression must find an address however an application writes it, so the form is as wide as mail systems in practice are, and not wider:

- the domain in lower case, A-labels (RFC 5891), no trailing dot: `mail.address` has done it already;
- the local part in lower case. RFC 5321 section 2.4 allows it to be case sensitive; no mailbox operator of size makes use of that, and
  `Jane@example.org` who complained must not be written to as `jane@example.org`. Lower case, not case folding: that would make one of
  `straße@` and `strasse@`, which are two people;
- composed Unicode (NFC, RFC 6532 section 3.1), so that an accent typed as one character or as two is the same;
- a quoted local part without its quotes where they are not needed: RFC 5321 section 4.1.2 calls the two forms equal;
- plus-tags and dots are KEPT. That `a.b+c@` is `ab@` is one operator's custom; elsewhere they are different people.

Pure. Promises: the same text for the same person by these rules, and that the normal form of a normal form is itself. It does not check
that an address can exist: `mail.address.address_of` does that and says None.
"""

import hashlib
import re
import unicodedata

from mail.address import Address, address_of, normalise_domain

_ATOM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~")
"""`atext` of RFC 5322 section 3.2.3."""
HASHED = "sha256:"
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,180}")
_HEXADECIMAL = frozenset("0123456789abcdef")


def normal_form(address: Address) -> str:
    """The text under which `address` is known to suppression. The null sender gives ""."""
    local = address.local
    if not local:
        return ""
    if local[0] == '"':
        local = _unquoted(local)
    if local.isascii():
        return f"{local.lower()}@{address.domain}"
    lowered = unicodedata.normalize("NFC", local).lower()
    return f"{unicodedata.normalize('NFC', lowered)}@{address.domain}"


def normalise(text: str) -> str | None:
    """The normal form of the address written as `text` (white space around it is not part of it), or None when it is not an address."""
    text = text.strip()
    if _PLAIN.fullmatch(text):  # nearly all of them: lists have millions of lines
        local, _, domain = text.lower().partition("@")
        known = normalise_domain(domain)
        return f"{local}@{known}" if known is not None else None
    address = address_of(text)
    return None if address is None else normal_form(address)


def subject_of(text: str) -> str | None:
    """What an entry is about: the normal form of the address `text`, or `sha256:` and 64 hexadecimal digits in lower case, which stand for
    the address whose normal form has this hash. None for anything else."""
    if "@" in text:
        return normalise(text)
    text = text.strip()
    if text[:7].lower() != HASHED:
        return None
    digits = text[7:].lower()
    return HASHED + digits if len(digits) == 64 and not set(digits) - _HEXADECIMAL else None


def hash_of(subject: str) -> bytes:
    """SHA-256 of the normal form: of an address, or as `sha256:…` says. So an address and its hash are filed in one place."""
    if subject.startswith(HASHED) and "@" not in subject:
        return bytes.fromhex(subject[len(HASHED) :])
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()


def _unquoted(local: str) -> str:
    """`local` without quotes and escapes where it is an atom without them, else with only the escapes that are needed."""
    inner = local[1:-1]
    if "\\" in inner:
        inner = _unescaped(inner)
    atoms = inner.split(".")
    if all(atoms) and all(letter in _ATOM or letter > "\x7f" for letter in inner.replace(".", "")):
        return inner
    return '"' + inner.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unescaped(inner: str) -> str:
    """Quoted pairs (RFC 5321 section 4.1.2) as the characters they stand for."""
    letters: list[str] = []
    escaped = False
    for letter in inner:
        if letter == "\\" and not escaped:
            escaped = True
            continue
        letters.append(letter)
        escaped = False
    return "".join(letters)
