"""What the fake Internet's domains publish about TLS, as names of the name server: MTA-STS announcements, and TLSA records of MX hosts."""

import hashlib

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sandbox.certificate import Chain
from sandbox.scenario import Mailboxes, Name, PolicyHost

POLICY_ADDRESS = "127.0.0.10"
NOBODY = "127.0.0.9"
"""An address where nothing listens."""


def announcement(host: PolicyHost) -> list[Name]:
    """RFC 8461 section 3.1, and the address of the web server."""
    record = [f'TXT "v=STSv1; id={host.id};"'] if host.id else []
    address = POLICY_ADDRESS if host.listening else NOBODY
    return [Name(name=f"_mta-sts.{host.domain}", records=record), Name(name=f"mta-sts.{host.domain}", records=[f"A {address}"])]


def tlsa(mailboxes: Mailboxes, hosts: list[str], shown: Chain, port: int) -> list[Name]:
    """TLSA records at `_port._tcp.HOST` of hosts that show `shown` (RFC 6698)."""
    key = shown.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    issuer = shown.certificates[-1].public_bytes(Encoding.DER)
    record = {
        "key": f"TLSA 3 1 1 {hashlib.sha256(key).hexdigest()}",
        "issuer": f"TLSA 2 0 1 {hashlib.sha256(issuer).hexdigest()}",
        "wrong": f"TLSA 3 1 1 {hashlib.sha256(b'another key').hexdigest()}",
        "unusable": f"TLSA 1 1 1 {hashlib.sha256(key).hexdigest()}",
    }.get(mailboxes.tlsa)
    return [Name(name=f"_{port}._tcp.{host}", records=[record]) for host in hosts] if record else []
