"""The road to one webhook endpoint: events that are for it, in batches, one request at a time, until each was taken or given up.

A batch is written down under an id before it is first sent (`contacts.letters`), so a repetition is the same request. One at a time keeps
the order of every address. Any answer but 2xx, and none, is a failure, and is tried again after growing waits with jitter; while an
endpoint fails, events that grow older than `give_up` become dead letters. A content that is refused (400, 413, 422) is sent in halves until
the event that is meant stands alone; that one is dead after `REFUSALS` refusals, and the rest goes on.

Its own store in a thread, its own look-ups of names, its own task: an endpoint that is slow or down delays nobody. It opens no file and
reads no clock of its own: the event log, time and waiting are given. A store that cannot be written is trouble like a receiver's.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec

from contacts.letters import DEAD, Letter, Letters
from contacts.post import Answered, Target, Unreached, post
from contacts.trouble import StoreError
from contacts.webhook import WebhookSecret, headers, retry_in
from mail.event import timestamp, unseal

T = TypeVar("T")

TYPE = "mailwright.events"
"""`type` of the body, as Standard Webhooks has it."""
MOST_OCTETS = 1_000_000
"""Of a body; a single event may be larger."""
IDLE = 0.5
"""Seconds before an empty log is looked at again, and for which a small batch waits for company."""
REFUSALS = 5
DEATHS = 20
"""Dead letters after which their bound is looked at."""
PAGE = 500
"""Events that are looked through at once."""
UNWRITTEN = 5_000
"""Positions that pass without an event for this endpoint before that is written down."""
_CONTENT = frozenset({400, 413, 422})

Rows = Sequence[tuple[int, bytes]]


class Wanted(msgspec.Struct, frozen=True):
    """Which events an endpoint gets; empty: all."""

    kinds: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()

    def has(self, line: bytes) -> bool:
        """Whether this event is for it; a line that is no event is for nobody."""
        try:
            event = _heads.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        wanted = ((self.kinds, event.kind), (self.accounts, event.account), (self.streams, event.stream))
        return all(not names or name in names for names, name in wanted)


class _Head(msgspec.Struct, gc=False):
    kind: str
    account: str = ""
    stream: str = ""


_heads = msgspec.json.Decoder(_Head)


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint as configured."""

    name: str
    target: Target
    secrets: tuple[WebhookSecret, ...]
    wanted: Wanted
    batch: int
    give_up: float


class Batch(msgspec.Struct, frozen=True):
    """Events of a page that are for an endpoint, and the position behind them."""

    until: int
    lines: list[tuple[int, bytes]]


def batch_of(rows: Rows, wanted: Wanted, most: int) -> Batch:
    """The first `most` events in `rows` that are wanted, fewer when they are large. Pure."""
    lines: list[tuple[int, bytes]] = []
    octets, until = 0, rows[-1][0]
    for position, line in rows:
        if not wanted.has(line):
            continue
        if len(lines) == most or (lines and octets + len(line) > MOST_OCTETS):
            until = position - 1
            break
        lines.append((position, line))
        octets += len(line)
    return Batch(until, lines)


def body_of(lines: Rows, now: float) -> bytes:
    """What is sent: Standard Webhooks' `type`, `timestamp`, `data`; each event with its place in the node's log."""
    data = b",".join(b'%s,"position":%d}' % (line[:-1], position) for position, line in lines)
    return b'{"type":%s,"timestamp":%s,"data":[%s]}' % (json.dumps(TYPE).encode(), json.dumps(timestamp(now)).encode(), data)


class Watch(Protocol):
    """Who is told what becomes of the events of one endpoint."""

    def reached(self, position: int, events: int) -> None:
        """`events` were taken, and everything up to `position` is settled: taken, dead, or not for this endpoint."""

    def working(self, born: float) -> None:
        """The oldest event under way is of this time; 0: none is."""

    def died(self, letter: Letter, why: str) -> None:
        """A request was given up."""

    def passed_over(self, events: int) -> None:
        """So many are lost, the oldest: the endpoint is too far behind, or has too many dead letters."""

    def told(self, trouble: str | None) -> None:
        """A try failed, for this reason, or (None) did not."""


class Log(Protocol):
    """The event log."""

    @property
    def newest(self) -> int:
        """Position of the newest event."""

    def page(self, after: int, limit: int) -> Rows:
        """Events after a position."""


class EndpointRoad:
    """Runs until `stop`, or cancelled. `identity` makes ids of requests. An endpoint more than `bound` events behind loses its oldest."""

    def __init__(
        self,
        endpoint: Endpoint,
        letters: Letters,
        thread: Executor,
        log: Log,
        watch: Watch,
        identity: Callable[[], str],
        clock: Callable[[], float],
        chance: random.Random,
        position: int,
        bound: int,
        pause: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.position = position
        """Everything up to here is settled."""
        self._endpoint, self._letters, self._thread = endpoint, letters, thread
        self._log, self._watch = log, watch
        self._identity, self._clock, self._chance = identity, clock, chance
        self._bound = bound
        self._pause = pause or self._rest
        self._names = ThreadPoolExecutor(1, "webhook-names")
        self._most = endpoint.batch
        self._failures = 0
        self._scanned = self._written = position
        self._died = 0
        self._stopping = False
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Send what there is, as it comes."""
        while True:
            last = self._stopping
            try:
                wait = await self._step()
            except StoreError as error:
                wait = self._trouble(str(error))
            if last and wait:
                return
            if wait:
                await self._pause(wait)

    def stop(self) -> None:
        """Send what is left while it is taken, then end."""
        self._stopping = True
        self._woken.set()

    def close(self) -> None:
        """Give up the thread that looks up names, whatever it waits for."""
        self._names.shutdown(wait=False, cancel_futures=True)

    def wake(self) -> None:
        """Try now."""
        self._woken.set()

    async def _step(self) -> float:
        """One request, or one look for events; seconds to wait before the next."""
        name = self._endpoint.name
        if self._log.newest - self.position > self._bound:
            await self._pass_over()
        if self._died >= DEATHS:
            await self._bound_dead()
        if not self._failures and (again := await self._in_thread(self._letters.again, name)):
            return await self._send_again(again)
        letter = await self._in_thread(self._letters.under_way, name)
        if letter is None:
            rows = self._log.page(self._scanned, PAGE)
            if not rows:
                self._watch.working(0.0)
                return IDLE
            letter = await self._next(rows)
        return 0.0 if letter is None else await self._send(letter)

    async def _pass_over(self) -> None:
        """A tenth of the bound more than needed, so that it is not one event each time. The request under way stays."""
        until = self._log.newest - self._bound * 9 // 10
        letter = await self._in_thread(self._letters.under_way, self._endpoint.name)
        begun = max(self._scanned, letter.until if letter is not None else 0)
        await self._moved(until)
        self._watch.passed_over(until - begun)
        self._arrived(until, 0)

    async def _bound_dead(self) -> None:
        """Dead letters are on the same disk, and as many events of them are kept as may wait."""
        self._died = 0
        gone = await self._in_thread(self._letters.bound_dead, self._endpoint.name, self._bound)
        if gone:
            self._watch.passed_over(gone)

    async def _moved(self, until: int) -> None:
        await self._in_thread(self._letters.moved, self._endpoint.name, until)
        self._written = until

    # The next request.

    async def _next(self, rows: Rows) -> Letter | None:
        """What of a page is for this endpoint, written down; None when there is nothing to send in it."""
        batch = await self._in_thread(batch_of, rows, self._endpoint.wanted, self._most)
        if not batch.lines:
            if batch.until - self._written >= UNWRITTEN:
                await self._moved(batch.until)
            self._arrived(batch.until, 0)
            return None
        now = self._clock()
        born = min(now, unseal(batch.lines[0][1]).at)
        letter = Letter(self._identity(), self._endpoint.name, batch.until, len(batch.lines), born, body=body_of(batch.lines, now))
        if self._failures and born + self._endpoint.give_up < now:
            letter = msgspec.structs.replace(letter, state=DEAD, died=now, why="its time ended while the endpoint was down")
        await self._in_thread(self._letters.write, letter)
        if letter.state == DEAD:
            self._gone(letter, letter.why)
            return None
        return letter

    # Sending.

    async def _send(self, letter: Letter) -> float:
        answer = await self._post(letter)
        if isinstance(answer, Answered) and 200 <= answer.status < 300:
            await self._in_thread(self._letters.taken, letter)
            self._arrived(letter.until, letter.events)
            self._well()
            self._most = min(self._endpoint.batch, self._most * 2)
            return 0.0 if letter.events >= self._endpoint.batch or self._stopping else IDLE
        why = _why(answer)
        if isinstance(answer, Answered) and answer.status in _CONTENT:
            if letter.events > 1:
                self._most = letter.events // 2
                await self._in_thread(self._letters.dropped, letter)
                self._scanned = self.position
                return 0.0
            if letter.refused + 1 >= REFUSALS:
                await self._give_up(letter, why)
                return 0.0
            await self._in_thread(lambda: self._letters.failed(letter, why, refused=True))
        elif letter.born + self._endpoint.give_up < self._clock():
            await self._give_up(letter, why)
        else:
            await self._in_thread(self._letters.failed, letter, why)
        return max(self._trouble(why), answer.retry_after if isinstance(answer, Answered) else 0.0)

    async def _send_again(self, letter: Letter) -> float:
        answer = await self._post(letter)
        if isinstance(answer, Answered) and 200 <= answer.status < 300:
            await self._in_thread(self._letters.taken, letter)
            self._arrived(self.position, letter.events)
            self._well()
            return 0.0
        await self._in_thread(self._letters.died, letter, _why(answer), self._clock())
        return self._trouble(_why(answer))

    async def _post(self, letter: Letter) -> Answered | Unreached:
        self._watch.working(letter.born)
        signed = headers(self._endpoint.secrets, letter.id, self._clock(), letter.body)
        return await post(self._endpoint.target, signed, letter.body, self._names)

    async def _give_up(self, letter: Letter, why: str) -> None:
        await self._in_thread(self._letters.died, letter, why, self._clock())
        self._gone(letter, why)

    def _gone(self, letter: Letter, why: str) -> None:
        self._arrived(letter.until, 0)
        self._watch.died(letter, why)
        self._died += 1

    def _arrived(self, position: int, events: int) -> None:
        self.position = max(self.position, position)
        self._scanned = max(self._scanned, position)
        self._watch.reached(self.position, events)

    def _trouble(self, why: str) -> float:
        self._failures += 1
        self._watch.told(why)
        return retry_in(self._failures, self._chance.random())

    def _well(self) -> None:
        self._failures = 0
        self._watch.told(None)

    async def _in_thread(self, act: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: act(*values))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        if not self._stopping:
            self._woken.clear()


def _why(answer: Answered | Unreached) -> str:
    match answer:
        case Unreached(why):
            return why
        case Answered(status) if 300 <= status < 400:
            return f"answered {status}: redirects are not followed"
        case Answered(status):
            return f"answered {status}"
