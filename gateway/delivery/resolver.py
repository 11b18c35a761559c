"""Answers of the DNS, from a cache of our own: dnspython does the asking, we keep what it learned in the smallest form.

Promises: equal questions in flight are asked once; answers are immutable values; the cache has a bound (least recently stored leave first);
a TTL is kept within a floor and a ceiling, a missing name at most `negative_ttl`; while the servers do not answer, an old answer is used
up to `stale` after its end; trouble is remembered for a short time, so that a dead server is not asked for every message; at most
`CONCURRENT` questions are on the way at once. A lookup never raises: trouble is a value and says why.

Does not validate DNSSEC: `secure` repeats what the name servers say (the AD bit), and only where the configuration trusts them to have
validated; a bogus answer comes as trouble. Trouble is never covered by an old TLSA answer: there, an old answer could be a forger's wish.
Does not follow MX or decide what an answer means for mail (`gateway.delivery.route`).
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import msgspec

from config.sending import Dns
from gateway.delivery.addresses import address_in, endpoint
from gateway.delivery.security.dane import Tlsa
from mail.address import normalise_domain

CONCURRENT: Final = 200
SHORTEST_TTL: Final = 60.0
TROUBLE_TTL: Final = 30.0
MAX_RECORDS: Final = 64
"""Records of one answer that are looked at; nobody needs more."""
MOST_TEXTS: Final = 4
LONGEST_TEXT: Final = 1024
"""Octets. Of TXT records only such as say their version first are kept: that is all that is asked for here."""
MOST_TLSA: Final = 16
LONGEST_TLSA: Final = 8192


class Mx(msgspec.Struct, frozen=True, gc=False, order=True):
    """One MX record. `host` is "" for the root (RFC 7505) and in normal form otherwise."""

    preference: int
    host: str


class Records(msgspec.Struct, frozen=True, gc=False):
    """The answer: records in a stable order (equal answers are equal), or none although the name exists."""

    mx: tuple[Mx, ...] = ()
    addresses: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()
    secure: bool = False
    """The name servers validated it (RFC 4035 section 3.2.3), and are trusted to."""
    canonical: str = ""
    """The name that has the records, in normal form, where it is an alias of that."""

    @property
    def empty(self) -> bool:
        """The name exists, and has no such record."""
        return not (self.mx or self.addresses or self.texts or self.tlsa)


class Missing(msgspec.Struct, frozen=True, gc=False):
    """NXDOMAIN: the name does not exist (RFC 8020)."""


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """The servers did not answer, or answered that they cannot."""

    why: str


Answer = Records | Missing | Trouble


class Found(msgspec.Struct, frozen=True, gc=False):
    """An answer and until when (Unix seconds) it may be used without asking again."""

    answer: Answer
    until: float


class _Entry(msgspec.Struct, gc=False):
    answer: Answer
    until: float
    """The answer is fresh until then."""
    stale_until: float
    retry: float = 0.0
    """While the servers do not answer: not asked again before this."""


Question = tuple[str, str]
"""Name in normal form, and record type."""


def _ignore(result: str) -> None:
    """Nobody watches."""


class Resolver:
    """Records by name and type. `clock` gives Unix seconds; `observe` hears hit, joined, asked, stale or trouble."""

    def __init__(self, settings: Dns, clock: Callable[[], float], observe: Callable[[str], None] = _ignore) -> None:
        self._settings = settings
        self._clock = clock
        self._observe = observe
        self._entries: dict[Question, _Entry] = {}
        self._flying: dict[Question, asyncio.Task[Found]] = {}
        self._places = asyncio.Semaphore(CONCURRENT)
        self._servers = _resolver(settings)
        self._validating = _validating(settings, self._servers)

    @property
    def fullness(self) -> tuple[int, int]:
        """Entries in the cache, and its bound."""
        return len(self._entries), self._settings.cache_entries

    @property
    def flying(self) -> int:
        """Questions on the way or waiting for a place."""
        return len(self._flying)

    def reconfigure(self, settings: Dns) -> None:
        """Ask as `settings` says from now on; what is known stays, unless it is of servers that are no longer believed."""
        self._settings = settings
        self._servers = _resolver(settings)
        believed, self._validating = self._validating, _validating(settings, self._servers)
        if believed != self._validating:
            self.forget()

    def forget(self) -> None:
        """Ask everything anew."""
        self._entries.clear()

    async def mx(self, name: str) -> Found:
        """MX records of `name`, in order of preference."""
        return await self.lookup(name, "MX")

    async def addresses(self, name: str, six: bool = False) -> Found:
        """A records of `name`, or AAAA records with `six`."""
        return await self.lookup(name, "AAAA" if six else "A")

    @property
    def validating(self) -> bool:
        """Whether answers can be `secure` at all."""
        return self._validating

    async def texts(self, name: str) -> Found:
        """TXT records of `name` that begin with `v=`, the strings of each joined."""
        return await self.lookup(name, "TXT")

    async def tlsa(self, host: str, port: int = 25) -> Found:
        """TLSA records of the TCP service at `port` of `host` (RFC 6698 section 3)."""
        return await self.lookup(f"_{port}._tcp.{host}", "TLSA")

    async def lookup(self, name: str, kind: str) -> Found:
        """The answer about `name` (normal form) of type `kind` (MX, A, AAAA, TXT or TLSA)."""
        question = (name, kind)
        entry = self._entries.get(question)
        now = self._clock()
        if entry is not None and now < max(entry.until, entry.retry):
            self._observe("hit")
            return Found(entry.answer, max(entry.until, entry.retry))
        task = self._flying.get(question)
        if task is None:
            self._observe("asked")
            task = asyncio.get_running_loop().create_task(self._ask(question), name=f"dns {kind} {name}")
            self._flying[question] = task
            task.add_done_callback(lambda _: self._flying.pop(question, None))
        else:
            self._observe("joined")
        # A caller that is cancelled does not take the question from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop asking. Lookups under way are cancelled."""
        tasks = list(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: Question) -> Found:
        async with self._places:
            answer, ttl = await self._fetch(*question)
        return self._keep(question, answer, ttl)

    def _keep(self, question: Question, answer: Answer, ttl: float) -> Found:
        """Remember `answer`; trouble gives way to an old answer that is not too old."""
        now = self._clock()
        old = self._entries.get(question)
        usable = old is not None and not isinstance(old.answer, Trouble) and now < old.stale_until and question[1] != "TLSA"
        if isinstance(answer, Trouble) and old is not None and usable:
            self._observe("stale")
            old.retry = now + TROUBLE_TTL
            return Found(old.answer, old.retry)
        if isinstance(answer, Trouble):
            self._observe("trouble")
            until, stale = now + TROUBLE_TTL, 0.0
        elif isinstance(answer, Missing) or answer.empty:
            until = now + min(max(ttl, SHORTEST_TTL), self._settings.negative_ttl)
            stale = until + self._settings.stale
        else:
            until = now + min(max(ttl, SHORTEST_TTL), self._settings.longest_ttl)
            stale = until + self._settings.stale
        self._entries.pop(question, None)
        self._entries[question] = _Entry(answer, until, stale)
        while len(self._entries) > self._settings.cache_entries:
            del self._entries[next(iter(self._entries))]
        return Found(answer, until)

    async def _fetch(self, name: str, kind: str) -> tuple[Answer, float]:
        """Ask the servers: the answer and its TTL in seconds. The one place where dnspython's exceptions become values."""
        try:
            async with asyncio.timeout(self._settings.timeout + 1.0):  # a second net below dnspython's own
                found = await self._servers.resolve(
                    dns.name.from_text(name), kind, raise_on_no_answer=False, lifetime=self._settings.timeout, search=False
                )
        except dns.resolver.NXDOMAIN as missing:
            return Missing(), _negative_ttl(missing)
        except (dns.exception.DNSException, OSError, ValueError, TimeoutError) as error:
            return Trouble(_words(error)), 0.0
        rrset = found.rrset
        records = list(rrset)[:MAX_RECORDS] if rrset is not None else []
        ttl = float(found.chaining_result.minimum_ttl)
        secure = self._validating and bool(found.response.flags & dns.flags.AD)
        return _records(kind, records, secure, _canonical(name, found.canonical_name)), ttl


def _records(kind: str, records: list[Any], secure: bool, canonical: str) -> Records:
    """The records of an answer in their smallest form."""
    match kind:
        case "MX":
            return Records(mx=tuple(sorted({mx for record in records if (mx := _mx(record)) is not None})), secure=secure)
        case "TXT":
            written = [b"".join(record.strings)[:LONGEST_TEXT] for record in records]
            texts = sorted(text.decode("utf-8", "replace") for text in written if text.startswith(b"v="))
            return Records(texts=tuple(texts[:MOST_TEXTS]), secure=secure)
        case "TLSA":
            # What is cut matches nothing: a record that is too long must not become an absent one.
            tlsa = sorted(Tlsa(one.usage, one.selector, one.mtype, one.cert[:LONGEST_TLSA]) for one in records[:MOST_TLSA])
            return Records(tlsa=tuple(tlsa), secure=secure)
    found = tuple(sorted(text for record in records if (text := address_in(record.address))))
    return Records(addresses=found, secure=secure, canonical=canonical)


def _canonical(asked: str, found: dns.name.Name) -> str:
    """The name that has the records in normal form, or "" when it is the one that was asked for."""
    name = normalise_domain(found.to_text(omit_final_dot=True)) or ""
    return "" if name == asked else name


def _mx(record: object) -> Mx | None:
    """An MX record with its host in normal form, or None when that is no host name."""
    name = record.exchange.to_text(omit_final_dot=True)  # type: ignore[attr-defined]
    preference = int(record.preference)  # type: ignore[attr-defined]
    if name in ("", ".", "@"):
        return Mx(preference, "")
    host = normalise_domain(name)
    return Mx(preference, host) if host is not None and not host.startswith("[") else None


def _negative_ttl(missing: dns.resolver.NXDOMAIN) -> float:
    """The TTL that the SOA record gives a missing name (RFC 2308 section 5), or 0 when there is none."""
    for response in missing.kwargs.get("responses", {}).values():
        if isinstance(response, dns.message.QueryMessage):
            try:
                return float(min(response.resolve_chaining().minimum_ttl, 86_400))
            except dns.exception.DNSException:
                continue
    return 0.0


def _words(error: BaseException) -> str:
    """What went wrong, short and printable."""
    if isinstance(error, dns.resolver.LifetimeTimeout | TimeoutError):
        return "no answer in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "no name server could answer (SERVFAIL, or unreachable)"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _resolver(settings: Dns) -> dns.asyncresolver.Resolver:
    """A dnspython resolver for the servers of `settings`, without a cache of its own."""
    try:
        servers = dns.asyncresolver.Resolver(configure=not settings.servers)
    except (dns.exception.DNSException, OSError):  # no readable system configuration: every question ends as trouble, and says so
        servers = dns.asyncresolver.Resolver(configure=False)
    if settings.servers:
        places = [endpoint(text) or (address_in(text.strip("[]")) or text, 53) for text in settings.servers]
        servers.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in places]
    servers.timeout = min(2.0, max(settings.timeout / 3, 0.05))
    servers.lifetime = settings.timeout
    servers.cache = None
    if _validating(settings, servers):
        # RFC 6840 section 5.7: AD in a question asks for AD in the answer, without the weight of signatures.
        servers.set_flags(dns.flags.RD | dns.flags.AD)
    return servers


def _validating(settings: Dns, servers: dns.asyncresolver.Resolver) -> bool:
    """Whether the AD bit is believed. RFC 7672 section 2.2: only over a path nobody else can write to, so by itself only on loopback."""
    if settings.validating != "auto":
        return settings.validating == "yes"
    found = [server if isinstance(server, str) else getattr(server, "address", "") for server in servers.nameservers]
    return bool(found) and all((text := address_in(address)) is not None and ipaddress.ip_address(text).is_loopback for address in found)
