"""One connection, from its permit to its end: pull, compose, send, judge, settle.

Two coroutines share a connection: `gateway.delivery.hand` has the next message ready, and this one says it to the peer and hears what
becomes of it. At most two deliveries are in hand: the one on the wire and the next, whose envelope goes out right behind the final dot of
the first (RFC 2920 section 3.1) where the peer offered PIPELINING, has answered one group one for one on this connection, and is not
known to lose count. That makes one round trip a message.

Promises:
- every assignment handed out is settled or returned exactly once, whatever happens: refusal, loss, lateness, cancellation, a bug;
- a delivery whose envelope was sent ahead and then not used is returned unharmed, as if never tried: when the dot before it was answered
  421 or by a rate or reputation reply, when the connection ended, when the peer lost count;
- a reply lost behind a final dot is `Unsure`, never a guess;
- `Closed` is said once, when the socket is gone (or cut after a few seconds).

A cancelled session finishes the message on the wire, returns the rest and then ends as cancelled; a second cancellation ends it at once.
Does not decide what follows from an outcome, nor who gets the connection: that is the core's.
"""

import asyncio
from collections.abc import Callable
from typing import Final, assert_never

from config.sending import Provider, Source
from config.settings import Settings
from gateway.calls import Closed, Permit
from gateway.delivery.attempt import Own, concerns_pace, judged, own
from gateway.delivery.connection import SMALL
from gateway.delivery.hand import Hand, Job
from gateway.delivery.network import Network, Signal
from gateway.delivery.opening import Opened, Opener, Troubled
from gateway.delivery.ports import Composer, CoreCalls, SessionObserver
from gateway.delivery.route import Route
from gateway.smtp.client import Answered, ClientEvent, Ended, Farewell, GoAhead, Violation
from mail.outcome import Delivered, Outcome, Phase
from mail.reply import Reply

OVERLAP_PATIENCE: Final = 30.0
"""Seconds in which a peer must answer an envelope that was sent ahead, once the dot before it is answered."""


def provider_settings(settings: Settings, name: str) -> Provider:
    """The settings of the provider called `name`, or those of everybody else."""
    for provider in settings.provider:
        if provider.name == name:
            return provider
    return settings.default_provider


async def run_session(
    permit: Permit,
    route: Route,
    source: Source,
    core: CoreCalls,
    composer: Composer,
    contents: Callable[[int], bytes | None],
    settings: Settings,
    clock: Callable[[], float],
    observe: SessionObserver,
    *,
    network: Network,
) -> None:
    """Open a connection for `permit`, send what the core hands out, and end it. `contents` reads a message by its id."""
    signal = Signal()
    lane = permit.opening.lane
    provider = provider_settings(settings, lane.provider)
    closed = Closed(permit.id)
    try:
        opened = await Opener(lane, route, source, provider, settings.sending, network, signal).open()
        if opened.security is not None:
            observe.secured(lane.provider, opened.security)
        if isinstance(opened, Troubled):
            closed = Closed(permit.id, opened.outcome, opened.host, opened.security)
            if not isinstance(opened.outcome, Delivered):
                observe.unconnected(lane.source, lane.provider, opened.outcome.verdict)
            return
        closed = Closed(permit.id, None, opened.host)
        observe.connected(lane.source, lane.provider, "tls" if opened.tls else "plain")
        session = Session(lane.provider, opened, clock, network, signal, observe)
        hand = Hand(permit, opened, network.number(), core, composer, contents, provider.idle, clock, observe, session.may_overlap, signal)
        await session.run(hand)
    finally:
        core.closed(closed)


class Session:
    """An open connection at work. See the module."""

    def __init__(
        self, provider: str, opened: Opened, clock: Callable[[], float], network: Network, signal: Signal, observe: SessionObserver
    ) -> None:
        self._provider = provider
        self._observe = observe
        self._opened = opened
        self._connection = opened.connection
        self._client = opened.connection.client
        self._clock = clock
        self._no_overlap = network.no_overlap
        self._no_pipelining = network.no_pipelining
        self._signal = signal
        self._hand: Hand
        self._current: Job | None = None
        self._following: Job | None = None
        """Its envelope is behind the dot of `_current`."""
        self._go = False
        """354 was heard for `_current`."""
        self._proven = False
        """A group of this connection was answered one for one."""
        self._messages = 0
        self._violation = ""
        self._violated: Phase | None = None
        self._farewell = False
        self._ending = False
        """Nothing new is begun."""
        self._cancelled = False
        self._broken_off = False
        """We ended in the middle, not the peer."""

    def may_overlap(self) -> bool:
        """Whether an envelope may be sent ahead to this host."""
        return self._client.capabilities.pipelining and not self._no_overlap.holds(self._opened.host)

    async def run(self, hand: Hand) -> None:
        """Send what comes into `hand` until the core says close, the peer leaves, or there is nothing to do."""
        self._hand = hand
        hand.start()
        try:
            await self._serve()
        except BaseException:
            self._broken_off = not self._connection.over
            self._connection.cut()
            raise
        finally:
            await self._finish()
        if self._cancelled:
            raise asyncio.CancelledError

    async def _serve(self) -> None:
        """Hear, act, wait."""
        connection = self._connection
        while True:
            while connection.events:
                self._heard(connection.events.popleft())
            if connection.over or self._client.closing:
                return
            await self._act()
            if connection.events or connection.over:
                continue
            if self._current is None:
                if self._ending:
                    return
                if self._hand.filled and not self._hand.ready:
                    self._hand.raise_fault()
                    return
            elif self._current.overlapped and not self._current.going:
                connection.hasten(OVERLAP_PATIENCE)
            await self._wait()

    async def _wait(self) -> None:
        """Until something happens. The first cancellation ends the session gently, the second is raised."""
        try:
            await self._signal.wait()
        except asyncio.CancelledError:
            if self._cancelled:
                raise
            self._cancelled = self._ending = True
            self._hand.stop()

    # What the peer says

    def _heard(self, event: ClientEvent) -> None:
        match event:
            case GoAhead(transaction=transaction):
                self._go = self._current is not None and self._current.number == transaction
                self._proven = True
            case Ended(transaction=transaction, phase=phase, reply=reply):
                if self._current is not None and self._current.number == transaction:
                    self._ended(self._current, phase, reply)
            case Farewell():
                self._farewell = True
            case Violation(what=what, phase=phase):
                self._violation, self._violated = what, phase
            case Answered():
                pass
            case _:
                assert_never(event)

    def _ended(self, job: Job, phase: Phase, reply: Reply) -> None:
        """The transaction on the wire was decided by `reply`; the one sent ahead, if any, is now on the wire."""
        self._current, self._following, self._go = self._following, None, False
        self._farewell = self._farewell or reply.code == 421
        outcome = judged(reply, self._provider, phase)
        pace = concerns_pace(outcome)
        if phase is Phase.MAIL and reply.code == 421 and self._messages > 1 and not pace:
            self._hand.give_back([job.assignment])  # the host closes a connection that served others: this delivery was not tried
        else:
            self._settle(job, outcome)
        if pace or self._farewell:
            # What is in hand goes back as it is: the core has to think about this lane first.
            self._hand.drop_ready()
            self._ending = self._ending or self._current is not None
        if self._current is not None and self._ending:
            self._hand.give_back([self._current.assignment])  # its content is not on the wire; the connection is closed before it could be
            self._current = None
        if self._current is not None:
            self._messages += 1

    # What we say

    async def _act(self) -> None:
        """Say what can be said now."""
        job = self._current
        if job is None:
            if self._hand.ready and not self._ending and self._client.may_begin:
                self._current = self._hand.ready.popleft()
                self._messages += 1
                self._connection.write(self._begin(self._current))
        elif self._go:
            self._go = False
            job.going = True
            await self._send(job)
        elif job.going and self._can_send_ahead():
            self._connection.write(self._ahead())

    async def _send(self, job: Job) -> None:
        """The content of `job`, and the next envelope right behind its final dot."""
        payload = job.payload
        if len(payload) <= SMALL:
            self._client.content(job.number)
        else:
            self._client.content(job.number, whole=False)
            if not await self._connection.write_large(payload[:-1], self._wait):
                return
            # The last octet makes the final dot: from here on the peer may have the message.
            payload = payload[-1:]
            self._client.content_done()
        if self._can_send_ahead():
            self._connection.write(payload, self._ahead())
        else:
            self._connection.write(payload)

    def _can_send_ahead(self) -> bool:
        return bool(self._hand.ready) and self._following is None and self._proven and not self._ending and self.may_overlap()

    def _ahead(self) -> bytes:
        """The envelope of the next message, for right behind a final dot."""
        self._following = self._hand.ready.popleft()
        self._following.overlapped = True
        return self._begin(self._following)

    def _begin(self, job: Job) -> bytes:
        job.started = self._clock()
        assignment = job.assignment
        return self._client.begin(
            job.number,
            assignment.return_path,
            job.recipient,
            size=job.size,
            eight_bit=job.eight_bit,
            utf8=job.utf8,
            dsn=job.dsn,
            requiretls=assignment.message.requiretls,
        )

    # The end

    def _settle(self, job: Job, outcome: Outcome) -> None:
        self._hand.settle(job.assignment, outcome, job.started, job, self._messages)

    async def _finish(self) -> None:
        """Settle or return everything, and close."""
        self._hand.stop()
        try:
            await self._hand.stopped()
        finally:
            clean = self._settle_the_wire()
            self._hand.give_back_all()
            self._connection.close(politely=clean)
            try:
                await self._connection.gone()
            except asyncio.CancelledError:
                self._connection.cut()
                raise

    def _settle_the_wire(self) -> bool:
        """What the end of the dialogue means for what was on the wire. True: nothing was, and QUIT may be said."""
        job = self._current
        if self._lost_count(job):
            if not self._no_overlap.holds(self._opened.host):
                self._observe.no_overlap(self._opened.host, self._violation or self._connection.why or "silence")
            elif self._violation:
                self._decline_pipelining()
            self._no_overlap.note(self._opened.host)
        elif self._violation:
            self._decline_pipelining()
        if job is None:
            return not self._violation and self._client.may_begin
        self._current = self._following = None
        sent, refusal = self._client.state_of(job.number) or (False, None)
        if sent:
            self._settle(job, self._unsure())
        elif refusal is not None and not self._violation:
            self._settle(job, judged(refusal[1], self._provider, refusal[0]))
        elif self._untried(job):
            self._hand.give_back([job.assignment])
        else:
            self._settle(job, self._broken(job))
        return False

    def _decline_pipelining(self) -> None:
        """The host lost count with nothing sent ahead: the next connections say one command at a time."""
        if self._client.capabilities.pipelining:
            self._observe.no_pipelining(self._opened.host, self._violation)
            self._no_pipelining.note(self._opened.host)

    def _lost_count(self, job: Job | None) -> bool:
        """Whether the end shows that the host cannot be sent ahead to: a reply too many, too few, or a close in between."""
        if self._farewell or self._broken_off:
            return False
        if self._violation:
            return self._proven
        return self._connection.over and (self._following is not None or (job is not None and job.overlapped and not job.going))

    def _untried(self, job: Job) -> bool:
        """Whether nothing was found out about `job`, whose final dot was not sent: it goes back as if it had not been handed out."""
        if self._broken_off:
            return True
        if job.going:
            return False
        if job.overlapped or self._farewell:
            return True
        # A connection that served others and is cut under the next envelope, with no word to it, was being closed already.
        return self._connection.lost and self._messages > 1 and self._connection.phase is Phase.MAIL and not self._violation

    def _unsure(self) -> Outcome:
        """The message is out, and its reply will not come."""
        if self._violation:
            return own(Own.UNSURE_PROTOCOL, f"after the final dot: {self._violation}", Phase.DOT)
        if self._connection.late:
            return own(Own.UNSURE_TIMEOUT, "no reply to the final dot in time", Phase.DOT)
        return own(Own.UNSURE_LOST, f"the connection ended before the reply to the final dot: {self._connection.why}", Phase.DOT)

    def _broken(self, job: Job) -> Outcome:
        """The dialogue ended before the final dot."""
        phase = Phase.BODY if job.going else self._connection.phase
        if self._violation:
            return own(Own.PROTOCOL, self._violation, self._violated or phase)
        if self._connection.late:
            return own(Own.TIMEOUT, f"{self._opened.host} was silent for too long", phase)
        return own(Own.LOST, f"{self._opened.host}: {self._connection.why}", phase)
