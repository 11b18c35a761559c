"""The transport glue of one client's connection: octets between a socket and `gateway.smtp.server`, questions to a `Visitor`.

Promises: replies of a pipelined batch leave in one write; while an answer is owed or the client does not read, we stop reading once 64 KiB
wait; a client that closes its half after the final dot still gets its message committed and answered; an answer that comes after it has
gone is waited for, as the commit is under way. There is no timer here: the listener's sweeper calls `check` with the time.

It decides nothing about mail. When a visitor raises, the client hears 451 4.3.0 and the observer the rest.
"""

import asyncio
from typing import cast

from gateway.doors import tls
from gateway.doors.owner import Owner, peer_of
from gateway.doors.visitor import REASONS, Visitor
from gateway.smtp import replies
from gateway.smtp.events import NEED_DATA, Aborted, Auth, Content, Event, Mail, Question, Quit, Recipient, StartTls
from gateway.smtp.server import ServerConnection
from mail.reply import Reply

READ_AHEAD = 65_536
"""Octets that may wait unread in a connection before it stops reading."""
RATE_GRACE = 30.0
"""Seconds of a message's transfer before its rate is looked at."""
LINGER = 30.0  # seconds a closing connection may take to hand over its last reply
LAST_WORDS = 2.0
"""Seconds in which a client that was talking when we ended may hear why: closed at once, TCP would drop our reply with what it sent."""


_QUESTIONS = frozenset((Mail, Recipient, Content, Auth))


class DoorConnection(asyncio.Protocol):
    """One client. Made by its listener for each connection that the loop accepts; `client` is its address where a proxy has told it."""

    __slots__ = (
        "_client",
        "_closing_at",
        "_early",
        "_handshake_task",
        "_loop",
        "_lost",
        "_message_since",
        "_opened",
        "_owner",
        "_question",
        "_reading",
        "_reserved",
        "_smtp",
        "_talking",
        "_task",
        "_tls",
        "_touched",
        "_transport",
        "_visitor",
        "_waiter",
        "_write_paused_at",
    )

    def __init__(self, owner: Owner, client: str = "") -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._visitor: Visitor | None = None
        self._smtp: ServerConnection | None = None
        self._client = client
        self._question: Question | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._handshake_task: asyncio.Task[None] | None = None
        self._reading = True
        self._write_paused_at: float | None = None
        self._reserved = 0
        self._opened = self._touched = self._loop.time()
        self._message_since: float | None = None
        self._closing_at: float | None = None
        self._talking = False
        self._tls = False
        self._early = b""
        self._lost = False

    # What the loop calls --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = self._client or peer_of(transport)
        if not self._client:
            self._transport.abort()  # gone before we looked: a health check that resets
            return
        visitor = self._owner.arrived(self, self._client)
        if isinstance(visitor, Reply):
            self._turn_away(visitor)
            return
        self._visitor = visitor
        self._smtp = ServerConnection(visitor.options(self._tls))
        if self._owner.implicit_tls:
            self._start_handshake()
        else:
            self._smtp.greet()
            self._pump()

    def data_received(self, data: bytes) -> None:
        if self._smtp is None or self._closing_at is not None:
            return
        if self._handshake_task is not None and self._owner.implicit_tls:
            self._early += data  # the handshake's first octets: the loop reads before we have asked it to
            return
        self._smtp.receive(data)
        self._talking = True
        self._pump()

    def eof_received(self) -> bool:
        """A closed half does not end what is under way. TLS has no half close: there the transport closes, the commit goes on."""
        self._talking = False
        if self._closing_at is not None:
            return False
        if self._smtp is not None:
            self._smtp.receive(b"")
            self._pump()
        return not self._tls

    def pause_writing(self) -> None:
        self._write_paused_at = self._loop.time()

    def resume_writing(self) -> None:
        self._write_paused_at = None
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._reserve(0)
        if self._smtp is not None and self._question is None:
            self._smtp.terminate()
        self._wake()
        self._owner.left(self, self._client)
        if self._visitor is not None and self._question is None:
            self._visitor.gone()

    # The dialogue ---------------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take events until there is none, answer what can be answered at once, write all replies together."""
        smtp, visitor = self._smtp, self._visitor
        if smtp is None or visitor is None or self._handshake_task is not None:
            return
        if self._write_paused_at is not None:
            self._regulate_reading()
            return
        while (event := smtp.next_event()) is not NEED_DATA:
            if type(event) not in _QUESTIONS:  # far cheaper than isinstance with a union
                self._told(event)
                continue
            if type(event) is Content:
                self._message_since = None
                if not self._fits(len(event.data)):
                    smtp.refuse(replies.NO_MEMORY)
                    self._refused(replies.NO_MEMORY)
                    continue
            question = cast(Question, event)
            try:
                reply = visitor.answer(question)
            except Exception as error:
                reply = self._trouble(question, error)
            if reply is None:
                self._ask(question)
                break
            if reply.code < 400:
                smtp.accept(reply)
            else:
                smtp.refuse(reply)
        self._flush()

    def _flush(self) -> None:
        """Write what there is, then see to memory, times and reading."""
        smtp = self._smtp
        assert smtp is not None
        for refusal in smtp.take_refusals():
            self._refused(refusal)
        out = smtp.data_to_send()
        if out:
            self._touched = self._loop.time()
            if self._transport is not None and not self._lost:
                self._transport.write(out)
        if smtp.held != self._reserved:
            self._reserve(smtp.held)
            if self._owner.budget.used > self._owner.budget.limit and smtp.in_message:
                smtp.refuse_content(replies.NO_MEMORY)
                self._reserve(0)
        if not smtp.in_message:
            self._message_since = None
        elif self._message_since is None:
            self._message_since = self._loop.time()
        if smtp.closed:
            self._close()
        else:
            self._regulate_reading()

    def _refused(self, reply: Reply) -> None:
        owner = self._owner
        account = self._visitor.account_name if self._visitor is not None else ""
        owner.observer.refused(owner.name, self._client, account, "", REASONS.get(reply, "protocol"), reply)

    def _trouble(self, question: Question, error: Exception) -> Reply:
        self._owner.observer.trouble(f"{self._owner.name} {type(question).__name__}", error)
        return replies.TROUBLE

    def _told(self, event: Event) -> None:
        assert self._visitor is not None
        self._visitor.tell(event)
        if isinstance(event, StartTls):
            self._flush()
            self._start_handshake()
        elif isinstance(event, Quit):
            self._talking = False
        elif isinstance(event, Aborted) and event.during_message:
            self._owner.observer.cut(self._owner.name, self._client, self._visitor.account_name, "left-in-message")

    def _regulate_reading(self) -> None:
        smtp, transport = self._smtp, self._transport
        if smtp is None or transport is None or self._lost or self._closing_at is not None or self._handshake_task is not None:
            return
        blocked = self._question is not None or self._write_paused_at is not None
        if blocked and smtp.buffered >= READ_AHEAD:
            if self._reading:
                self._reading = False
                transport.pause_reading()
        elif not self._reading and smtp.buffered < READ_AHEAD:
            self._reading = True
            transport.resume_reading()

    def _fits(self, size: int) -> bool:
        budget = self._owner.budget
        return budget.used - self._reserved + size <= budget.limit

    def _reserve(self, octets: int) -> None:
        self._owner.budget.used += octets - self._reserved
        self._reserved = octets

    # Answers that take time -----------------------------------------------------------------------------------------------------

    def _ask(self, question: Question) -> None:
        """One task a connection, made for its first question; it waits between questions."""
        self._question = question
        if self._task is None:
            self._task = self._loop.create_task(self._answer_questions())
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _answer_questions(self) -> None:
        smtp, visitor = self._smtp, self._visitor
        assert smtp is not None
        assert visitor is not None
        while True:
            while self._question is not None:
                login = type(self._question) is Auth  # no local keeps the question itself: it would keep the message while we wait
                reply = await self._decided(visitor, self._question)
                self._question = None
                if reply.code < 400:
                    smtp.accept(reply)
                    if login:  # the account has limits of its own
                        smtp.options = visitor.options(self._tls)
                else:
                    smtp.refuse(reply)
                if self._lost:
                    smtp.terminate()
                self._pump()
            if self._lost:
                visitor.gone()
                return
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
            if self._lost and self._question is None:
                return

    async def _decided(self, visitor: Visitor, question: Question) -> Reply:
        try:
            return await visitor.decide(question)
        except Exception as error:
            return self._trouble(question, error)

    # TLS ------------------------------------------------------------------------------------------------------------------------

    def _start_handshake(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()
        self._handshake_task = self._loop.create_task(self._handshake(self._transport))

    async def _handshake(self, plain: asyncio.Transport) -> None:
        smtp, visitor = self._smtp, self._visitor
        assert smtp is not None
        assert visitor is not None
        try:
            context = self._owner.tls_context()
            transport = await tls.begin(plain, self, context, self._owner.limits.command_timeout, self._take_early)
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are OSErrors
            self._owner.observer.cut(self._owner.name, self._client, visitor.account_name, f"tls: {type(error).__name__}")
            transport = None
        self._handshake_task = None
        if transport is None or self._lost:
            smtp.terminate()
            plain.abort()
            self.connection_lost(None)
            return
        self._transport, self._tls, self._reading = transport, True, True
        smtp.tls_started(visitor.options(True))
        if self._owner.implicit_tls:
            smtp.greet()
        self._touched = self._loop.time()
        self._pump()

    def _take_early(self) -> bytes:
        early, self._early = self._early, b""
        return early

    # The end --------------------------------------------------------------------------------------------------------------------

    def _turn_away(self, reply: Reply) -> None:
        assert self._transport is not None
        if not self._owner.implicit_tls:
            self._transport.write(replies.encode(reply))
        self._close()

    def _close(self) -> None:
        """Close after what is written has left; `check` cuts it when that takes too long. A client that was talking is heard out."""
        if self._closing_at is not None or self._transport is None:
            return
        self._closing_at = self._loop.time()
        self._talking = self._talking and not self._tls and not self._lost
        if not self._talking:
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def finish(self, reply: Reply) -> None:
        """End with `reply` when no message is under way: at once, or after the message."""
        self._talking = False
        if self._handshake_task is not None:
            self.abort()
        elif self._smtp is not None:
            self._smtp.finish(reply)
            self._pump()

    def terminate(self, reply: Reply, reason: str) -> None:
        """End now."""
        account = self._visitor.account_name if self._visitor is not None else ""
        self._owner.observer.cut(self._owner.name, self._client, account, reason)
        if self._handshake_task is not None:
            self.abort()  # no reply can be understood in a handshake
        elif self._smtp is not None:
            self._smtp.terminate(reply)
            self._flush()
        else:
            self._close()

    def abort(self) -> None:
        """Cut the connection; what was not written is lost."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """End the connection when its time is up at `now` (the loop's time)."""
        since, time = self._closing_at, LAST_WORDS if self._talking else LINGER
        if since is None:
            since, time = self._write_paused_at, self._owner.limits.command_timeout
        if since is not None:
            if now - since > time:
                self.abort()
            return
        found = self._overdue(now)
        if found is not None:
            self.terminate(*found)

    def _overdue(self, now: float) -> tuple[Reply, str] | None:
        limits, smtp = self._owner.limits, self._smtp
        if smtp is None or self._question is not None:  # an answer is ours to give: the client is not late
            return None
        if self._message_since is not None:
            age = now - self._message_since
            if age > limits.data_timeout:
                return replies.TIMED_OUT, "data-timeout"
            if age > RATE_GRACE and smtp.received < limits.minimum_rate * age:
                return replies.TOO_SLOW, "too-slow"
            return None
        if now - self._touched > limits.command_timeout:
            return replies.TIMED_OUT, "command-timeout"
        if now - self._opened > limits.session_timeout and not smtp.in_transaction:
            return replies.SESSION_TOO_LONG, "session-timeout"
        return None
