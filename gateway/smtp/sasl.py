"""AUTH exchanges with no I/O: PLAIN (RFC 4616) and LOGIN (which has no RFC, only clients).

An exchange is an object: `step(response)` takes one decoded-to-be line of the client and returns a challenge to send, the credentials, or
a refusal. Promises: bounded input (RFC 4954 section 4: 12,288 octets), strict base64, cancellation by `*`, at most two steps, never an
exception. It does not check a password, and its values print without it.
"""

import binascii
from collections.abc import Callable

import msgspec

from gateway.smtp import replies
from mail.reply import Reply

MAX_RESPONSE = 12_288  # RFC 4954 section 4
MAX_NAME = 255
MAX_PASSWORD = 1024


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """Who the client says it is. `authorization` is the identity it wants to act as, "" for its own."""

    authorization: str
    name: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(name={self.name!r})"


class Challenge(msgspec.Struct, frozen=True, gc=False):
    """Send 334 with this text (already base64) and wait for a line."""

    text: str


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """The exchange is over."""

    reply: Reply


Step = Challenge | Credentials | Rejected


class Plain:
    """RFC 4616: one response, `authorization NUL name NUL password`, in the AUTH command or after an empty challenge."""

    def start(self, initial: bytes | None) -> Step:
        """The first step; `initial` is the response of the AUTH command, in base64, or None."""
        return Challenge("") if initial is None else self.step(initial)

    def step(self, response: bytes) -> Step:
        """The client's answer to the challenge."""
        text = _decode(response)
        if isinstance(text, Rejected):
            return text
        parts = text.split("\0")
        return _credentials(*parts) if len(parts) == 3 else Rejected(replies.AUTH_MALFORMED)


class Login:
    """LOGIN: name, then password, each after a challenge. The name may come with the AUTH command."""

    def __init__(self) -> None:
        self._name: str | None = None

    def start(self, initial: bytes | None) -> Step:
        """The first step; `initial` is the name in base64, or None."""
        return Challenge("VXNlcm5hbWU6") if initial is None else self.step(initial)  # "Username:"

    def step(self, response: bytes) -> Step:
        """The client's answer to the challenge."""
        text = _decode(response)
        if isinstance(text, Rejected):
            return text
        if self._name is None:
            self._name = text
            return Challenge("UGFzc3dvcmQ6")  # "Password:"
        return _credentials("", self._name, text)


Exchange = Plain | Login
MECHANISMS: dict[str, Callable[[], Exchange]] = {"PLAIN": Plain, "LOGIN": Login}
"""What EHLO announces, and how an exchange begins."""


def _decode(response: bytes) -> str | Rejected:
    if response == b"*":  # RFC 4954 section 4: the client gives up
        return Rejected(replies.AUTH_CANCELLED)
    if len(response) > MAX_RESPONSE:
        return Rejected(replies.AUTH_TOO_LONG)
    try:
        return binascii.a2b_base64(response, strict_mode=True).decode("utf-8") if response else ""
    except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
        return Rejected(replies.AUTH_MALFORMED)


def _credentials(authorization: str, name: str, password: str) -> Credentials | Rejected:
    wrong = not name or not password or "\0" in name + password or len(name) > MAX_NAME or len(password) > MAX_PASSWORD
    return Rejected(replies.AUTH_MALFORMED) if wrong or len(authorization) > MAX_NAME else Credentials(authorization, name, password)
