"""Which IP addresses of a next hop we are willing to connect to (pure).

A domain's owner writes any address he likes into his MX. Private, loopback, link-local, multicast and our own addresses are refused, as are
IPv6 addresses that wrap an IPv4 one, so that nobody uses the gateway to reach what stands behind it (DESIGN section 5, "hostile"), and no
message comes back to us in a loop. Static routes are the operator's own words and are not checked here.
"""

import ipaddress
from collections.abc import Iterable

from config.settings import Settings

_WRAPPERS = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))
"""NAT64, 6to4, Teredo and IPv4-compatible: the IPv4 address inside could be any."""

LOOP = "it is our own address"


def address_in(text: str) -> str | None:
    """The IP address written as `text` in its usual form, or None."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def endpoint(text: str) -> tuple[str, int] | None:
    """Address and port of `IP:port` or `[IPv6]:port`, or None."""
    host, colon, port = text.rpartition(":")
    address = address_in(host.strip("[]"))
    return (address, int(port)) if colon and address and port.isdigit() else None


def own_addresses(settings: Settings) -> frozenset[str]:
    """Addresses that are this gateway: where it listens and where it sends from."""
    texts = [place[0] for listener in settings.listener if (place := endpoint(listener.address))]
    for source in settings.source:
        texts.extend(text for text in (source.address, source.address6) if text)
    return frozenset(found for text in texts if (found := address_in(text)) and not ipaddress.ip_address(found).is_unspecified)


def refusal(text: str, own: Iterable[str]) -> str:
    """Why we do not connect to the address `text`, as the end of a sentence, or "" when we do."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "it is not an IP address"
    if str(address) in own:
        return LOOP
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or any(address in network for network in _WRAPPERS):
            return "it wraps an IPv4 address"
        if address.scope_id is not None:
            return "it is link-local"
    for is_so, name in (
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_private, "private"),
        (not address.is_global, "not of the public Internet"),
    ):
        if is_so:
            return f"it is {name}"
    return ""
