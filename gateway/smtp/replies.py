"""Every reply our server gives by itself, in one table, and how a reply becomes bytes (RFC 5321 section 4.2, RFC 2034).

Promises: what leaves is CRLF lines of printable ASCII, at most 512 octets each (RFC 5321 section 4.5.3.1.5), whatever text went in; the
enhanced code stands on every line where there is one. Encoding a reply that was given before costs one look into a bounded cache.

It does not choose replies: the server and the doors do.
"""

import functools

from mail.reply import Reply

MAX_TEXT = 450
"""Characters of one line's text."""
MAX_LINES = 50

OK = Reply(250, "ok", "2.0.0")
SENDER_OK = Reply(250, "sender ok", "2.1.0")
RECIPIENT_OK = Reply(250, "recipient ok", "2.1.5")
CHUNK_OK = Reply(250, "chunk received", "2.0.0")
QUEUED = Reply(250, "queued", "2.0.0")
GO_AHEAD = Reply(354, "end with a dot on a line of its own")
TLS_READY = Reply(220, "ready for TLS", "2.0.0")
AUTHENTICATED = Reply(235, "authenticated", "2.7.0")
GOODBYE = Reply(221, "goodbye", "2.0.0")
CANNOT_VERIFY = Reply(252, "cannot verify; send and see", "2.5.0")  # RFC 5321 section 3.5.3
HELP = Reply(214, "RFC 5321", "2.0.0")

UNKNOWN = Reply(500, "command not recognised", "5.5.2")
TOO_LONG = Reply(500, "line too long", "5.5.2")  # RFC 5321 section 4.3.2, RFC 3463 section 3.6
BARE_NEWLINE_COMMAND = Reply(500, "command lines end with CR LF", "5.5.2")
NO_ARGUMENT = Reply(501, "no argument expected", "5.5.4")
NOT_IMPLEMENTED = Reply(502, "command not implemented", "5.5.1")
HELLO_FIRST = Reply(503, "say EHLO first", "5.5.1")
MAIL_FIRST = Reply(503, "MAIL first", "5.5.1")
RECIPIENT_FIRST = Reply(503, "RCPT first", "5.5.1")
MAIL_TWICE = Reply(503, "a message is already begun", "5.5.1")
IN_CHUNKS = Reply(503, "the message is being sent by BDAT", "5.5.1")
NO_VALID_RECIPIENT = Reply(554, "no valid recipient", "5.5.1")  # RFC 2920 section 3.1
CHUNK_AFTER_REFUSAL = Reply(503, "an earlier chunk was refused", "5.5.1")  # RFC 3030 section 2
NO_TLS = Reply(502, "TLS is not available", "5.5.1")
TLS_ALREADY = Reply(503, "TLS is already active", "5.5.1")
TLS_INJECTION = Reply(554, "data after STARTTLS and before the handshake", "5.5.0")
AUTH_NEEDS_TLS = Reply(538, "encryption is needed to log in", "5.7.11")  # RFC 4954 section 6
AUTH_TWICE = Reply(503, "already logged in", "5.5.1")
AUTH_DURING_MAIL = Reply(503, "not during a message", "5.5.1")
UNKNOWN_MECHANISM = Reply(504, "unknown authentication mechanism", "5.5.4")
AUTH_CANCELLED = Reply(501, "authentication cancelled", "5.7.0")
AUTH_MALFORMED = Reply(501, "cannot decode the response", "5.5.2")
AUTH_TOO_LONG = Reply(500, "response too long", "5.5.6")  # RFC 4954 section 6
TOO_MANY_RECIPIENTS = Reply(452, "too many recipients", "4.5.3")
TOO_LARGE = Reply(552, "message too large", "5.3.4")
BARE_NEWLINE = Reply(550, "a bare CR or LF in the message; lines end with CR LF", "5.6.0")
LOST_COUNT = Reply(421, "cannot tell where the chunk ends", "4.5.4")
TOO_MANY_ERRORS = Reply(421, "too many errors", "4.7.0")
TOO_MANY_COMMANDS = Reply(421, "too many commands without a message", "4.7.0")
TOO_MANY_MESSAGES = Reply(421, "too many messages in one connection", "4.7.0")
FOREIGN = Reply(421, "this is a mail server", "4.7.0")
UNEXPECTED_PROXY = Reply(421, "no PROXY header is expected from this address", "4.7.0")
TIMED_OUT = Reply(421, "timed out", "4.4.2")
TOO_SLOW = Reply(421, "message too slow", "4.4.2")
SESSION_TOO_LONG = Reply(421, "connection open for too long", "4.4.2")
SHUTTING_DOWN = Reply(421, "shutting down", "4.3.2")
TOO_MANY_CONNECTIONS = Reply(421, "too many connections", "4.7.0")
NO_MEMORY = Reply(452, "too much mail at once; try again", "4.3.1")
TROUBLE = Reply(451, "local trouble; try again", "4.3.0")

FIXED: dict[bytes, Reply] = {
    b"NOOP": OK,
    b"VRFY": CANNOT_VERIFY,
    b"HELP": HELP,
    **dict.fromkeys((b"EXPN", b"ETRN", b"TURN"), NOT_IMPLEMENTED),
    **dict.fromkeys((b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT"), FOREIGN),
    **dict.fromkeys((b"PROXY", b"\0"), UNEXPECTED_PROXY),
}
"""Commands that always get the same reply. PROXY, or the third line of a binary header, is a balancer that no `proxy_networks` names:
everybody behind it would be taken for it. The verbs of HTTP end the connection: a web page that makes a browser of a trusted network send
its form here must not get as far as the body, which would be SMTP."""


@functools.lru_cache(maxsize=1024)
def encode(reply: Reply) -> bytes:
    """`reply` as it goes on the wire, remembered: for replies that are given again and again."""
    return encode_once(reply)


def encode_once(reply: Reply) -> bytes:
    """`reply` as it goes on the wire. Lines that are not printable ASCII lose what is not; too many or too long ones are cut."""
    if len(reply.text) <= MAX_TEXT and reply.text.isascii() and reply.text.isprintable():
        return (
            f"{reply.code} {reply.enhanced} {reply.text}\r\n".encode("ascii")
            if reply.enhanced
            else f"{reply.code} {reply.text}\r\n".encode()
        )
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    lines = [_printable(line) for line in reply.text.split("\n")[:MAX_LINES]]
    last = len(lines) - 1
    return "".join(f"{reply.code}{' ' if n == last else '-'}{prefix}{line}\r\n" for n, line in enumerate(lines)).encode("ascii")


def _printable(line: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in line[:MAX_TEXT])
