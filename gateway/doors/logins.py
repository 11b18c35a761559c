"""Failed logins, counted for each address: how long the next failure waits for its answer, and when an address is no longer heard.

Promises: each failure of an address doubles the wait, up to a bound; at `failures` of them AUTH from there is answered 421 unseen, which
costs no hash; each failure is forgotten by itself, one after the other over `expiry`, and a success forgets none (who has one good password
could guess others for ever). An IPv6 client counts with its /64, which is one customer's. The table is bounded and forgets first whose last
failure is oldest; answers that wait are bounded too, and one more is answered 421 at once.

It holds no name and no password. It does not survive a restart: a restart gives every address `failures` more guesses, and no more.
"""

import asyncio
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from config.submission import Logins as LoginSettings
from mail.reply import Reply

TOO_MANY_WAIT = Reply(421, "too many failed logins; try again later", "4.7.0")


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The `count`-th failure of an address; its answer waits `delay` seconds. `last`: the next ones are not heard for `seconds`."""

    count: int
    delay: float
    last: bool
    seconds: float


class FailedLogins:
    """The table. All times are Unix seconds. What is kept of an address is the time at which its last failure will be forgotten."""

    def __init__(self, settings: LoginSettings) -> None:
        self.settings = settings
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def blocked(self, client: str, now: float) -> float:
        """Seconds until a login from `client` is heard again; 0 when it is heard now."""
        room = (self.settings.failures - 1) * self._each
        return max(0.0, self._until.get(_key(client), now) - room - now)

    def failed(self, client: str, now: float) -> Failure:
        """Count a failure."""
        key = _key(client)
        until = max(now, self._until.pop(key, now)) + self._each
        self._until[key] = until
        while len(self._until) > self.settings.addresses:
            self._until.popitem(last=False)
        settings, count = self.settings, math.ceil((until - now) / self._each - 1e-6)
        delay = min(settings.delay * 2.0 ** min(count - 1, 30), settings.longest_delay)
        return Failure(count, delay, count == settings.failures, self.blocked(client, now))

    @property
    def _each(self) -> float:
        """Seconds after which one failure is forgotten."""
        return self.settings.expiry / self.settings.failures


def _key(client: str) -> str:
    """Who is counted together with `client`."""
    if ":" not in client:
        return client
    try:
        return str(ipaddress.ip_network((client.partition("%")[0], 64), strict=False))
    except ValueError:
        return client


def blocked_reply(seconds: float) -> Reply:
    """What a client hears whose address is not heard."""
    return Reply(421, f"too many failed logins from this address; try again in {math.ceil(max(1.0, seconds))} seconds", "4.7.0")


class Delays:
    """The answers that wait: at most `most` at a time."""

    def __init__(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep, most: int = 200) -> None:
        self._pause = pause
        self._room = most

    async def wait(self, seconds: float, reply: Reply) -> Reply:
        """`reply`, after `seconds`; or 421 at once when too many wait already."""
        if self._room <= 0:
            return TOO_MANY_WAIT
        self._room -= 1
        try:
            await self._pause(seconds)
        finally:
            self._room += 1
        return reply
