"""What stands between the glue of a connection and a door: the visitor who decides, the memory all share, and words for the log.

Values and interfaces only; `gateway.doors.connection` drives them, `gateway.doors.submission` is one door that implements them.
"""

from typing import Protocol

from gateway.smtp import replies
from gateway.smtp.events import Auth, Content, Event, Mail, Question, Recipient, ServerOptions
from mail.reply import Reply


class Visitor(Protocol):
    """What a door decides about one client."""

    @property
    def account_name(self) -> str:
        """For the log; "" before there is one."""

    def options(self, tls_active: bool) -> ServerOptions:
        """What the connection offers now."""

    def tell(self, event: Event) -> None:
        """An event that wants no answer."""

    def answer(self, event: Question) -> Reply | None:
        """The answer at once, or None: `decide` will give it."""

    async def decide(self, event: Question) -> Reply:
        """The answer, in time."""

    def gone(self) -> None:
        """The connection has ended and owes no answer."""


class Budget:
    """Octets of messages in reception, over all connections of a door."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


REASONS = {
    replies.TOO_LARGE: "size",
    replies.BARE_NEWLINE: "bare-newline",
    replies.TOO_MANY_RECIPIENTS: "recipients",
    replies.TOO_MANY_MESSAGES: "messages",
    replies.TOO_MANY_ERRORS: "errors",
    replies.TOO_MANY_COMMANDS: "commands",
    replies.NO_MEMORY: "memory",
    replies.FOREIGN: "foreign",
    replies.UNEXPECTED_PROXY: "proxy-unexpected",
}
"""What metrics call the refusals that the protocol gives by itself; "protocol" is the rest."""


def command_of(question: Question) -> str:
    """The word for `question` in the log."""
    match question:
        case Mail():
            return "MAIL"
        case Recipient():
            return "RCPT"
        case Content():
            return "DATA"
        case Auth():
            return "AUTH"
