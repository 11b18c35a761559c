"""The client's side of SMTP with no I/O: bytes of the peer in, events out, and the bytes that say what the caller wants said.

`Client` keeps the commands that await a reply in a deque, so every reply finds its command, and it knows the state of up to two
transactions: the one whose message is on the wire and the one whose envelope was written right behind its final dot. Where the peer offers
PIPELINING a whole group (RSET if needed, MAIL, RCPT, DATA) is one string of bytes; elsewhere commands are let out one at a time by
`data_to_send`. One recipient per transaction, always.

Promises: any bytes in, never an exception; memory bounded by the limits of `gateway.smtp.answers`; a reply that fits no command, a group
whose replies cannot belong together and anything that is not a reply become one `Violation`, after which the dialogue is over. A refusal
is an event, not an exception. 354 with no accepted recipient is answered with a lone dot. 421 ends the dialogue wherever it comes.

Does not: open, encrypt, time or close anything, or decide what a refusal means. It does not check who writes when: a caller that begins a
third transaction gets an AssertionError.

DATA and not BDAT is how sessions send (decision 0011). `begin_chunked` is there for measurement and for next hops that take DATA badly.
"""

import enum
from collections import deque

import msgspec

from gateway.smtp.answers import Capabilities, ReplyReader, capabilities_of
from gateway.smtp.envelope import NO_DSN, Dsn, EnvelopeLines, envelope
from mail.outcome import Phase
from mail.reply import Reply


class Verb(enum.Enum):
    """What a reply can be awaited for."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "final dot"
    CHUNK = "BDAT"
    LONE_DOT = "lone dot"
    RSET = "RSET"
    QUIT = "QUIT"


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The reply to a command outside a transaction: greeting, EHLO, HELO, STARTTLS, QUIT."""

    verb: Verb
    reply: Reply


class GoAhead(msgspec.Struct, frozen=True, gc=False):
    """354: the recipient was accepted and the message may be sent now (then say `content`)."""

    transaction: int


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A transaction ended with the reply that decided it: the first refusal, or the reply to the final dot (`phase` DOT)."""

    transaction: int
    phase: Phase
    reply: Reply


class Farewell(msgspec.Struct, frozen=True, gc=False):
    """421 out of turn: the peer closes. Transactions without an `Ended` were not answered."""

    reply: Reply


class Violation(msgspec.Struct, frozen=True, gc=False):
    """The peer does not speak SMTP as we do; nothing more is to be expected. `what` is for people, `phase` the command's, if any."""

    what: str
    phase: Phase | None = None


ClientEvent = Answered | GoAhead | Ended | Farewell | Violation


class _Transaction:
    """Progress of one transaction: RCPT was `accepted`; the message and its final dot were given to the wire (`sent`)."""

    __slots__ = ("accepted", "number", "refusal", "sent")

    def __init__(self, number: int) -> None:
        self.number = number
        self.accepted = False
        self.refusal: tuple[Phase, Reply] | None = None
        self.sent = False


_PHASE = {Verb.MAIL: Phase.MAIL, Verb.RCPT: Phase.RCPT, Verb.DATA: Phase.DATA, Verb.DOT: Phase.DOT, Verb.CHUNK: Phase.DOT}


def stuffed(parts: list[bytes]) -> bytes:
    """The message in `parts` (CRLF lines, CRLF at its end) with dots doubled and the final dot (RFC 5321 section 4.5.2)."""
    content = b"".join((*parts, b".\r\n"))
    if content[-5:-3] == b"\r\n" and content[:1] != b"." and content.rfind(b"\r\n.", 0, -4) < 0:
        return content  # no line begins with a dot: one copy was enough (and rfind is twice as fast as find here)
    content = content[:-3].replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content + (b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n")


class Client:
    """One dialogue. It begins awaiting the greeting; `hello` and the others return the bytes to write and note the reply to come."""

    def __init__(self) -> None:
        self.capabilities = Capabilities()
        self.closing = False
        """421, QUIT or a violation: nothing may be begun any more."""
        self.violated = False
        self._reader = ReplyReader()
        self._outstanding: deque[tuple[Verb, _Transaction | None]] = deque([(Verb.GREETING, None)])
        self._held: deque[tuple[Verb, _Transaction, bytes]] = deque()
        """Commands not let out yet, where the peer has no PIPELINING."""
        self._open: list[_Transaction] = []
        self._out: list[bytes] = []
        self._needs_reset = False
        """MAIL was accepted and no message followed: the next transaction starts with RSET."""

    # What the caller may ask

    @property
    def awaiting(self) -> Verb | None:
        """The command whose reply is due next."""
        return self._outstanding[0][0] if self._outstanding else None

    @property
    def may_begin(self) -> bool:
        """Whether a transaction can begin now: nothing is under way, or one message whose final dot is on the wire."""
        if self.closing:
            return False
        return not self._outstanding and not self._held if not self._open else len(self._open) == 1 and self._open[0].sent

    def state_of(self, number: int) -> tuple[bool, tuple[Phase, Reply] | None] | None:
        """Of an open transaction: whether its final dot was given to the wire, and a refusal already received. None: it is not open."""
        for transaction in self._open:
            if transaction.number == number:
                return transaction.sent, transaction.refusal
        return None

    # What the caller says

    def hello(self, name: str) -> bytes:
        """EHLO (RFC 5321 section 4.1.1.1); its reply sets `capabilities`."""
        return self._say(Verb.EHLO, f"EHLO {name}\r\n".encode())

    def helo(self, name: str) -> bytes:
        """HELO, for a peer that refuses EHLO (RFC 5321 section 3.2)."""
        return self._say(Verb.HELO, f"HELO {name}\r\n".encode())

    def starttls(self) -> bytes:
        """STARTTLS (RFC 3207). After its 220 nothing may follow in the clear."""
        return self._say(Verb.STARTTLS, b"STARTTLS\r\n")

    def quit(self) -> bytes:
        """QUIT; nothing may be begun after it."""
        self.closing = True
        return self._say(Verb.QUIT, b"QUIT\r\n")

    def begin(
        self,
        number: int,
        sender: str,
        recipient: str,
        *,
        size: int = 0,
        eight_bit: bool = False,
        utf8: bool = False,
        dsn: Dsn = NO_DSN,
        requiretls: bool = False,
    ) -> bytes:
        """Begin transaction `number`. The bytes are the whole group where the peer has PIPELINING, else its first command.

        Parameters that the peer did not offer are left out; it is for the caller to have made the message fit.
        """
        mail, rcpt = self._envelope(sender, recipient, size, eight_bit, utf8, dsn, requiretls)
        transaction = self._start(number)
        if self.capabilities.pipelining:
            reset = b"RSET\r\n" if self._take_reset(transaction) else b""
            self._outstanding.extend(((Verb.MAIL, transaction), (Verb.RCPT, transaction), (Verb.DATA, transaction)))
            return reset + mail + rcpt + b"DATA\r\n"
        if self._needs_reset:
            self._needs_reset = False
            self._held.append((Verb.RSET, transaction, b"RSET\r\n"))
        self._held.extend(((Verb.MAIL, transaction, mail), (Verb.RCPT, transaction, rcpt), (Verb.DATA, transaction, b"DATA\r\n")))
        if self._outstanding:
            return b""  # the dot of the one before is still to be answered; `data_to_send` follows its reply
        return self._release()

    def begin_chunked(
        self, number: int, sender: str, recipient: str, octets: int, *, size: int = 0, eight_bit: bool = False, utf8: bool = False
    ) -> bytes:
        """Begin a transaction whose message of `octets` (not dot-stuffed) the caller writes right behind these bytes (RFC 3030).

        For peers that offer CHUNKING and PIPELINING. Where RCPT is refused the reply to BDAT is awaited and passed over.
        """
        offers = self.capabilities
        assert offers.chunking
        assert offers.pipelining
        mail, rcpt = self._envelope(sender, recipient, size, eight_bit, utf8, NO_DSN, False)
        transaction = self._start(number)
        transaction.sent = True
        reset = b"RSET\r\n" if self._take_reset(transaction) else b""
        self._outstanding.extend(((Verb.MAIL, transaction), (Verb.RCPT, transaction), (Verb.CHUNK, transaction)))
        return reset + mail + rcpt + b"BDAT %d LAST\r\n" % octets

    def content(self, number: int, *, whole: bool = True) -> None:
        """The message of `number` is being given to the wire (after `GoAhead`). Not `whole`: `content_done` follows with its final dot."""
        transaction = self._open[0]
        assert (transaction.number, transaction.accepted, transaction.sent) == (number, True, False)
        transaction.sent = whole
        self._needs_reset = False
        self._outstanding.append((Verb.DOT, transaction))

    def content_done(self) -> None:
        """The final dot of a message begun by `content` is being given to the wire."""
        if self._open:
            self._open[0].sent = True

    def data_to_send(self) -> bytes:
        """Bytes that replies let out: held commands and lone dots. Write them after every `receive`."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # What the peer says

    def receive(self, data: bytes) -> list[ClientEvent]:
        """The events in `data`. After a `Violation` or 421 nothing more is read."""
        events: list[ClientEvent] = []
        if self.violated or (self.closing and not self._outstanding):
            return events
        replies = self._reader.read(data)
        for position, reply in enumerate(replies, 1):
            if not self._outstanding:
                self._unasked(reply, events)
                return events
            verb, transaction = self._outstanding.popleft()
            if reply.code == 421:
                self._farewell(verb, transaction, reply, events)
                return events
            if transaction is not None:
                self._step(verb, transaction, reply, events)
            else:
                self._answer(verb, reply, events, surplus=position < len(replies) or self._reader.waiting)
            if self.violated:
                return events
        if self._reader.fault:
            self._violate(self._reader.fault, events)
        return events

    # Inside

    def _say(self, verb: Verb, line: bytes) -> bytes:
        self._outstanding.append((verb, None))
        return line

    def _envelope(self, sender: str, recipient: str, size: int, eight_bit: bool, utf8: bool, dsn: Dsn, requiretls: bool) -> EnvelopeLines:
        has = self.capabilities
        size, dsn = size if has.size is not None else 0, dsn if has.dsn else NO_DSN
        return envelope(sender, recipient, size, eight_bit and has.eight_bit, utf8 and has.smtputf8, dsn, requiretls and has.requiretls)

    def _start(self, number: int) -> _Transaction:
        assert self.may_begin
        transaction = _Transaction(number)
        self._open.append(transaction)
        return transaction

    def _take_reset(self, transaction: _Transaction) -> bool:
        """Whether RSET goes first; its reply is then awaited."""
        if not self._needs_reset:
            return False
        self._needs_reset = False
        self._outstanding.append((Verb.RSET, transaction))
        return True

    def _release(self) -> bytes:
        """The next held command, now awaiting its reply."""
        verb, transaction, line = self._held.popleft()
        self._outstanding.append((verb, transaction))
        return line

    def _violate(self, what: str, events: list[ClientEvent], phase: Phase | None = None) -> None:
        self.violated = self.closing = True
        events.append(Violation(what, phase))

    def _unasked(self, reply: Reply, events: list[ClientEvent]) -> None:
        """A reply when none was due: 421 is allowed at any time (RFC 5321 section 3.8), anything else is one too many."""
        if reply.code == 421:
            self.closing = True
            events.append(Farewell(reply))
        else:
            self._violate(f"a reply without a command: {reply}", events)

    def _farewell(self, verb: Verb, transaction: _Transaction | None, reply: Reply, events: list[ClientEvent]) -> None:
        """421 as the answer to `verb`: the dialogue is over, whatever else was asked."""
        self.closing = True
        self._outstanding.clear()
        self._held.clear()
        if transaction is None:
            events.append(Answered(verb, reply))
        elif verb is Verb.RSET:
            events.append(Farewell(reply))
        else:
            phase, decisive = transaction.refusal or (_PHASE.get(verb, Phase.DOT), reply)
            self._open.remove(transaction)
            events.append(Ended(transaction.number, phase, decisive))

    def _answer(self, verb: Verb, reply: Reply, events: list[ClientEvent], surplus: bool) -> None:
        """The reply to a command outside transactions."""
        if verb is Verb.EHLO:
            self.capabilities = capabilities_of(reply) if reply.code == 250 else Capabilities()
        elif verb is Verb.HELO:
            self.capabilities = Capabilities()
        events.append(Answered(verb, reply))
        if verb is Verb.STARTTLS and reply.positive and surplus:
            # Bytes behind the 220 came in the clear and may be anybody's (RFC 3207 section 4.2).
            events.pop()
            self._violate("bytes behind the reply to STARTTLS", events)

    def _step(self, verb: Verb, transaction: _Transaction, reply: Reply, events: list[ClientEvent]) -> None:
        """The reply to a command of a transaction."""
        match verb:
            case Verb.MAIL:
                self._mail(transaction, reply, events)
            case Verb.RCPT:
                self._rcpt(transaction, reply, events)
            case Verb.DATA:
                self._data(transaction, reply, events)
            case Verb.DOT:
                self._end(transaction, Phase.DOT, reply, events)
            case Verb.CHUNK:
                phase, decisive = transaction.refusal or (Phase.DOT, reply)
                self._needs_reset = transaction.refusal is not None  # RFC 3030 section 4.2: RSET clears what a failed BDAT left
                self._end(transaction, phase, decisive, events)
            case Verb.LONE_DOT:
                self._needs_reset = False
                phase, decisive = transaction.refusal or (Phase.DATA, reply)
                self._end(transaction, phase, decisive, events)
            case _:  # RSET: whatever the answer, MAIL will show
                pass
        if self._held and not self._outstanding and not self.violated:
            if transaction.refusal is not None and self._held[0][1] is transaction:
                self._held.clear()
                self._end(transaction, *transaction.refusal, events)
            else:
                self._out.append(self._release())

    def _mail(self, transaction: _Transaction, reply: Reply, events: list[ClientEvent]) -> None:
        if reply.code // 100 == 2:
            self._needs_reset = True
        else:
            self._refused(transaction, Phase.MAIL, reply, events)

    def _rcpt(self, transaction: _Transaction, reply: Reply, events: list[ClientEvent]) -> None:
        if reply.code // 100 == 2:
            if transaction.refusal is not None:
                self._violate("RCPT was accepted after MAIL was refused", events, Phase.RCPT)  # replies have slipped
            transaction.accepted = True
        elif transaction.refusal is None or reply.positive:
            self._refused(transaction, Phase.RCPT, reply, events)

    def _refused(self, transaction: _Transaction, phase: Phase, reply: Reply, events: list[ClientEvent]) -> None:
        transaction.refusal = (phase, reply)
        if reply.positive:  # a 354 here is for DATA: a reply is missing
            self._violate(f"{phase.value.upper()} was answered {reply}", events, phase)

    def _data(self, transaction: _Transaction, reply: Reply, events: list[ClientEvent]) -> None:
        """354 or a refusal (RFC 5321 section 4.1.1.4). With no accepted recipient, 354 gets a lone dot (RFC 2920 section 3.1)."""
        if reply.code == 354:
            if transaction.accepted:
                events.append(GoAhead(transaction.number))
            else:
                self._out.append(b".\r\n")
                self._outstanding.appendleft((Verb.LONE_DOT, transaction))
        elif reply.positive:
            self._violate(f"DATA was answered {reply}", events, Phase.DATA)
        else:
            phase, decisive = transaction.refusal or (Phase.DATA, reply)
            self._end(transaction, phase, decisive, events)

    def _end(self, transaction: _Transaction, phase: Phase, reply: Reply, events: list[ClientEvent]) -> None:
        if phase is Phase.DOT and not 200 <= reply.code < 300 and reply.code < 400:
            self._violate(f"the final dot was answered {reply}", events)
            return
        if phase is Phase.DOT and not transaction.sent:
            if reply.positive:
                self._violate(f"the message was answered {reply} before its end", events, Phase.BODY)
                return
            self.closing = True  # refused midway: what is still to come would be taken for commands
        self._open.remove(transaction)
        events.append(Ended(transaction.number, phase, reply))
