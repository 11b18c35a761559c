"""What one connection has in hand: at most two deliveries, pulled from the core, composed, and settled or returned exactly once.

The filler is a coroutine beside the one that speaks: it pulls, reads and composes, so that a message is made ready while the one before it
travels. It asks for a second delivery only where the connection could send it ahead, because its token is taken by then.

Promises: every assignment that came leaves by `settle` or `give_back`, once; a message that cannot be read or composed is settled here and
never stops the connection; an idle connection asks the core again as the core says, for as long as the provider's `idle`. Knows nothing of
the wire.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from gateway.calls import Assignment, AttemptFacts, Permit, Settle, Settlement
from gateway.compose.composer import Composed, Unsendable
from gateway.delivery.attempt import Own, own
from gateway.delivery.network import Signal
from gateway.delivery.opening import Opened
from gateway.delivery.ports import Composer, CoreCalls, SessionObserver
from gateway.smtp.client import stuffed
from gateway.smtp.envelope import NO_DSN
from mail.address import Address
from mail.outcome import Deferred, Failed, Outcome, Phase, Verdict

IN_HAND: Final = 2
SHORTEST_PAUSE: Final = 0.01
"""Seconds between two questions to a core that has nothing, whatever it says."""


class Job:
    """One assignment, composed."""

    __slots__ = (
        "assignment",
        "dsn",
        "eight_bit",
        "going",
        "number",
        "overlapped",
        "payload",
        "recipient",
        "signed_by",
        "size",
        "started",
        "utf8",
    )

    def __init__(self, assignment: Assignment, composed: Composed) -> None:
        self.assignment = assignment
        self.number = assignment.delivery
        self.payload = stuffed(composed.parts)
        self.size = composed.size
        self.eight_bit = composed.eight_bit
        self.utf8 = composed.smtputf8
        self.signed_by = composed.signed_by
        self.recipient = path_of(assignment.recipient, composed.smtputf8)
        self.dsn = dsn_of(assignment)
        self.overlapped = False
        self.going = False
        """Its content is on the wire, whole or in part."""
        self.started = 0.0


def path_of(recipient: Address, utf8: bool) -> str:
    """The recipient as RCPT carries it: as given, with the domain in A-labels where SMTPUTF8 is not used (RFC 6531 section 3.2)."""
    return recipient.text if utf8 or recipient.text.isascii() else f"{recipient.local}@{recipient.domain}"


def dsn_of(assignment: Assignment) -> tuple[str, str]:
    """Parameters of MAIL and RCPT for a next hop that offers DSN: what the sender gave, unchanged (RFC 3461 section 5.2.1)."""
    message, notify, orcpt = assignment.message, assignment.notify, assignment.orcpt
    if not (notify or orcpt or message.ret or message.envid):
        return NO_DSN
    mail = (f" RET={message.ret}" if message.ret else "") + (f" ENVID={message.envid}" if message.envid else "")
    return mail, (f" NOTIFY={notify}" if notify else "") + (f" ORCPT={orcpt}" if orcpt else "")


class Hand:
    """See the module. `may_two` says whether a second delivery may be held now; `signal` is set when one is ready or the filler ends."""

    def __init__(
        self,
        permit: Permit,
        opened: Opened,
        number: int,
        core: CoreCalls,
        composer: Composer,
        contents: Callable[[int], bytes | None],
        idle: float,
        clock: Callable[[], float],
        observe: SessionObserver,
        may_two: Callable[[], bool],
        signal: Signal,
    ) -> None:
        self.ready: deque[Job] = deque()
        """Composed and not on the wire."""
        self.filled = False
        """The core has nothing more for this connection."""
        self._permit = permit
        self._opened = opened
        self._offers = opened.connection.client.capabilities
        self._number = number
        self._core = core
        self._composer = composer
        self._contents = contents
        self._idle = idle
        self._clock = clock
        self._observe = observe
        self._may_two = may_two
        self._signal = signal
        self._room = Signal()
        self._held: dict[int, Assignment] = {}
        self._filler: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to pull."""
        self._filler = asyncio.get_running_loop().create_task(self._fill(), name=f"filler {self._number}")

    def stop(self) -> None:
        """Pull no more, and give back what is ready."""
        if self._filler is not None:
            self._filler.cancel()
        self.drop_ready()

    async def stopped(self) -> None:
        """Return when the filler has ended after `stop`."""
        if self._filler is not None and not self._filler.done():
            await asyncio.wait([self._filler])

    def raise_fault(self) -> None:
        """Raise what ended the filler, if a bug did: it is not hidden."""
        if self._filler is not None and self._filler.done() and not self._filler.cancelled():
            error = self._filler.exception()
            if error is not None:
                raise error

    # Out

    def settle(self, assignment: Assignment, outcome: Outcome, started: float, job: Job | None = None, message_number: int = 0) -> None:
        """Report the end of an attempt."""
        if self._held.pop(assignment.delivery, None) is None:
            return
        opened = self._opened
        facts = AttemptFacts(
            started=started,
            ended=self._clock(),
            lane=self._permit.opening.lane,
            route=self._permit.opening.route,
            host=opened.host,
            address=opened.address,
            tls=opened.tls,
            connection=self._number,
            message_number=message_number,
            overlapped=job.overlapped if job is not None else False,
            signed_by=job.signed_by if job is not None else "",
            dsn=self._offers.dsn,
            security=opened.security,
        )
        self._room.set()
        self._core.settle(Settle(self._permit.id, [Settlement(assignment.delivery, outcome, facts)]))

    def give_back(self, assignments: Iterable[Assignment]) -> None:
        """Return what was not tried."""
        returned = [assignment.delivery for assignment in assignments if self._held.pop(assignment.delivery, None) is not None]
        if returned:
            self._room.set()
            self._core.settle(Settle(self._permit.id, [], returned))

    def drop_ready(self) -> None:
        """Return what is composed and not on the wire."""
        jobs = list(self.ready)
        self.ready.clear()
        self.give_back(job.assignment for job in jobs)

    def give_back_all(self) -> None:
        """Return whatever is left."""
        self.ready.clear()
        self.give_back(list(self._held.values()))

    # In

    async def _fill(self) -> None:
        """Keep `ready` filled until the core has nothing more."""
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        try:
            while True:
                while (places := (IN_HAND if self._may_two() else 1) - len(self._held)) < 1:
                    await self._room.wait()
                await self._core.settled()
                handout = await self._core.next(self._permit.id, places)
                for assignment in handout.assignments:
                    self._held[assignment.delivery] = assignment
                for assignment in handout.assignments:
                    await self._prepare(assignment)
                if handout.close:
                    return
                if handout.assignments:
                    idle_since = loop.time()
                    continue
                pause = handout.wait.until - self._clock() if handout.wait is not None else self._idle
                pause = max(pause, SHORTEST_PAUSE)
                if loop.time() + pause > idle_since + self._idle:
                    return  # longer than an idle connection is kept
                await asyncio.sleep(pause)
        finally:
            self.filled = True
            self._signal.set()

    async def _prepare(self, assignment: Assignment) -> None:
        """Read and compose `assignment`; what cannot be sent is settled here."""
        started = self._clock()
        try:
            content = assignment.content if assignment.content is not None else self._contents(assignment.message.id)
            if content is None:
                outcome = own(Own.NO_CONTENT, "the message could not be read from the spool", Phase.COMPOSE)
                self.settle(assignment, outcome, started)
                return
            composed = await self._composer.compose(
                assignment, eight_bit_ok=self._offers.eight_bit, utf8_ok=self._offers.smtputf8, content=content
            )
            if isinstance(composed, Unsendable):
                verdict = Verdict(composed.reply, composed.category, composed.fault, "unsendable", Phase.COMPOSE)
                self.settle(assignment, Failed(verdict) if composed.reply.permanent else Deferred(verdict), started)
                return
            if self._offers.size and composed.size > self._offers.size:
                # RFC 1870 section 6.1: a client that knows the message is too large need not try.
                text = f"the message has {composed.size} octets, {self._opened.host} takes {self._offers.size}"
                self.settle(assignment, own(Own.TOO_LARGE, text, Phase.COMPOSE), started)
                return
            job = Job(assignment, composed)
            if not (assignment.return_path + job.recipient).isprintable():
                raise ValueError("a control character in a path")
        except Exception as error:
            self._observe.faulted("compose", error)
            text = f"the message could not be composed ({type(error).__name__})"
            self.settle(assignment, own(Own.NOT_COMPOSED, text, Phase.COMPOSE), started)
            return
        self.ready.append(job)
        self._signal.set()
