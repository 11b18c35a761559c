"""Mail addresses as the envelope carries them (RFC 5321 section 4.1.2, RFC 6531 section 3.3), and the normal form of a domain.

An address is kept as the text that was given, plus its domain in normal form (lower case, A-labels), because routing, limits and
suppression look at the domain and the receiver must see the local part untouched. Parsing SMTP paths with their parameters is
`gateway.smtp.grammar`; reading addresses out of header fields is `mail.message`.
"""

import functools

import idna
import msgspec

MAX_LOCAL = 64  # RFC 5321 section 4.5.3.1.1, octets
MAX_DOMAIN = 255  # RFC 5321 section 4.5.3.1.2, octets
MAX_ADDRESS = 254  # RFC 5321 section 4.5.3.1.3 less the angle brackets, octets


class Address(msgspec.Struct, frozen=True, gc=False):
    """One mailbox: `text` as given, without angle brackets, and `domain` in normal form. The null sender is `text == ""`."""

    text: str
    domain: str

    @property
    def local(self) -> str:
        """The part before the last at sign, as given."""
        return self.text.rpartition("@")[0]

    def __str__(self) -> str:
        return self.text


NULL_SENDER = Address("", "")
"""The reverse path `<>` of RFC 5321 section 4.5.5: a bounce or another message that must not be bounced."""


@functools.lru_cache(maxsize=65_536)
def normalise_domain(domain: str) -> str | None:
    """`domain` in lower case with A-labels (RFC 5891) and without a trailing dot, or None when it is not a domain name.

    Address literals (`[192.0.2.1]`) are returned in lower case as they are; whether one is welcome is the caller's matter.
    """
    domain = domain.strip().rstrip(".").lower()
    if not domain or len(domain) > MAX_DOMAIN * 4:
        return None
    if domain.startswith("["):
        return domain if domain.endswith("]") and len(domain) <= MAX_DOMAIN else None
    if domain.isascii():
        return domain if _is_host_name(domain) else None
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None
    return ascii_domain if _is_host_name(ascii_domain) else None


def _is_host_name(domain: str) -> bool:
    """Whether every label is letters, digits, hyphens or underscores (seen in the wild), 1 to 63 octets (RFC 1035 section 2.3.4)."""
    if len(domain) > MAX_DOMAIN:
        return False
    for label in domain.split("."):
        if not 1 <= len(label) <= 63 or not label.replace("-", "").replace("_", "").isalnum():
            return False
        if label[0] == "-" or label[-1] == "-":
            return False
    return True


def address_of(text: str) -> Address | None:
    """The address written as `text` (`local@domain`, no brackets), or None when it cannot be one.

    Only structure is checked here: one at sign that divides, lengths, no control characters or spaces outside a quoted local part.
    """
    local, at, domain = text.rpartition("@")
    if not at or not local:
        return None
    if len(local.encode("utf-8", "surrogatepass")) > MAX_LOCAL or len(text.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        return None
    quoted = len(local) > 1 and local[0] == '"' and local[-1] == '"'
    for character in local:
        if character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff":
            return None
        if not quoted and character in ' <>()[]:;,"\\@':
            return None
    normal = normalise_domain(domain)
    return Address(text, normal) if normal is not None else None
