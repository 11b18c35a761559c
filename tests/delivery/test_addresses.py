"""Which addresses a next hop may have, and who is who."""

import pytest

from config.sending import Provider, Source
from config.settings import Settings
from config.submission import Listener
from gateway.delivery.addresses import LOOP, endpoint, own_addresses, refusal
from gateway.delivery.providers import ProviderTable, default_name


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.5",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "::127.0.0.1",
        "not an address",
    ],
)
def test_addresses_that_are_not_the_public_internet_are_refused(address: str) -> None:
    assert refusal(address, frozenset())


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450:4001:81b::200e", "151.101.1.69"])
def test_public_addresses_are_welcome(address: str) -> None:
    assert refusal(address, frozenset({"9.9.9.9"})) == ""


def test_our_own_addresses_are_where_we_listen_and_send_from() -> None:
    configured = Settings(
        listener=[Listener(address="9.9.9.9:25"), Listener(name="any", address="0.0.0.0:587")],
        source=[Source(name="default", address="8.8.4.4", address6="2a00:1450::1")],
    )
    own = own_addresses(configured)
    assert own == {"9.9.9.9", "8.8.4.4", "2a00:1450::1"}
    assert refusal("8.8.4.4", own) == LOOP


def test_endpoints_are_read_with_and_without_brackets() -> None:
    assert endpoint("127.0.0.1:25") == ("127.0.0.1", 25)
    assert endpoint("[::1]:53") == ("::1", 53)
    assert endpoint("dns.example:53") is None
    assert endpoint("127.0.0.1") is None


TABLE = ProviderTable(
    [
        Provider(name="business", mx=[".mail.protection.example.com."]),
        Provider(name="consumer", mx=[".olc.mail.protection.example.com"]),
        Provider(name="google", mx=[".google.com", "googlemail.com"], domains=["gmail.com"]),
        Provider(name="late", mx=[".google.com"]),
    ]
)


def test_the_longest_suffix_on_a_label_boundary_wins() -> None:
    assert TABLE.of_host("x.olc.mail.protection.example.com.") == "consumer"
    assert TABLE.of_host("y.mail.protection.example.com") == "business"
    assert TABLE.of_host("ASPMX.L.google.com") == "google"
    assert TABLE.of_host("notgoogle.com") is None
    assert TABLE.of_host("alt1.googlemail.com") == "google"


def test_the_domain_decides_before_the_hosts() -> None:
    assert TABLE.of("gmail.com", [(10, "mx.elsewhere.example")]) == ("google", True)


def test_the_majority_of_the_most_preferred_hosts_decides() -> None:
    mixed = [(10, "a.google.com"), (10, "b.google.com"), (10, "mx.other.example"), (20, "x.mail.protection.example.com")]
    assert TABLE.of("d.example", mixed) == ("google", False)
    assert TABLE.of("d.example", [(5, "x.mail.protection.example.com"), *mixed]) == ("business", False)


def test_others_are_named_by_the_registrable_domains_of_their_best_hosts() -> None:
    assert TABLE.of("d.example", [(10, "mx2.mail.ovh.net"), (10, "mx1.mail.ovh.net"), (50, "mxb.ovh.co.uk")]) == ("ovh.net", False)
    assert default_name(["mx.a.co.uk", "mx.b.com"]) == "a.co.uk+b.com"
    assert default_name(["localhost"]) == "localhost"
