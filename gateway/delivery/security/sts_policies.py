"""MTA-STS policies of recipient domains: found, fetched, kept and refreshed (RFC 8461 sections 3 and 5.1).

Promises: a policy that is known holds until its `max_age` is over, whatever becomes of TXT record and policy host meanwhile, and across a
restart: each is written into a note of the spool in the commit that follows. A domain without a TXT record costs one question to our DNS
cache each time it is routed, and nothing a message. A fetch is bounded, asked once at a time, and after a failure not tried again for five
minutes; a domain whose first policy cannot be had gets its mail as if it had none, and the failure is told. Memory is bounded; beyond it
the policy that was used longest ago is forgotten. A note that cannot be read is told, and its policies are found anew.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from config.sending import Trust
from gateway.delivery.resolver import Records, Resolver, Trouble
from gateway.delivery.security.https import Https, HttpsTrouble, Response
from gateway.delivery.security.result import Result
from gateway.delivery.security.sts_policy import MAX_POLICY, Invalid, Mode, Policy, policy_id, read_policy

RETRY_SECONDS: Final = 300.0  # RFC 8461 section 3.3: after a failure, at least five minutes
REFRESH_SECONDS: Final = 86_400.0  # RFC 8461 section 3.3: "once per day"
UNUSED_SECONDS: Final = 2_592_000.0
"""A policy that nothing was sent by for so long is not refreshed any more; it ends by its own age."""
REFRESHED_AT_ONCE: Final = 10
SHARDS: Final = 64
"""Notes of the spool over which the policies are spread, so that a new one writes a small part."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """A policy, under which id it was announced, when it was fetched and last used."""

    domain: str
    id: str
    policy: Policy
    fetched: float
    used: float

    @property
    def until(self) -> float:
        """Unix seconds at which it ends."""
        return self.fetched + self.policy.max_age


class StsObserver(Protocol):
    """Who hears what becomes of policies."""

    def fetched(self, domain: str, result: str, why: str) -> None:
        """A policy was fetched (`result` is "ok") or could not be had: a result type of RFC 8460 section 4.3."""

    def notes_damaged(self, what: str) -> None:
        """A note of the spool could not be read."""


class StsPolicies:
    """See the module. `load` reads a note of the spool, `keep` writes one with the next commit."""

    def __init__(
        self,
        trust: Trust,
        resolver: Resolver,
        https: Https,
        clock: Callable[[], float],
        observe: StsObserver,
        load: Callable[[str], bytes | None],
        keep: Callable[[str, bytes | None], None],
    ) -> None:
        self._trust = trust
        self._resolver = resolver
        self._https = https
        self._clock = clock
        self._observe = observe
        self._keep = keep
        self._known: dict[str, Known] = {}
        self._shards: list[dict[str, Known]] = [{} for _ in range(SHARDS)]
        """The same, by the note they are written to."""
        self._failed: dict[str, float] = {}
        """Domains whose policy could not be had, and until when it is not tried again."""
        self._fetching: dict[str, asyncio.Task[Known | None]] = {}
        for shard in range(SHARDS):
            self._restore(load(_note(shard)))

    def _restore(self, note: bytes | None) -> None:
        if note is None:
            return
        try:
            found = msgspec.msgpack.decode(note, type=list[Known])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._observe.notes_damaged(str(error))
            return
        now = self._clock()
        for known in found:
            if known.until > now:
                self._put(known)

    def _put(self, known: Known) -> None:
        self._known[known.domain] = self._shards[_shard(known.domain)][known.domain] = known

    def reconfigure(self, trust: Trust) -> None:
        """Use these settings from now on."""
        self._trust = trust

    @property
    def fullness(self) -> tuple[int, int]:
        """Policies kept, and their bound."""
        return len(self._known), self._trust.policies

    def domains(self) -> list[str]:
        """Domains with a policy that asks for something."""
        return [name for name, known in self._known.items() if known.policy.mode is not Mode.NONE]

    def known(self, domain: str) -> Policy | None:
        """The policy that holds for `domain` now, as far as it is known without asking."""
        known = self._current(domain)
        return None if known is None else known.policy

    def in_doubt(self, domain: str) -> float:
        """Until when (Unix seconds) nobody knows whether `domain` has a policy: record or policy could not be had. 0: it is known."""
        until = self._failed.get(domain, 0.0)
        return until if until > self._clock() and self._current(domain) is None else 0.0

    async def of(self, domain: str) -> Policy | None:
        """The policy of `domain` (normal form), after asking whether there is a new one. None: it has none."""
        if not self._trust.mta_sts:
            return None
        answer = (await self._resolver.texts(f"_mta-sts.{domain}")).answer
        if isinstance(answer, Trouble):
            self._hesitate(domain)
        announced = policy_id(answer.texts) if isinstance(answer, Records) else None
        known = self._current(domain)
        if announced is not None and (known is None or known.id != announced):
            known = await self._fetch_once(domain, announced) or known
        if known is None:
            return None
        now = self._clock()
        if known.used < now - REFRESH_SECONDS / 24:
            known = msgspec.structs.replace(known, used=now)
            self._put(known)
        return known.policy if known.policy.mode is not Mode.NONE else None

    def _current(self, domain: str) -> Known | None:
        known = self._known.get(domain)
        if known is not None and known.until <= self._clock():
            self._forget(domain)
            return None
        return known

    async def tend(self) -> None:
        """Fetch anew what was fetched a day ago and is in use (call it every few minutes), so that an attacker finds no gap at its end."""
        now = self._clock()
        for domain, known in list(self._known.items()):
            if known.until <= now:
                self._forget(domain)
        old = [
            known
            for known in self._known.values()
            if known.fetched < now - min(REFRESH_SECONDS, known.policy.max_age / 2) and known.used > now - UNUSED_SECONDS
        ]
        # Whose host failed the last time comes last: ten dead hosts must not keep all others from being asked.
        for known in sorted(old, key=lambda known: (self._failed.get(known.domain, 0.0), known.fetched))[:REFRESHED_AT_ONCE]:
            await self._fetch_once(known.domain, known.id)

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch_once(self, domain: str, announced: str) -> Known | None:
        """Fetch the policy, unless that failed a moment ago; who comes meanwhile waits for the same answer."""
        task = self._fetching.get(domain)
        if task is None:
            if self._failed.get(domain, 0.0) > self._clock():
                return None
            task = asyncio.get_running_loop().create_task(self._fetch(domain, announced), name=f"mta-sts {domain}")
            self._fetching[domain] = task
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return await asyncio.shield(task)

    async def _fetch(self, domain: str, announced: str) -> Known | None:
        trust = self._trust
        answer = await self._https.get(
            f"mta-sts.{domain}", trust.policy_port, "/.well-known/mta-sts.txt", seconds=trust.policy_timeout, most=MAX_POLICY
        )
        read = _policy_in(answer)
        if isinstance(read, HttpsTrouble):
            self._hesitate(domain)
            self._observe.fetched(domain, read.result.value, read.why)
            return None
        self._observe.fetched(domain, "ok", "")
        self._failed.pop(domain, None)
        before = self._known.get(domain)
        now = self._clock()
        known = Known(domain, announced, read, now, now if before is None else before.used)
        self._put(known)
        self._write(domain)
        while len(self._known) > trust.policies:
            self._forget(min(self._known.values(), key=lambda known: known.used).domain)
        return known

    def _hesitate(self, domain: str) -> None:
        """Whether `domain` has a policy could not be found out."""
        self._failed.pop(domain, None)
        self._failed[domain] = self._clock() + RETRY_SECONDS
        while len(self._failed) > self._trust.policies:
            del self._failed[next(iter(self._failed))]

    def _forget(self, domain: str) -> None:
        if self._known.pop(domain, None) is not None:
            del self._shards[_shard(domain)][domain]
            self._write(domain)

    def _write(self, domain: str) -> None:
        """The note that `domain` belongs to, written anew."""
        shard = _shard(domain)
        members = list(self._shards[shard].values())
        self._keep(_note(shard), msgspec.msgpack.encode(members) if members else None)


def _policy_in(answer: Response | HttpsTrouble) -> Policy | HttpsTrouble:
    """The policy in a response (RFC 8461 section 3.3: status 200, media type text/plain)."""
    if isinstance(answer, HttpsTrouble):
        return answer
    if answer.status != 200:
        return HttpsTrouble(Result.STS_FETCH, f"the policy host answered {answer.status}")
    if answer.media != "text/plain":
        return HttpsTrouble(Result.STS_INVALID, f"the policy is {answer.media[:60] or 'of no media type'}, not text/plain")
    read = read_policy(answer.body)
    return HttpsTrouble(Result.STS_INVALID, read.why) if isinstance(read, Invalid) else read


def _shard(domain: str) -> int:
    return zlib.crc32(domain.encode()) % SHARDS


def _note(shard: int) -> str:
    return f"mta-sts.{shard:02d}"
