"""A mailbox provider on aiosmtpd: the far end of every test is a server we did not write.

The protocol is aiosmtpd's; ours are the tempers (`sandbox.temper`, carried out with `sandbox.manners`), the books (`sandbox.tally`) and the
extensions it offers. aiosmtpd reads pipelined commands in order but does not say so, hence PIPELINING is added to its EHLO reply. A 421
closes the connection.
One provider listens on one loopback address and runs on the loop it was made for; nothing here is thread-safe.
"""

import asyncio
import fnmatch
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import AnyStr

import msgspec
from aiosmtpd.smtp import Envelope, Session

from mail.outcome import Category
from sandbox.manners import Mannered
from sandbox.scenario import Mailboxes, Step
from sandbox.tally import Tally
from sandbox.temper import Act, Temperament, Visit

MAX_OCTETS_KEPT = 200_000_000
"""Octets of received messages kept in all."""

NARROW = 65_536
"""Octets the kernel takes for a provider that does not read: the client feels soon that nothing is taken."""
_TLS_NEXT = "220 Ready to start TLS"
"""aiosmtpd's last words in the clear."""

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs every command


class Received(msgspec.Struct, frozen=True):
    """A message a provider took. `content` has CRLF line ends and its dots unstuffed; `at` is Unix time."""

    provider: str
    peer: str
    ehlo: str
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    requiretls: bool = False


class Shelf:
    """Received messages, the newest `keep` of them and at most `MAX_OCTETS_KEPT`."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._octets = 0
        self.messages: deque[Received] = deque()

    def put(self, message: Received) -> None:
        """Keep it; the oldest make room."""
        self.messages.append(message)
        self._octets += len(message.content)
        while len(self.messages) > self._keep or self._octets > MAX_OCTETS_KEPT:
            self._octets -= len(self.messages.popleft().content)


class Provider:
    """One mailbox provider. `start` binds `address`:`port`; `tally` holds its books."""

    def __init__(self, mailboxes: Mailboxes, address: str, tls: ssl.SSLContext, shelf: Shelf, clock: Callable[[], float]) -> None:
        self.mailboxes = mailboxes
        self.address = address
        self.tally = Tally()
        self.temperament = Temperament(mailboxes)
        self.clock = clock
        self.shelf = shelf
        self.tls = tls if mailboxes.starttls else None
        self.hostname = host_names(mailboxes)[0]
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on `port` (0: any) and return the port. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, loop), self.address, port, backlog=1000)
        if self.temperament.reads_slowly:
            self._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)  # connections inherit it
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.end()
        await asyncio.sleep(0)

    def serves(self, domain: str) -> bool:
        """Whether mail for `domain` belongs here."""
        return any(fnmatch.fnmatchcase(domain.lower(), pattern) for pattern in self.mailboxes.domains)


def host_names(mailboxes: Mailboxes) -> list[str]:
    """The provider's MX host names, best first."""
    return mailboxes.mx or [f"mx.{mailboxes.name}.test"]


class _Handler:
    """aiosmtpd's hooks of one connection."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def act(self, server: "_Connection", step: Step, visit: Visit) -> Act | None:
        """Behave as the provider does at this step; then its answer, or None where it goes on."""
        temperament, now = self._provider.temperament, self._provider.clock()
        await server.behave(temperament.manners(step, visit, now))
        return temperament.act(step, visit, now)

    async def handle_EHLO(
        self, server: "_Connection", session: Session, envelope: Envelope, hostname: str, replies: list[str]
    ) -> list[str]:
        act = await self.act(server, Step.EHLO, server.visit())
        if act is not None:
            return act.reply.split("\r\n") if act.reply else server.hang_up()
        session.host_name = hostname
        mailboxes = self._provider.mailboxes
        if mailboxes.pipelining:
            replies.insert(1, "250-PIPELINING")
        if mailboxes.requiretls and session.ssl is not None:
            replies.insert(1, "250-REQUIRETLS")  # RFC 8689 section 2
        return [reply for reply in replies if mailboxes.eight_bit or reply != "250-8BITMIME"]

    async def handle_MAIL(self, server: "_Connection", session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        sender = "" if address == "<>" else address
        if "BODY=8BITMIME" in options and not self._provider.mailboxes.eight_bit:
            return "555 5.5.4 BODY=8BITMIME is not supported"
        server.messages += 1
        act = await self.act(server, Step.MAIL, server.visit(sender))
        if act is not None:
            self._provider.tally.attempt(sender, "")
            return self._carry_out(act, server, sender, [""])
        envelope.mail_from = address  # the null sender stays "<>": aiosmtpd takes an empty one for none
        envelope.mail_options.extend([*options, "REQUIRETLS"] if server.requiretls else options)
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(self, server: "_Connection", session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        sender = _sender(envelope)
        self._provider.tally.attempt(sender, address)
        if not self._provider.serves(address.rpartition("@")[2]):
            self._provider.tally.refused(sender, address, Category.RELAYING)
            return f"550 5.7.1 <{address}>: relay access denied"
        act = await self.act(server, Step.RCPT, server.visit(sender, address))
        if act is not None:
            return self._carry_out(act, server, sender, [address])
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient ok"

    async def before(self, step: Step, server: "_Connection", envelope: Envelope) -> str:
        """At the DATA command or in the body: the reply, or "" where the provider goes on."""
        sender = _sender(envelope)
        for recipient in envelope.rcpt_tos:
            act = await self.act(server, step, server.visit(sender, recipient))
            if act is not None and step is Step.BODY:
                await server.arrival(act.octets)
            if act is not None:
                return self._carry_out(act, server, sender, envelope.rcpt_tos)
        return ""

    async def handle_DATA(self, server: "_Connection", session: Session, envelope: Envelope) -> str:
        sender, recipients = _sender(envelope), envelope.rcpt_tos
        content = envelope.original_content or b""
        for recipient in recipients:
            act = await self.act(server, Step.DOT, server.visit(sender, recipient, content))
            if act is not None:
                if act.drops and act.taken:
                    self._take(session, envelope, content)
                return self._carry_out(act, server, sender, recipients)
        if not self._provider.mailboxes.eight_bit and not content.isascii():
            for recipient in recipients:
                self._provider.tally.refused(sender, recipient, Category.PROTOCOL)
            return "554 5.6.1 Eight-bit data is not supported here"
        self._take(session, envelope, content)
        return "250 2.0.0 Message taken"

    def _take(self, session: Session, envelope: Envelope, content: bytes) -> None:
        """Count the message as accepted and keep it."""
        provider = self._provider
        message_id = _message_id(content)
        for recipient in envelope.rcpt_tos:
            provider.tally.accepted(_sender(envelope), recipient, message_id)
        provider.shelf.put(
            Received(
                provider=provider.mailboxes.name,
                peer=_peer(session),
                ehlo=session.host_name or "",
                tls=session.ssl is not None,
                sender=_sender(envelope),
                recipients=tuple(envelope.rcpt_tos),
                content=content,
                at=time.time(),
                requiretls="REQUIRETLS" in envelope.mail_options,
            )
        )

    def _carry_out(self, act: Act, server: "_Connection", sender: str, recipients: list[str]) -> str:
        """Count the act for each recipient and give its reply; a drop closes the connection and gives none."""
        tally = self._provider.tally
        for recipient in recipients:
            if act.drops:
                tally.dropped(sender, recipient)
            elif act.transient:
                tally.deferred(sender, recipient, act.category)
            else:
                tally.refused(sender, recipient, act.category)
        if act.drops:
            server.hang_up()
        return act.reply


class _Connection(Mannered):
    """aiosmtpd's server for one connection, with refusal at connect, at STARTTLS and around DATA, delay, and a close after 421."""

    def __init__(self, provider: Provider, loop: asyncio.AbstractEventLoop) -> None:
        self._provider = provider
        self._ended = False
        self._hooks = _Handler(provider)
        self.requiretls = False
        self.messages = 0
        """MAIL commands so far."""
        super().__init__(
            self._hooks,
            data_size_limit=provider.mailboxes.size,
            enable_SMTPUTF8=provider.mailboxes.smtputf8,
            hostname=provider.hostname,
            ident="ESMTP",
            tls_context=provider.tls,
            loop=loop,
        )

    def visit(self, sender: str = "", recipient: str = "", content: bytes = b"") -> Visit:
        """Who is here with what."""
        return Visit(
            _peer(self.session),
            sender,
            recipient,
            content,
            connections=len(self._provider.connections),
            tls=self._tls_protocol is not None,
            message=max(self.messages, 1),
            pipelined=self.more_waits,
        )

    def hang_up(self) -> list[str]:
        """Close without another word."""
        self._ended = True
        if self.transport is not None:
            self.transport.close()
        return []

    def end(self) -> None:
        """Close because the sandbox ends."""
        self._ended = True
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self in self._provider.connections:
            self._provider.tally.tls += 1  # the same connection again, now under TLS
        self._provider.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._provider.connections.discard(self)
        super().connection_lost(error)

    async def push(self, status: AnyStr) -> None:
        if self._provider.mailboxes.delay:
            await asyncio.sleep(self._provider.mailboxes.delay)
        if self._ended or self.transport is None:
            return
        await super().push(status)
        if status[:3] in ("421", b"421"):  # RFC 5321 section 3.8: a 421 may come at any time, and closes
            self.hang_up()
        elif status == _TLS_NEXT:
            await self._before_the_handshake()
        elif status[:3] == "354":
            await self._in_the_body()

    async def _handle_client(self) -> None:
        self._provider.tally.connections += 1
        act = await self._hooks.act(self, Step.CONNECT, self.visit())
        if act is None:
            await super()._handle_client()
            return
        self._provider.tally.connections_refused += 1
        if act.reply:
            await self.push(act.reply)
        self.hang_up()

    async def smtp_STARTTLS(self, argument: str | None) -> None:
        act = await self._hooks.act(self, Step.STARTTLS, self.visit())
        if act is None:
            await super().smtp_STARTTLS(argument)
        elif act.reply:
            await self.push(act.reply)
        else:
            self.hang_up()

    async def _before_the_handshake(self) -> None:
        """220 is said: whatever is answered now comes instead of a handshake."""
        act = await self._hooks.act(self, Step.HANDSHAKE, self.visit())
        if act is not None:
            if act.reply:
                self.write_raw(f"{act.reply}\r\n".encode())
            self.hang_up()
            await self.the_end()

    async def smtp_MAIL(self, argument: str | None) -> None:
        """aiosmtpd knows no REQUIRETLS (RFC 8689): the parameter is taken out before it looks, where it is offered."""
        offered = self._provider.mailboxes.requiretls and self.session is not None and self.session.ssl is not None
        words = (argument or "").split(" ")
        self.requiretls = offered and "REQUIRETLS" in words
        if self.requiretls:
            argument = " ".join(word for word in words if word != "REQUIRETLS")
        await super().smtp_MAIL(argument)

    async def smtp_DATA(self, argument: str | None) -> None:
        assert self.envelope is not None
        reply = await self._hooks.before(Step.DATA, self, self.envelope)
        if self._ended:
            return
        if reply:
            self.envelope = self._create_envelope()
            await self.push(reply)
            return
        await super().smtp_DATA(argument)

    async def _in_the_body(self) -> None:
        """354 is said: an answer now comes in the middle of the message and is the last, for what follows would be taken for commands."""
        assert self.envelope is not None
        reply = await self._hooks.before(Step.BODY, self, self.envelope)
        if reply:
            await self.push(reply)
            self.hang_up()
        if self._ended:
            self.end()  # a polite end of TLS would go on reading
            await self.the_end()


def _sender(envelope: Envelope) -> str:
    """The envelope sender, "" for the null sender."""
    return "" if envelope.mail_from in (None, "<>") else str(envelope.mail_from)


def _peer(session: Session | None) -> str:
    """The client's address."""
    return str(session.peer[0]) if session is not None and session.peer else ""


def _message_id(content: bytes) -> str:
    """The Message-ID in the header of `content`, or ""."""
    header = b"\r\n" + content[: content.find(b"\r\n\r\n") + 2 or len(content)]
    start = header.lower().find(b"\r\nmessage-id:")
    if start < 0:
        return ""
    value = header[start + 13 :]
    return value[: value.find(b"\r\n")].strip().decode("utf-8", "replace")
