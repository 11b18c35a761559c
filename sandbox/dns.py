"""The fake Internet's authoritative name server: what the scenario says, and NXDOMAIN for everything else. UDP and TCP on one port.

A query that cannot be read is not answered. Answers too large for the asker are truncated, so that it comes back over TCP (RFC 1035 section
4.2.1). Negative answers carry a SOA record with a short time to live (RFC 2308 section 3). It does not recurse. Zones that the scenario
signs are answered as a validating resolver answers (`sandbox.signing`).
"""

import asyncio
import struct
from collections import Counter
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from sandbox.provider import host_names
from sandbox.scenario import Mailboxes, Name, Scenario
from sandbox.signing import Validation

NOBODY = "127.0.254.253"
"""Nothing listens there."""
SILENCE = "127.0.254.254"
"""Where a connection is neither taken nor refused (`sandbox.silence`)."""
_NEGATIVE_TTL = 5
_TCP_IDLE = 10.0
_MAX_CHAIN = 8

Records = dict[dns.rdatatype.RdataType, dns.rrset.RRset]


class Zone:
    """Names to records, and names with trouble. Pure: `answer` makes a response of a query."""

    def __init__(self, scenario: Scenario, addresses: dict[str, str]) -> None:
        self._records: dict[dns.name.Name, Records] = {}
        self._trouble: dict[dns.name.Name, str] = {}
        self.asked: Counter[str] = Counter()
        given = {dns.name.from_text(name.name) for name in scenario.name}
        for mailboxes in scenario.provider:
            self._add_provider(mailboxes, addresses[mailboxes.name], given)
        for name in scenario.name:
            self._add_name(name)
        self._validation = Validation(scenario.signed, scenario.bogus)

    def replace(self, name: Name) -> None:
        """From now on this is all that is said about the name."""
        owner = dns.name.from_text(name.name)
        self._records.pop(owner, None)
        self._trouble.pop(owner, None)
        self._add_name(name)

    def _add_provider(self, mailboxes: Mailboxes, address: str, given: set[dns.name.Name]) -> None:
        """MX of its domains and A of its hosts, except of names the scenario gives itself."""
        hosts = host_names(mailboxes)
        for domain in mailboxes.domains:
            if dns.name.from_text(domain) not in given:
                for preference, host in enumerate(hosts, 1):
                    self._add(domain, 300, f"MX {preference * 10} {host}.")
        for host in hosts:
            if dns.name.from_text(host) not in given:
                where = NOBODY if host in mailboxes.dead else SILENCE if host in mailboxes.silent else address
                self._add(host, 300, f"A {where}")

    def _add_name(self, name: Name) -> None:
        owner = dns.name.from_text(name.name)
        self._records.setdefault(owner, {})
        if name.trouble != "none":
            self._trouble[owner] = name.trouble
        for record in name.records:
            self._add(name.name, name.ttl, record)

    def _add(self, name: str, ttl: int, record: str) -> None:
        """Raises ValueError, naming the record, when it cannot be read."""
        owner = dns.name.from_text(name)
        kind_text, _, text = record.partition(" ")
        try:
            kind = dns.rdatatype.from_text(kind_text)
            data = dns.rdata.from_text(dns.rdataclass.IN, kind, text)
        except dns.exception.DNSException as error:
            raise ValueError(f"name {name}: cannot read the record {record!r}: {error}") from None
        records = self._records.setdefault(owner, {})
        if kind not in records:
            records[kind] = dns.rrset.RRset(owner, dns.rdataclass.IN, kind)
            records[kind].update_ttl(ttl)
        records[kind].add(data, ttl)

    def _find(self, name: dns.name.Name) -> tuple[Records | None, str]:
        """Records and trouble of `name`, else of the nearest wildcard above it (RFC 4592 section 3.3.1)."""
        if name in self._records:
            return self._records[name], self._trouble.get(name, "none")
        parent = name
        while parent != dns.name.root:
            parent = parent.parent()
            star = dns.name.Name((b"*", *parent.labels))
            if star in self._records:
                return self._records[star], self._trouble.get(star, "none")
        return None, "none"

    def answer(self, query: dns.message.Message, stream: bool) -> dns.message.Message | None:
        """The response to `query`, or None where nothing is sent. `stream` is true over TCP."""
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if len(query.question) != 1 or query.opcode() != 0:
            response.set_rcode(dns.rcode.NOTIMP)
            return response
        question = query.question[0]
        self.asked[f"{question.name} {dns.rdatatype.to_text(question.rdtype)}"] += 1
        name = question.name
        for _ in range(_MAX_CHAIN):
            records, trouble = self._find(name)
            if trouble != "none":
                return _troubled(response, trouble, stream) if trouble != "hang" else None
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            alias = records.get(dns.rdatatype.CNAME)
            if alias is not None and question.rdtype != dns.rdatatype.CNAME:
                response.answer.append(_named(alias, name))
                name = alias[0].target
                continue
            found = records.get(question.rdtype)
            if found is not None:
                response.answer.append(_named(found, name))
            break
        if not response.answer or response.rcode() == dns.rcode.NXDOMAIN:
            response.authority.append(_SOA)
        self._validation.apply(query, response)
        return response


_SOA = dns.rrset.from_text(".", _NEGATIVE_TTL, "IN", "SOA", f"ns.sandbox.test. postmaster.sandbox.test. 1 60 60 60 {_NEGATIVE_TTL}")


def _named(records: dns.rrset.RRset, name: dns.name.Name) -> dns.rrset.RRset:
    """The records under `name`, where a wildcard gave them."""
    if records.name == name:
        return records
    copy = dns.rrset.RRset(name, records.rdclass, records.rdtype)
    for record in records:
        copy.add(record, records.ttl)
    return copy


def _troubled(response: dns.message.Message, trouble: str, stream: bool) -> dns.message.Message:
    match trouble:
        case "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
        case "refused":
            response.set_rcode(dns.rcode.REFUSED)
        case _ if not stream:
            response.flags |= dns.flags.TC
    return response


def _respond(zone: Zone, wire: bytes, stream: bool) -> bytes | None:
    """The response to the query in `wire` as it goes over the wire, or None."""
    try:
        query = dns.message.from_wire(wire)
        response = zone.answer(query, stream)
        if response is None:
            return None
        size = 65_535 if stream else max(512, query.payload)
        return response.to_wire(max_size=size, prefer_truncation=True)
    except (dns.exception.DNSException, ValueError):
        return None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is one in all but its class

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        response = _respond(self._zone, data, stream=False)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, address)


class NameServer:
    """The zone on 127.0.0.1, UDP and TCP on the same port."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen, and return the port. Raises OSError when `port` is taken."""
        loop = asyncio.get_running_loop()
        for left in range(9, -1, -1):
            self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self.zone), local_addr=("127.0.0.1", port))
            bound = int(self._transport.get_extra_info("sockname")[1])
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", bound)
                return bound
            except OSError:  # somebody has that port for TCP
                self._transport.close()
                if port or not left:
                    raise
        raise AssertionError("the loop returns or raises")

    async def stop(self) -> None:
        """Close both sockets."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries over TCP, each with its length before it (RFC 1035 section 4.2.2), until the client is done or idle."""
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    response = _respond(self.zone, await reader.readexactly(length), stream=True)
                    if response is not None:
                        writer.write(struct.pack("!H", len(response)) + response)
                        await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
