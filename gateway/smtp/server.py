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

from collections.abc import Callable

from gateway.smtp import grammar, replies, sasl
from gateway.smtp.dialogue import Dialogue, Mode, Step, ehlo_reply
from gateway.smtp.events import (
    NEED_DATA,
    Auth,
    Content,
    Event,
    Hello,
    Mail,
    NeedData,
    Quit,
    Recipient,
    Reset,
    ServerOptions,
)
from gateway.smtp.grammar import AuthCommand, MailCommand, Malformed
from gateway.smtp.reception import Reception
from mail.address import Address
from mail.reply import Reply

_NO_MESSAGE = Reception(0)  # stands where no message is arriving; nothing is ever put into it


class ServerConnection(Dialogue):
    """See the module, and `gateway.smtp.dialogue` for `receive`, `data_to_send`, `terminate` and `closed`."""

    def __init__(self, options: ServerOptions) -> None:
        super().__init__(options)
        self.authenticated = False
        self._farewell: Reply | None = None
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
    def held(self) -> int:
        """Octets kept of a message that is arriving."""
        return self._reception.held

    @property
    def received(self) -> int:
        """Octets of the message that is arriving, kept or not."""
        return self._reception.size

    @property
    def in_transaction(self) -> bool:
        """Between an accepted MAIL and the answer to the message."""
        return self._sender is not None

    # What the caller may do -----------------------------------------------------------------------------------------------------

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
                self._errors = self._idle_commands = 0
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
        self._refuse(reply)

    def refuse_content(self, reply: Reply) -> None:
        """The message that is arriving is not wanted: its octets are dropped, and `reply` given at its end."""
        if self.in_message and self._reception.refusal is None:
            self._reception.refuse(reply)

    def tls_started(self, options: ServerOptions) -> None:
        """The handshake is done: everything said before is forgotten (RFC 3207 section 4.2)."""
        self.options = options
        if self._mode is Mode.HANDSHAKE:
            self._mode = Mode.COMMAND
        self._hello = ""
        self.authenticated = False
        self._forget_transaction()

    def finish(self, reply: Reply) -> None:
        """End with `reply` (421) as soon as no message is under way; take another `next_event` after this."""
        self._farewell = reply

    def _command(self) -> Step:
        if self._farewell is not None and self._sender is None:
            self.terminate(self._farewell)
            return NEED_DATA
        if self._position >= len(self._buffer):
            return self._nothing_to_read()
        line = self._line(self.options.command_line)
        if line is None:
            return None if self._mode is Mode.SKIP else self._nothing_to_read()
        verb, _, argument = line.partition(b" ")
        handler = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        if handler is None:
            reply = replies.FIXED.get(verb.upper(), replies.UNKNOWN)
            if reply.positive:
                self._say(reply)
                self._idle()
            else:
                self._error(reply)
            return None
        return handler(self, argument.rstrip(b" ") if argument else argument)  # RFC 5321 section 4.1.1: trailing white space

    # Session commands -----------------------------------------------------------------------------------------------------------

    def _ehlo(self, argument: bytes) -> Step:
        return self._greeted(argument, True)

    def _helo(self, argument: bytes) -> Step:
        return self._greeted(argument, False)

    def _greeted(self, argument: bytes, esmtp: bool) -> Step:
        hello = grammar.parse_hello(argument)
        if isinstance(hello, Malformed):
            self._error(hello.reply)
            return None
        self._hello = hello.name
        self._forget_transaction()  # RFC 5321 section 4.1.4
        self._out.append(ehlo_reply(self.options) if esmtp else f"250 {self.options.hostname}\r\n".encode("ascii", "replace"))
        self._idle()
        return Hello(hello.name, esmtp)

    def _auth(self, argument: bytes) -> Step:
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

    def _exchange_line(self) -> Step:
        if self._position >= len(self._buffer) or self._exchange is None:
            return self._nothing_to_read()
        line = self._line(sasl.MAX_RESPONSE)
        if line is None:
            return None if self._mode is Mode.SKIP else self._nothing_to_read()
        return self._exchanged(self._exchange.step(line))

    def _exchanged(self, step: sasl.Step) -> Step:
        self._mode = Mode.COMMAND
        match step:
            case sasl.Challenge(text):
                self._mode = Mode.EXCHANGE
                self._out.append(f"334 {text}\r\n".encode("ascii"))
                return None
            case sasl.Credentials():
                self._pending = Auth(self._mechanism, step)
                return self._pending
            case sasl.Rejected(reply):
                self._error(reply)
                return None

    def _rset(self, argument: bytes) -> Step:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return None
        self._forget_transaction()
        self._say(replies.OK)
        self._idle()
        return Reset()

    def _quit(self, argument: bytes) -> Step:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return None
        self._say(replies.GOODBYE)
        self._close()
        return Quit()

    # The envelope ---------------------------------------------------------------------------------------------------------------

    def _mail(self, argument: bytes) -> Step:
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
        if command.requiretls and not self.options.tls_active:  # RFC 8689 section 4.1: it is offered under TLS only
            self._error(grammar.UNKNOWN_PARAMETER.reply)
            return None
        if command.size > self.options.message_size:  # RFC 1870 section 6.1
            self._error(replies.TOO_LARGE)
            return None
        self._pending = Mail(command)
        return self._pending

    def _rcpt(self, argument: bytes) -> Step:
        if self._sender is None or self._chunked:
            self._error(replies.IN_CHUNKS if self._chunked else replies.MAIL_FIRST)
            return None
        self._recipients_tried += 1
        if self._recipients >= self.options.recipients:
            self._error(replies.TOO_MANY_RECIPIENTS)
            return None
        named = grammar.parse_recipient(argument, smtputf8=self._sender.smtputf8)
        if isinstance(named, Malformed):
            self._error(named.reply)
            return None
        self._pending = Recipient(named) if isinstance(named, Address) else Recipient(named.address, named.notify, named.orcpt)
        return self._pending

    def _content_refusal(self) -> Reply | None:
        """Why the message cannot come now, or None."""
        if self._sender is None:
            return replies.MAIL_FIRST
        if self._recipients:
            return None
        return replies.NO_VALID_RECIPIENT if self._recipients_tried else replies.RECIPIENT_FIRST

    # The message: DATA and BDAT -------------------------------------------------------------------------------------------------

    def _data(self, argument: bytes) -> Step:
        refusal = replies.NO_ARGUMENT if argument else replies.IN_CHUNKS if self._chunked else self._content_refusal()
        if refusal is not None:
            self._error(refusal)
            return None
        self._say(replies.GO_AHEAD)
        self._mode = Mode.CONTENT
        self._reception = Reception(self.options.message_size)
        self._position -= 2  # the CRLF of this line belongs to the search for the end
        return None

    def _content(self) -> Step:
        self._position = self._reception.scan(self._buffer, self._position)
        if not self._reception.complete:
            return self._nothing_to_read()
        return self._content_complete()

    def _content_complete(self) -> Step:
        """The whole message is here: give it to the door, or refuse it."""
        self._mode = Mode.COMMAND
        content = self._reception.finish(self.options.bare_newline)
        if isinstance(content, Reply):
            return self._content_refused(content)
        self._pending = Content(content)
        return self._pending

    def _content_refused(self, reply: Reply) -> Step:
        self._forget_transaction()
        self._error(reply)
        return Reset()

    def _bdat(self, argument: bytes) -> Step:
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
        self._mode = Mode.CHUNK
        return None

    def _chunk(self) -> Step:
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
        self._mode = Mode.COMMAND
        refusal = self._reception.refusal
        if refusal is None:
            self._say(replies.CHUNK_OK)
        elif self._sender is None:
            return self._content_refused(refusal)
        else:
            self._error(refusal)
        return None


_STEPS: tuple[Callable[[ServerConnection], Step], ...] = (
    ServerConnection._command,
    ServerConnection._content,
    ServerConnection._chunk,
    ServerConnection._exchange_line,
    ServerConnection._skip,
    ServerConnection._handshake,
)
"""By Mode."""

_COMMANDS: dict[bytes, Callable[[ServerConnection, bytes], Step]] = {
    b"MAIL": ServerConnection._mail,
    b"RCPT": ServerConnection._rcpt,
    b"DATA": ServerConnection._data,
    b"BDAT": ServerConnection._bdat,
    b"EHLO": ServerConnection._ehlo,
    b"HELO": ServerConnection._helo,
    b"RSET": ServerConnection._rset,
    b"QUIT": ServerConnection._quit,
    b"AUTH": ServerConnection._auth,
    b"STARTTLS": ServerConnection._starttls,
}
