"""Who may send, as which domains: accounts found by name or by network, and their passwords checked beside the loop.

Promises: what an account owns is decided here and nowhere else; a client in no network of any account is nobody; one password check costs
scrypt's time in a small pool of threads, never on the loop, and a client that logs in again and again pays it once; the number of checks
that wait is bounded. A name that does not exist takes as long as a wrong password.

It does not log, count failures or delay: the door does. On bad days (a password file that is gone) the account has no password, nobody
can log in as it, and `problems` says why.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

from config.settings import Settings
from config.submission import Account, Listener
from gateway.doors.passwords import NOBODY, verify_password
from mail.address import normalise_domain

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Domains:
    """A set of domains: names, subdomains of names (`*.example`, `.example`), or any at all."""

    def __init__(self, patterns: list[str], configured: list[str]) -> None:
        names = [name for pattern in patterns for name in (configured if pattern == "*" else [pattern])]
        self.any = "any" in patterns
        self._exact: set[str] = set()
        self._parents: set[str] = set()
        for name in names:
            bare = normalise_domain(name.removeprefix("*").removeprefix("."))
            if bare is not None and name != "any":
                self._exact.add(bare)
                if name.startswith(("*.", ".")):
                    self._parents.add(bare)

    def __contains__(self, domain: str) -> bool:
        """Whether `domain`, in normal form, is in the set."""
        if self.any or domain in self._exact:
            return True
        if not self._parents:
            return False
        while domain:
            _, _, domain = domain.partition(".")
            if domain in self._parents:
                return True
        return False


class KnownAccount(msgspec.Struct, frozen=True):
    """An account as the doors use it."""

    name: str
    domains: Domains
    stream: str
    connections: int
    recipients: int
    message_size: int
    password: str | None = None
    """Hash, or None: no login."""
    refuse_suppressed: bool = False
    limited: bool = False
    """It has a quota: the core is asked before a message comes."""

    def __repr__(self) -> str:
        return f"KnownAccount({self.name!r})"


class Accounts:
    """All accounts of one configuration. `problems` are sentences about what could not be read."""

    def __init__(self, settings: Settings) -> None:
        self.problems: list[str] = []
        configured = [domain.name for domain in settings.domain]
        self._named = {account.name: self._known(account, configured) for account in settings.account}
        networks = [
            (ipaddress.ip_network(network, strict=False), self._named[account.name])
            for account in settings.account
            for network in account.networks
        ]
        self._networks = sorted(networks, key=lambda entry: -entry[0].prefixlen)
        self.anybody_can_log_in = any(account.password is not None for account in self._named.values())

    def _known(self, account: Account, configured: list[str]) -> KnownAccount:
        return KnownAccount(
            account.name,
            Domains(account.domains, configured),
            account.stream,
            account.connections,
            account.recipients,
            account.message_size,
            self._password(account),
            refuse_suppressed=account.refuse_suppressed,
            limited=account.message_rate is not None or account.recipient_rate is not None,
        )

    def _password(self, account: Account) -> str | None:
        if account.password is not None or account.password_file is None:
            return account.password
        try:
            return account.password_file.read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeError) as error:
            self.problems.append(f"account {account.name}: {error}")
            return None

    def named(self, name: str) -> KnownAccount | None:
        """The account `name`, or None."""
        return self._named.get(name)

    def at(self, address: IpAddress, listener: Listener, trusted: list[IpNetwork]) -> KnownAccount | None:
        """The account that a client at `address` is without a password: by its own networks, the narrowest first, else by the
        listener's `trusted` ones; None for nobody."""
        for network, account in self._networks:
            if address in network:
                return account
        if listener.trusted_account is not None and is_inside(address, trusted):
            return self._named.get(listener.trusted_account)
        return None


def networks_of(texts: list[str]) -> list[IpNetwork]:
    """The networks written as `texts`. Raises ValueError."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def is_inside(address: IpAddress, networks: list[IpNetwork]) -> bool:
    """Whether `address` is in one of `networks`."""
    return any(address in network for network in networks)


def address_from(text: str) -> IpAddress:
    """The address of a peer; an IPv4 address that came mapped into IPv6 is the IPv4 address. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Authenticator:
    """Checks passwords in threads of its own. `waiting` bounds the checks under way; one more is "busy"."""

    def __init__(self, threads: int = 2, waiting: int = 64, remembered: int = 1024) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._room = waiting
        self._remembered = remembered
        self._secret = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()

    async def check(self, account: KnownAccount | None, password: str) -> Literal["yes", "no", "busy"]:
        """Whether `password` is that of `account`. None, or an account without a password, takes the time of a wrong one."""
        stored = account.password if account is not None else None
        mark = self._mark(stored, password)
        if mark in self._good:
            self._good.move_to_end(mark)
            return "yes"
        if self._room <= 0:
            return "busy"
        self._room -= 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._pool, self._verify, stored, password)
        finally:
            self._room += 1
        if not right:
            return "no"
        self._good[mark] = None
        if len(self._good) > self._remembered:
            self._good.popitem(last=False)
        return "yes"

    def close(self) -> None:
        """End the threads; checks that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _mark(self, stored: str | None, password: str) -> bytes:
        """What is remembered of a good login: useless without this process's secret, and gone when the stored hash changes."""
        text = f"{stored or ''}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).digest()

    def _verify(self, stored: str | None, password: str) -> bool:
        return verify_password(password, NOBODY if stored is None else stored) and stored is not None
