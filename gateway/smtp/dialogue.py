"""Lines in, replies out: what every dialogue of our server needs before it knows a command.

Promises: a line ends with CRLF and with nothing else (RFC 5321 section 2.3.8); a line that is too long or holds a bare CR or LF is answered
once and skipped to its CRLF, and nothing inside it is ever a command; refusals are counted and too many close; what is kept of the peer is
one line. Replies gather until the caller takes them.

Of commands it knows STARTTLS alone, of transactions and messages nothing: `gateway.smtp.server` builds on it.
"""

import enum
import functools
from collections.abc import Callable

from gateway.smtp import replies, sasl
from gateway.smtp.events import NEED_DATA, Aborted, Event, NeedData, Question, ServerOptions, StartTls
from mail.reply import Reply


class Mode(enum.IntEnum):
    """What the next octets are."""

    COMMAND = 0
    CONTENT = 1
    CHUNK = 2
    EXCHANGE = 3
    SKIP = 4
    HANDSHAKE = 5


Step = Event | NeedData | None
"""What one step gives: an event, NEED_DATA, or None to take another step."""


class Dialogue:
    """`closed`: write what `data_to_send` still gives, then close; nothing more is read."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.closed = False
        self._buffer = b""
        self._position = 0
        self._out: list[bytes] = []
        self._mode = Mode.COMMAND
        self._pending: Question | None = None
        self._ended = False
        self._errors = self._idle_commands = 0
        self._protocol_refusals: list[Reply] = []

    @property
    def in_message(self) -> bool:
        """Octets of a message are arriving (not: an envelope)."""
        return self._mode is Mode.CONTENT or self._mode is Mode.CHUNK

    @property
    def buffered(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._buffer) - self._position

    def greet(self) -> None:
        """Say 220 (RFC 5321 section 4.3.1)."""
        self._out.append(f"220 {self.options.hostname} ESMTP\r\n".encode("ascii", "replace"))

    def receive(self, data: bytes) -> None:
        """Take octets from the peer; `b""` says that it will send no more."""
        if not data:
            self._ended = True
        elif self._mode is Mode.HANDSHAKE:
            if self._out:
                self._out.pop()  # the 220, if it has not left: there will be no handshake
            self._injected()
        elif not self.closed:
            if self._position < len(self._buffer):
                self._buffer = self._buffer[self._position :] + data
            else:
                self._buffer = data
            self._position = 0

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

    def take_refusals(self) -> list[Reply]:
        """Refusals that were given without asking the door, each once: for metrics and log."""
        if not self._protocol_refusals:
            return []
        taken, self._protocol_refusals = self._protocol_refusals, []
        return list(dict.fromkeys(taken))

    def _forget_transaction(self) -> None:
        """What a dialogue knows of a transaction, it drops here."""

    # Replies --------------------------------------------------------------------------------------------------------------------

    def _say(self, reply: Reply) -> None:
        self._out.append(replies.encode(reply))

    def _error(self, reply: Reply) -> None:
        """Refuse by ourselves: the door did not see it, so it is noted for `take_refusals`."""
        self._protocol_refusals.append(reply)
        self._refuse(reply)

    def _refuse(self, reply: Reply) -> None:
        """Say `reply`, count it when it is 5yz, and close when there were too many or it is 421 (RFC 5321 section 3.8)."""
        self._say(reply)
        if reply.code == 421:
            self._close()
        elif reply.code >= 500:
            self._errors += 1
            if self._errors >= self.options.errors:
                self._protocol_refusals.append(replies.TOO_MANY_ERRORS)
                self._say(replies.TOO_MANY_ERRORS)
                self._close()

    def _idle(self) -> None:
        """A command was answered that carries no mail forward: too many of them in a row would keep the gateway from others."""
        self._idle_commands += 1
        if self._idle_commands > self.options.idle_commands:
            self._error(replies.TOO_MANY_COMMANDS)

    def _close(self) -> None:
        self.closed = True
        self._pending = None
        self._buffer, self._position = b"", 0
        self._forget_transaction()

    # TLS ------------------------------------------------------------------------------------------------------------------------

    def _starttls(self, argument: bytes) -> Step:
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
            self._mode = Mode.HANDSHAKE
            return StartTls()
        return None

    def _handshake(self) -> Step:
        return self._nothing_to_read()

    def _injected(self) -> None:
        """Octets between STARTTLS and the handshake: somebody in the middle, or a client that does not listen (RFC 3207 section 6)."""
        if not self.closed:
            self._say(replies.TLS_INJECTION)
            self._close()

    # Lines ----------------------------------------------------------------------------------------------------------------------

    def _nothing_to_read(self) -> Event | NeedData:
        if self._position >= len(self._buffer):
            self._buffer, self._position = b"", 0  # a client that idles keeps nothing of what it sent
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
                self._mode = Mode.SKIP
                self._error(replies.TOO_LONG)
            return None
        ending = end - 1 if end > start and buffer[end - 1] == 13 else end
        line = buffer[start:ending]
        if ending == end or b"\r" in line:
            # What follows the bare CR or LF up to the next CRLF is part of the same bad line, never a command of its own.
            self._position = ending
            self._mode = Mode.SKIP
            self._error(replies.BARE_NEWLINE_COMMAND)
            return None
        self._position = end + 1
        return line

    def _skip(self) -> Step:
        """Drop octets up to the next CRLF; keep a CR at the end, which may be its first half."""
        end = self._buffer.find(b"\r\n", self._position)
        if end >= 0:
            self._position = end + 2
            self._mode = Mode.COMMAND
            return None
        self._position = len(self._buffer) - (1 if self._buffer.endswith(b"\r") and self.buffered else 0)
        return self._nothing_to_read()


_EXTENSIONS: tuple[Callable[[ServerOptions], str], ...] = (
    lambda options: "PIPELINING",
    lambda options: f"SIZE {options.message_size}",
    lambda options: "8BITMIME",
    lambda options: "SMTPUTF8",
    lambda options: "CHUNKING",
    lambda options: "DSN",
    lambda options: "ENHANCEDSTATUSCODES",
    lambda options: f"LIMITS {options.limits}" if options.limits else "",  # RFC 9422 section 3
    lambda options: "STARTTLS" if options.tls_available and not options.tls_active else "",
    lambda options: "REQUIRETLS" if options.tls_active else "",  # RFC 8689 section 2
    lambda options: f"AUTH {' '.join(sasl.MECHANISMS)}" if options.auth_offered and options.auth_allowed else "",
)
"""The lines of EHLO's answer, one function each; "" where an extension does not hold now."""


@functools.lru_cache(maxsize=256)
def ehlo_reply(options: ServerOptions) -> bytes:
    """The answer to EHLO: the extensions that hold now (RFC 5321 section 4.1.1.1)."""
    lines = [options.hostname, *filter(None, (extension(options) for extension in _EXTENSIONS))]
    last = len(lines) - 1
    return "".join(f"250{' ' if n == last else '-'}{line}\r\n" for n, line in enumerate(lines)).encode("ascii", "replace")
