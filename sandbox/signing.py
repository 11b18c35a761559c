"""DNSSEC in the fake Internet: zones with keys, real signatures, and the view that a validating resolver has of them.

A gateway does not see the servers of a zone but a resolver that validates (RFC 4035 section 3.2), and so does who asks the sandbox's name
server: answers of zones it signs are signed (ECDSA P-256, RFC 6605), *verified* against the zone's keys, and marked AD only when that
worked; a zone that is `bogus` signs with a key it does not publish, so verification fails and the answer is SERVFAIL, unless CD asks for
it as it is. Zones that are not listed are unsigned. What is left out: delegation from the root (the sandbox's zones are its trust anchors)
and proofs that a name does not exist.
"""

import time
from collections.abc import Iterable

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm

LIFETIME = 86_400
"""Seconds for which a signature is valid."""


class SignedZone:
    """One zone: its keys, and signatures made when they are asked for."""

    def __init__(self, apex: str, bogus: bool = False) -> None:
        self.apex = dns.name.from_text(apex)
        published = ec.generate_private_key(ec.SECP256R1())
        self._private = ec.generate_private_key(ec.SECP256R1()) if bogus else published
        self.key = dns.dnssec.make_dnskey(published.public_key(), Algorithm.ECDSAP256SHA256)
        self.keys = dns.rrset.from_rdata(self.apex, 300, self.key)
        self._signatures: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], tuple[dns.rrset.RRset, dns.rrset.RRset]] = {}

    def signature(self, records: dns.rrset.RRset) -> dns.rrset.RRset:
        """The RRSIG of `records`."""
        known = self._signatures.get((records.name, records.rdtype))
        if known is not None and known[0] == records:
            return known[1]
        made = dns.dnssec.sign(records, self._private, self.apex, self.key, lifetime=LIFETIME)
        signature = dns.rrset.from_rdata(records.name, records.ttl, made)
        self._signatures[records.name, records.rdtype] = (records, signature)
        return signature

    def verified(self, records: dns.rrset.RRset, signature: dns.rrset.RRset) -> bool:
        """Whether the published key made `signature` of `records`."""
        try:
            dns.dnssec.validate(records, signature, {self.apex: self.keys}, now=time.time())
        except dns.exception.ValidationFailure:
            return False
        return True


class Validation:
    """All signed zones, and what validation makes of an answer."""

    def __init__(self, signed: Iterable[str], bogus: Iterable[str]) -> None:
        self._zones = {zone.apex: zone for zone in [*(SignedZone(apex) for apex in signed), *(SignedZone(apex, True) for apex in bogus)]}

    def zone_of(self, name: dns.name.Name) -> SignedZone | None:
        """The closest signed zone that `name` is in."""
        while True:
            zone = self._zones.get(name)
            if zone is not None or name == dns.name.root:
                return zone
            name = name.parent()

    def apply(self, query: dns.message.Message, response: dns.message.Message) -> None:
        """Sign and judge `response`, in place: AD where all of it is secure, SERVFAIL where a signature is wrong."""
        question = query.question[0]
        zone = self.zone_of(question.name)
        if zone is not None and question.name == zone.apex and question.rdtype == dns.rdatatype.DNSKEY and not response.answer:
            response.answer.append(zone.keys)
            response.authority.clear()
        wants = bool(query.ednsflags & dns.flags.DO)
        secure = zone is not None
        for records in list(response.answer):
            zone = self.zone_of(records.name)
            if zone is None:
                secure = False
                continue
            signature = zone.signature(records)
            if not zone.verified(records, signature):
                secure = False
                if not query.flags & dns.flags.CD:
                    response.answer.clear()
                    response.set_rcode(dns.rcode.SERVFAIL)
                    return
            if wants:
                response.answer.append(signature)
        # RFC 6840 section 5.8: AD for whoever asked by AD or DO.
        if secure and (wants or query.flags & dns.flags.AD) and not query.flags & dns.flags.CD:
            response.flags |= dns.flags.AD
