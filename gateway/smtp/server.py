"""The server's side of an SMTP connection with no I/O: bytes in, events and replies out (RFC 5321; as h11 does for HTTP).

How it is driven: `receive` what the peer sent (`b""` for its end), take events by `next_event` until NEED_DATA, answer those that ask
(`Mail`, `Recipient`, `Content`, `Auth`) by `accept` or `refuse`, write `data_to_send`. While an answer is owed no further event comes,
so replies keep the order of commands, and those of a pipelined batch (RFC 2920) are gathered into one write.

Promises: any bytes in any segmentation end in replies or a close, never in an exception; exactly one reply to each command; what is kept
of the peer is at most one command line and, while a message arrives, `message_size` octets (what it sends while an answer is owed is the
caller's to bound: stop reading when `buffered` is large). Only CRLF.CRLF ends DATA. A bare CR or LF in a message is refused, or made
CRLF where the options say so; in a command line it is refused always. A refused BDAT consumes its octets. After STARTTLS nothing counts
that came before the handshake.

It knows no account, no policy and no clock: the doors decide, time and close.
"""

import enum
import functools
from collections.abc import Callable

from gateway.smtp import grammar, replies, sasl
from gateway.smtp.events import (
    NEED_DATA,
    Aborted,
    Auth,
    Content,
    Event,
    Hello,
    Mail,
    NeedData,
    Question,
    Quit,
    Recipient,
    Reset,
    ServerOptions,
    StartTls,
)
from gateway.smtp.grammar import AuthCommand, MailCommand, Malformed
from gateway.smtp.reception import Reception
from mail.reply import Reply


class _Mode(enum.IntEnum):
    """What the next octets are."""

    COMMAND = 0
    CONTENT = 1
    CHUNK = 2
    EXCHANGE = 3
    SKIP = 4
    HANDSHAKE = 5


_Step = Event | NeedData | None
"""What one step gives: an event, NEED_DATA, or None to take another step."""


_NO_MESSAGE = Reception(0)
"""Stands where no message is arriving. Nothing is ever put into it."""


class ServerConnection:
    """See the module. `closed`: write what `data_to_send` still gives, then close; nothing more is read."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.closed = False
        self.authenticated = False
        self._buffer = b""
        self._position = 0
        self._out: list[bytes] = []
        self._mode = _Mode.COMMAND
        self._pending: Question | None = None
        self._ended = False
        self._farewell: Reply | None = None
        self._errors = 0
        self._messages = 0
        self._hello = ""
        self._exchange: sasl.Exchange | None = None
        self._mechanism = ""
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self._sender: MailCommand | None = None
        self._recipients = 0
        self._recipients_tried = 0
        self._chunked = False
        self._chunk_left = 0
        self._chunk_last = False
        self._reception = _NO_MESSAGE

    # What the caller may ask ----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """An event waits for its answer."""
        return self._pending is not None

    @property
    def buffered(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._buffer) - self._position

    @property
    def held(self) -> int:
        """Octets kept of a message that is arriving."""
        return self._reception.held

    @property
    def received(self) -> int:
        """Octets of the message that is arriving, kept or not."""
        return self._reception.size

    @property
    def in_message(self) -> bool:
        """Octets of a message are arriving (not: an envelope)."""
        return self._mode is _Mode.CONTENT or self._mode is _Mode.CHUNK

    @property
    def in_transaction(self) -> bool:
        """Between an accepted MAIL and the answer to the message."""
        return self._sender is not None

    # What the caller may do -----------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """Say 220 (RFC 5321 section 4.3.1)."""
        self._out.append(f"220 {self.options.hostname} ESMTP\r\n".encode("ascii", "replace"))

    def receive(self, data: bytes) -> None:
        """Take octets from the peer; `b""` says that it will send no more."""
        if not data:
            self._ended = True
        elif self._mode is _Mode.HANDSHAKE:
            self._injected()
        elif not self.closed:
            if self._position < len(self._buffer):
                self._buffer = self._buffer[self._position :] + data
            else:
                self._buffer = data
            self._position = 0

    def next_event(self) -> Event | NeedData:
        """The next event. NEED_DATA: nothing before more octets, or before the answer that is owed."""
        if self._pending is not None:
            return NEED_DATA
        while not self.closed:
            step = _STEPS[self._mode](self)
            if step is not None:
                return step
        return NEED_DATA

    def accept(self, reply: Reply | None = None) -> None:
        """Yes to the event that waits, in the words of `reply` where they are not the usual ones."""
        if self.closed:
            return
        event, self._pending = self._pending, None
        match event:
            case Mail(command):
                self._sender = command
                self._say(reply or replies.SENDER_OK)
            case Recipient():
                self._recipients += 1
                self._say(reply or replies.RECIPIENT_OK)
            case Content():
                self._errors = 0
                self._messages += 1
                self._forget_transaction()
                self._out.append(replies.encode_once(reply or replies.QUEUED))
            case Auth():
                self.authenticated = True
                self._say(reply or replies.AUTHENTICATED)
            case None:
                raise RuntimeError("no event waits for an answer")

    def refuse(self, reply: Reply) -> None:
        """No to the event that waits. 421 closes the connection; 5yz counts as an error."""
        if self.closed:
            return
        event, self._pending = self._pending, None
        if event is None:
            raise RuntimeError("no event waits for an answer")
        if isinstance(event, Content):
            self._forget_transaction()
        self._error(reply)

    def refuse_content(self, reply: Reply) -> None:
        """The message that is arriving is not wanted: its octets are dropped, and `reply` given at its end."""
        if self.in_message and self._reception.refusal is None:
            self._reception.refuse(reply)

    def tls_started(self, options: ServerOptions) -> None:
        """The handshake is done: everything said before is forgotten (RFC 3207 section 4.2)."""
        self.options = options
        if self._mode is _Mode.HANDSHAKE:
            self._mode = _Mode.COMMAND
        self._hello = ""
        self._forget_transaction()

    def finish(self, reply: Reply) -> None:
        """End with `reply` (421) as soon as no message is under way; take another `next_event` after this."""
        self._farewell = reply

    def terminate(self, reply: Reply | None = None) -> None:
        """End now, with `reply` where there is one."""
        if not self.closed:
            if reply is not None:
                self._say(reply)
            self._close()

    def data_to_send(self) -> bytes:
        """Everything to write, once."""
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    # Replies --------------------------------------------------------------------------------------------------------------------

    def _say(self, reply: Reply) -> None:
        self._out.append(replies.encode(reply))

    def _error(self, reply: Reply) -> None:
        """Say `reply`, count it when it is 5yz, and close when there were too many or it is 421 (RFC 5321 section 3.8)."""
        self._say(reply)
        if reply.code == 421:
            self._close()
        elif reply.code >= 500:
            self._errors += 1
            if self._errors >= self.options.errors:
                self._say(replies.TOO_MANY_ERRORS)
                self._close()

    def _close(self) -> None:
        self.closed = True
        self._pending = None
        self._buffer, self._position = b"", 0
        self._forget_transaction()

    def _injected(self) -> None:
        """Octets between STARTTLS and the handshake: somebody in the middle, or a client that does not listen (RFC 3207 section 6)."""
        if not self.closed:
            self._out.clear()  # the 220 must not leave: there will be no handshake
            self._say(replies.TLS_INJECTION)
            self._close()

    # Lines ----------------------------------------------------------------------------------------------------------------------

    def _nothing_to_read(self) -> Event | NeedData:
        if not self._ended:
            return NEED_DATA
        during = self.in_message
        self._close()
        return Aborted(during)

    def _line(self, limit: int) -> bytes | None:
        """The next line without CRLF, or None when it is not whole or was refused. Only CRLF ends a line (RFC 5321 section 2.3.8)."""
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\n", start, start + limit + 2)
        if end < 0:
            if len(buffer) - start >= limit + 2:
                self._mode = _Mode.SKIP
                self._error(replies.TOO_LONG)
            return None
        ending = end - 1 if end > start and buffer[end - 1] == 13 else end
        line = buffer[start:ending]
        if ending == end or b"\r" in line:
            # What follows the bare CR or LF up to the next CRLF is part of the same bad line, never a command of its own.
            self._position = ending
            self._mode = _Mode.SKIP
            self._error(replies.BARE_NEWLINE_COMMAND)
            return None
        self._position = end + 1
        return line

    def _skip(self) -> _Step:
        """Drop octets up to the next CRLF; keep a CR at the end, which may be its first half."""
        end = self._buffer.find(b"\r\n", self._position)
        if end >= 0:
            self._position = end + 2
            self._mode = _Mode.COMMAND
            return None
        self._position = len(self._buffer) - (1 if self._buffer.endswith(b"\r") and self.buffered else 0)
        return self._nothing_to_read()

    def _command(self) -> _Step:
        if self._farewell is not None and self._sender is None:
            self.terminate(self._farewell)
            return NEED_DATA
        if self._position >= len(self._buffer):
            return self._nothing_to_read()
        line = self._line(self.options.command_line)
        if line is None:
            return None if self._mode is _Mode.SKIP else self._nothing_to_read()
        verb, _, argument = line.partition(b" ")
        handler = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        if handler is None:
            self._error(replies.UNKNOWN)
            return None
        return handler(self, argument.rstrip(b" ") if argument else argument)  # RFC 5321 section 4.1.1: trailing white space

    # Session commands -----------------------------------------------------------------------------------------------------------

    def _ehlo(self, argument: bytes) -> _Step:
        return self._greeted(argument, True)

    def _helo(self, argument: bytes) -> _Step:
        return self._greeted(argument, False)

    def _greeted(self, argument: bytes, esmtp: bool) -> _Step:
        hello = grammar.parse_hello(argument)
        if isinstance(hello, Malformed):
            self._error(hello.reply)
            return None
        self._hello = hello.name
        self._forget_transaction()  # RFC 5321 section 4.1.4
        self._out.append(_ehlo_reply(self.options) if esmtp else f"250 {self.options.hostname}\r\n".encode("ascii", "replace"))
        return Hello(hello.name, esmtp)

    def _starttls(self, argument: bytes) -> _Step:
        if argument:
            self._error(replies.NO_ARGUMENT)
        elif self.options.tls_active:
            self._error(replies.TLS_ALREADY)
        elif not self.options.tls_available:
            self._error(replies.NO_TLS)
        elif self.buffered:
            self._injected()
        else:
            self._say(replies.TLS_READY)
            self._mode = _Mode.HANDSHAKE
            return StartTls()
        return None

    def _handshake(self) -> _Step:
        return self._nothing_to_read()

    def _auth(self, argument: bytes) -> _Step:
        command = grammar.parse_auth(argument)
        refusal = self._auth_refusal(command)
        if refusal is not None:
            self._error(refusal)
            return None
        assert isinstance(command, AuthCommand)
        self._mechanism = command.mechanism
        self._exchange = sasl.MECHANISMS[command.mechanism]()
        return self._exchanged(self._exchange.start(command.initial))

    def _auth_refusal(self, command: AuthCommand | Malformed) -> Reply | None:
        """Why AUTH cannot begin (RFC 4954 section 4), or None."""
        if not self._hello:
            return replies.HELLO_FIRST
        if self.authenticated:
            return replies.AUTH_TWICE
        if self._sender is not None:
            return replies.AUTH_DURING_MAIL
        if not self.options.auth_offered:
            return replies.NOT_IMPLEMENTED
        if not self.options.auth_allowed:
            return replies.AUTH_NEEDS_TLS
        if isinstance(command, Malformed):
            return command.reply
        return None if command.mechanism in sasl.MECHANISMS else replies.UNKNOWN_MECHANISM

    def _exchange_line(self) -> _Step:
        if self._position >= len(self._buffer) or self._exchange is None:
            return self._nothing_to_read()
        line = self._line(sasl.MAX_RESPONSE)
        if line is None:
            return None if self._mode is _Mode.SKIP else self._nothing_to_read()
        return self._exchanged(self._exchange.step(line))

    def _exchanged(self, step: sasl.Step) -> _Step:
        self._mode = _Mode.COMMAND
        match step:
            case sasl.Challenge(text):
                self._mode = _Mode.EXCHANGE
                self._out.append(f"334 {text}\r\n".encode("ascii"))
                return None
            case sasl.Credentials():
                self._pending = Auth(self._mechanism, step)
                return self._pending
            case sasl.Rejected(reply):
                self._error(reply)
                return None

    def _rset(self, argument: bytes) -> _Step:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return None
        self._forget_transaction()
        self._say(replies.OK)
        return Reset()

    def _quit(self, argument: bytes) -> _Step:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return None
        self._say(replies.GOODBYE)
        self._close()
        return Quit()

    def _noop(self, _argument: bytes) -> _Step:
        self._say(replies.OK)
        return None

    def _vrfy(self, _argument: bytes) -> _Step:
        self._say(replies.CANNOT_VERIFY)
        return None

    def _help(self, _argument: bytes) -> _Step:
        self._say(replies.HELP)
        return None

    def _not_implemented(self, _argument: bytes) -> _Step:
        self._error(replies.NOT_IMPLEMENTED)
        return None

    # The envelope ---------------------------------------------------------------------------------------------------------------

    def _mail(self, argument: bytes) -> _Step:
        if not self._hello or self._sender is not None:
            self._error(replies.MAIL_TWICE if self._hello else replies.HELLO_FIRST)
            return None
        if self._messages >= self.options.messages:
            self._error(replies.TOO_MANY_MESSAGES)
            return None
        command = grammar.parse_mail(argument)
        if isinstance(command, Malformed):
            self._error(command.reply)
            return None
        if command.size > self.options.message_size:  # RFC 1870 section 6.1
            self._error(replies.TOO_LARGE)
            return None
        self._pending = Mail(command)
        return self._pending

    def _rcpt(self, argument: bytes) -> _Step:
        if self._sender is None or self._chunked:
            self._error(replies.IN_CHUNKS if self._chunked else replies.MAIL_FIRST)
            return None
        self._recipients_tried += 1
        if self._recipients >= self.options.recipients:
            self._error(replies.TOO_MANY_RECIPIENTS)
            return None
        address = grammar.parse_recipient(argument, smtputf8=self._sender.smtputf8)
        if isinstance(address, Malformed):
            self._error(address.reply)
            return None
        self._pending = Recipient(address)
        return self._pending

    def _content_refusal(self) -> Reply | None:
        """Why the message cannot come now, or None."""
        if self._sender is None:
            return replies.MAIL_FIRST
        if self._recipients:
            return None
        return replies.NO_VALID_RECIPIENT if self._recipients_tried else replies.RECIPIENT_FIRST

    # The message: DATA and BDAT -------------------------------------------------------------------------------------------------

    def _data(self, argument: bytes) -> _Step:
        refusal = replies.NO_ARGUMENT if argument else replies.IN_CHUNKS if self._chunked else self._content_refusal()
        if refusal is not None:
            self._error(refusal)
            return None
        self._say(replies.GO_AHEAD)
        self._mode = _Mode.CONTENT
        self._reception = Reception(self.options.message_size)
        self._position -= 2  # the CRLF of this line belongs to the search for the end
        return None

    def _content(self) -> _Step:
        self._position = self._reception.scan(self._buffer, self._position)
        if not self._reception.complete:
            return self._nothing_to_read()
        return self._content_complete()

    def _content_complete(self) -> _Step:
        """The whole message is here: give it to the door, or refuse it."""
        self._mode = _Mode.COMMAND
        content = self._reception.finish(self.options.bare_newline)
        if isinstance(content, Reply):
            return self._content_refused(content)
        self._pending = Content(content)
        return self._pending

    def _content_refused(self, reply: Reply) -> _Step:
        self._forget_transaction()
        self._error(reply)
        return Reset()

    def _bdat(self, argument: bytes) -> _Step:
        chunk = grammar.parse_chunk(argument)
        if isinstance(chunk, Malformed):
            self._say(chunk.reply)
            self.terminate(replies.LOST_COUNT)  # how many octets follow is unknown, and they are no commands
            return None
        self._chunk_left, self._chunk_last = chunk.size, chunk.last
        if not self._chunked:
            self._reception = Reception(self.options.message_size)
        refusal = self._content_refusal()
        if refusal is None and self._reception.refusal is not None:
            refusal = replies.CHUNK_AFTER_REFUSAL
        elif refusal is None and not self._reception.fits(chunk.size):
            refusal = replies.TOO_LARGE
        if refusal is not None:
            self._reception.refuse(refusal)
        self._chunked = self._sender is not None
        self._mode = _Mode.CHUNK
        return None

    def _chunk(self) -> _Step:
        """Take what is here of the chunk; it is consumed whether it is wanted or not (RFC 3030 section 2)."""
        take = min(self._chunk_left, self.buffered)
        if take:
            piece = self._buffer[self._position : self._position + take]
            self._position += take
            self._chunk_left -= take
            self._reception.take(piece)
        if self._chunk_left:
            return self._nothing_to_read()
        if self._chunk_last:
            return self._content_complete()
        self._mode = _Mode.COMMAND
        refusal = self._reception.refusal
        if refusal is None:
            self._say(replies.CHUNK_OK)
        elif self._sender is None:
            return self._content_refused(refusal)
        else:
            self._error(refusal)
        return None


_STEPS: tuple[Callable[[ServerConnection], _Step], ...] = (
    ServerConnection._command,
    ServerConnection._content,
    ServerConnection._chunk,
    ServerConnection._exchange_line,
    ServerConnection._skip,
    ServerConnection._handshake,
)
"""By _Mode."""

_COMMANDS: dict[bytes, Callable[[ServerConnection, bytes], _Step]] = {
    b"MAIL": ServerConnection._mail,
    b"RCPT": ServerConnection._rcpt,
    b"DATA": ServerConnection._data,
    b"BDAT": ServerConnection._bdat,
    b"EHLO": ServerConnection._ehlo,
    b"HELO": ServerConnection._helo,
    b"RSET": ServerConnection._rset,
    b"NOOP": ServerConnection._noop,
    b"QUIT": ServerConnection._quit,
    b"AUTH": ServerConnection._auth,
    b"STARTTLS": ServerConnection._starttls,
    b"VRFY": ServerConnection._vrfy,
    b"HELP": ServerConnection._help,
    b"EXPN": ServerConnection._not_implemented,
    b"ETRN": ServerConnection._not_implemented,
    b"TURN": ServerConnection._not_implemented,
}


@functools.lru_cache(maxsize=256)
def _ehlo_reply(options: ServerOptions) -> bytes:
    """The answer to EHLO: the extensions that hold now (RFC 5321 section 4.1.1.1)."""
    lines = [options.hostname, "PIPELINING", f"SIZE {options.message_size}", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES"]
    if options.tls_available and not options.tls_active:
        lines.append("STARTTLS")
    if options.auth_offered and options.auth_allowed:
        lines.append("AUTH " + " ".join(sasl.MECHANISMS))
    last = len(lines) - 1
    return "".join(f"250{' ' if n == last else '-'}{line}\r\n" for n, line in enumerate(lines)).encode("ascii", "replace")
