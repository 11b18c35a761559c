"""The grammar of SMTP commands: bytes of one line in, a typed command or a refusal out (RFC 5321 sections 4.1.1 and 4.1.2).

Promises: any bytes in, never an exception; time linear in the line; a path that comes out holds no control character and no white space
outside a quoted local part, so it can be written on the wire again as it is. The usual form (`FROM:<local@domain>` in plain ASCII) is
one match of one expression; everything else takes the scanner below it.

Departures, each for a real client: spaces after `FROM:` and `TO:` are skipped (old libraries write them), dots may stand anywhere in a
local part (`a..b@` exists at a large Japanese operator), and any name without odd characters passes as an EHLO argument (machines are
called what their owners call them). A path without angle brackets is refused: where it ends and a parameter begins would be a guess.

It does not know the state of the dialogue, nor limits that are settings: size and extensions on offer are the server's.
"""

import re

import msgspec

from gateway.smtp import dsn
from gateway.smtp.dsn import RecipientCommand
from mail.address import MAX_DOMAIN, NULL_SENDER, Address, address_of, normalise_domain
from mail.reply import Reply

MAX_PARAMETERS = 16
MAX_SIZE_DIGITS = 20  # RFC 1870 section 3: size-value = 1*20DIGIT
MAX_CHUNK = 1 << 40
"""Largest BDAT chunk that is understood, octets; nobody means more."""


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """The command is refused with `reply`."""

    reply: Reply


class MailCommand(msgspec.Struct, frozen=True, gc=False):
    """MAIL: the reverse path and what its parameters declare. `size` is 0 when not declared (RFC 1870)."""

    sender: Address
    size: int = 0
    eight_bit: bool = False
    """BODY=8BITMIME (RFC 6152)."""
    smtputf8: bool = False
    """SMTPUTF8 (RFC 6531)."""
    ret: str = ""
    """RET (RFC 3461 section 4.3): FULL, HDRS or ""."""
    envid: str = ""
    """ENVID (RFC 3461 section 4.4), in xtext."""
    requiretls: bool = False
    """REQUIRETLS (RFC 8689)."""


class HelloCommand(msgspec.Struct, frozen=True, gc=False):
    """EHLO or HELO: the name the client gives itself."""

    name: str


class AuthCommand(msgspec.Struct, frozen=True, gc=False):
    """AUTH (RFC 4954 section 4): mechanism in upper case, initial response in base64 or None when there is none."""

    mechanism: str
    initial: bytes | None


class ChunkCommand(msgspec.Struct, frozen=True, gc=False):
    """BDAT (RFC 3030 section 2): octets that follow the line, and whether they are the last."""

    size: int
    last: bool


NO_PATH = Malformed(Reply(501, "the path must be in angle brackets", "5.5.2"))
BAD_SENDER = Malformed(Reply(501, "bad sender address syntax", "5.1.7"))
BAD_RECIPIENT = Malformed(Reply(501, "bad recipient address syntax", "5.1.3"))
NULL_RECIPIENT = Malformed(Reply(501, "the recipient may not be empty", "5.1.3"))
NOT_ASCII = Malformed(Reply(553, "a non-ASCII address needs the SMTPUTF8 parameter", "5.6.7"))  # RFC 6531 section 3.5
BAD_PARAMETER = Malformed(Reply(501, "bad parameter syntax", "5.5.4"))
BAD_SIZE = Malformed(Reply(501, "SIZE is a number of octets", "5.5.4"))
BAD_RET = Malformed(Reply(501, "RET is FULL or HDRS", "5.5.4"))
BAD_ENVID = Malformed(Reply(501, "ENVID is up to 100 characters of xtext", "5.5.4"))
BAD_NOTIFY = Malformed(Reply(501, "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY", "5.5.4"))
BAD_ORCPT = Malformed(Reply(501, "ORCPT is an address type, a semicolon and an encoded address", "5.5.4"))
BAD_BODY = Malformed(Reply(501, "BODY is 7BIT or 8BITMIME", "5.5.4"))
UNKNOWN_PARAMETER = Malformed(Reply(555, "parameter not recognised", "5.5.4"))  # RFC 5321 section 4.1.1.11
BAD_NAME = Malformed(Reply(501, "EHLO takes a host name or an address literal", "5.5.4"))
BAD_AUTH = Malformed(Reply(501, "AUTH takes a mechanism and at most one response", "5.5.4"))
BAD_CHUNK = Malformed(Reply(501, "BDAT takes a size and LAST", "5.5.4"))

_LOCAL = rb"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABELS = rb"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?"
_USUAL_FROM = re.compile(rb"FROM:<(" + _LOCAL + rb"@(" + _LABELS + rb"))>(?: (.*))?", re.IGNORECASE | re.DOTALL)
_USUAL_TO = re.compile(rb"TO:<(" + _LOCAL + rb"@(" + _LABELS + rb"))>(?: (.*))?", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")  # RFC 5321 section 4.1.2, esmtp-param
_HOST = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")  # RFC 4422 section 3.1
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ROUTE = re.compile(r"@[^\s@:,<>]+(?:,@[^\s@:,<>]+)*:")  # RFC 5321 section 4.1.2, A-d-l


def parse_hello(argument: bytes) -> HelloCommand | Malformed:
    """The argument of EHLO or HELO (RFC 5321 section 4.1.1.1). The name is safe to write into a Received field."""
    if _HOST.fullmatch(argument) is None:
        return BAD_NAME
    return HelloCommand(argument.decode("ascii"))


def parse_mail(argument: bytes) -> MailCommand | Malformed:
    """The argument of MAIL (RFC 5321 section 4.1.1.2), `FROM:` included."""
    usual = _USUAL_FROM.fullmatch(argument)
    if usual is not None:
        sender = _plain_address(usual.group(1), usual.group(2))
        if sender is None:
            return BAD_SENDER
        tail = usual.group(3)
        return MailCommand(sender) if tail is None else _mail_parameters(sender, tail)
    path = _path(argument, b"FROM:", BAD_SENDER)
    if isinstance(path, Malformed):
        return path
    text, parameters = path
    found = NULL_SENDER if not text else _address(text)
    return BAD_SENDER if found is None else _mail_parameters(found, parameters)


def parse_recipient(argument: bytes, *, smtputf8: bool) -> Address | RecipientCommand | Malformed:
    """The argument of RCPT (RFC 5321 section 4.1.1.3), `TO:` included. `smtputf8` tells whether MAIL asked for it. A `RecipientCommand`
    when the command says more than the address."""
    usual = _USUAL_TO.fullmatch(argument)
    if usual is not None:
        address = _plain_address(usual.group(1), usual.group(2))
        tail = usual.group(3)
        if address is not None and tail is not None and tail.strip(b" "):
            return _recipient_parameters(address, tail, smtputf8)
        return address or BAD_RECIPIENT
    path = _path(argument, b"TO:", BAD_RECIPIENT)
    if isinstance(path, Malformed):
        return path
    text, parameters = path
    if not text:
        return NULL_RECIPIENT
    if not smtputf8 and not text.isascii():
        return NOT_ASCII
    found = _address(text)
    if found is None:
        return BAD_RECIPIENT
    return _recipient_parameters(found, parameters, smtputf8) if parameters.strip(b" ") else found


def parse_auth(argument: bytes) -> AuthCommand | Malformed:
    """The argument of AUTH. An initial response of `=` is empty (RFC 4954 section 4)."""
    words = argument.split(b" ")
    if len(words) > 2 or _MECHANISM.fullmatch(words[0]) is None:
        return BAD_AUTH
    initial = None if len(words) == 1 else b"" if words[1] == b"=" else words[1]
    return BAD_AUTH if len(words) == 2 and not words[1] else AuthCommand(words[0].decode("ascii").upper(), initial)


def parse_chunk(argument: bytes) -> ChunkCommand | Malformed:
    """The argument of BDAT. When it is Malformed nobody knows how many octets follow, so the connection cannot go on."""
    words = argument.split(b" ")
    size = _number(words[0])
    if size is None or size > MAX_CHUNK or len(words) > 2 or (len(words) == 2 and words[1].upper() != b"LAST"):
        return BAD_CHUNK
    return ChunkCommand(size, len(words) == 2)


def _number(digits: bytes) -> int | None:
    return int(digits) if 1 <= len(digits) <= MAX_SIZE_DIGITS and digits.isdigit() else None


def _plain_address(text: bytes, domain: bytes) -> Address | None:
    """The address of the usual form; its characters were checked by the expression."""
    normal = normalise_domain(domain.decode("ascii"))
    return None if normal is None else Address(text.decode("ascii"), normal)


def _address(text: str) -> Address | None:
    """The address `text`, whose local part may be quoted or not ASCII."""
    domain = text.rpartition("@")[2]
    if domain.endswith(".") or any(character.isspace() for character in domain) or len(domain) > MAX_DOMAIN:
        return None
    return address_of(text)


def _path(argument: bytes, keyword: bytes, bad: Malformed) -> tuple[str, bytes] | Malformed:
    """The text between the angle brackets, its source route dropped, and what follows them (RFC 5321 section 4.1.2, Path)."""
    if argument[: len(keyword)].upper() != keyword:
        return NO_PATH
    try:
        rest = argument[len(keyword) :].lstrip(b" ").decode("utf-8")
    except UnicodeDecodeError:
        return bad
    if not rest.startswith("<"):
        return NO_PATH
    if _CONTROL.search(rest) is not None:
        return bad
    end = _closing_bracket(rest)
    if end is None or rest[end + 1 : end + 2] not in ("", " "):
        return bad
    text = rest[1:end]
    if text.startswith("@"):  # RFC 5321 appendix C: a source route is accepted and ignored
        route = _ROUTE.match(text)
        text = "" if route is None else text[route.end() :]
        if not text:
            return bad
    return text, rest[end + 1 :].encode("utf-8")


def _closing_bracket(rest: str) -> int | None:
    """Where the path that opens `rest` closes. A quoted string (RFC 5321 section 4.1.2) must be the whole local part."""
    opening = rest.find('"')
    closing = rest.find(">")
    if opening < 0 or closing < opening:
        return closing if closing > 0 else None
    if rest[opening - 1] not in "<:":
        return None
    position = opening + 1
    while position < len(rest) and rest[position] != '"':
        position += 2 if rest[position] == "\\" else 1
    if rest[position + 1 : position + 2] != "@":
        return None
    closing = rest.find(">", position)
    return closing if closing > 0 and '"' not in rest[position + 1 : closing] else None


def _parameters(tail: bytes) -> dict[str, str | None] | Malformed:
    """Keyword in upper case to value (None when it has none) of ` SIZE=1 SMTPUTF8`."""
    found: dict[str, str | None] = {}
    try:
        words = tail.decode("utf-8").split(" ")
    except UnicodeDecodeError:
        return BAD_PARAMETER
    for word in words:
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None or match.group(1).upper() in found or len(found) == MAX_PARAMETERS:
            return BAD_PARAMETER
        found[match.group(1).upper()] = match.group(2)
    return found


def _recipient_parameters(address: Address, tail: bytes, smtputf8: bool) -> RecipientCommand | Malformed:
    """RCPT with its parameters: NOTIFY and ORCPT (RFC 3461)."""
    found = _parameters(tail)
    if isinstance(found, Malformed):
        return found
    notify: str | None = ""
    orcpt: str | None = ""
    for keyword, value in found.items():
        if keyword == "NOTIFY":
            notify = dsn.notify(value)
        elif keyword == "ORCPT":
            orcpt = dsn.orcpt(value, smtputf8=smtputf8)
        else:
            return UNKNOWN_PARAMETER
    if notify is None or orcpt is None:
        return BAD_NOTIFY if notify is None else BAD_ORCPT
    return RecipientCommand(address, notify, orcpt)


def _mail_parameters(sender: Address, tail: bytes) -> MailCommand | Malformed:
    """MAIL with its parameters: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461), REQUIRETLS (RFC
    8689), AUTH (RFC 4954 section 5, read and dropped)."""
    found = _parameters(tail)
    if isinstance(found, Malformed):
        return found
    size, eight_bit, smtputf8, requiretls = 0, False, False, False
    ret: str | None = ""
    envid: str | None = ""
    for keyword, value in found.items():
        if keyword == "SIZE":
            number = None if value is None else _number(value.encode("utf-8"))
            if number is None:
                return BAD_SIZE
            size = number
        elif keyword == "BODY":
            if value is None or value.upper() not in ("7BIT", "8BITMIME"):
                return BAD_BODY
            eight_bit = value.upper() == "8BITMIME"
        elif keyword == "SMTPUTF8":
            if value is not None:
                return BAD_PARAMETER
            smtputf8 = True
        elif keyword == "RET":
            ret = dsn.ret(value)
        elif keyword == "ENVID":
            envid = dsn.envid(value)
        elif keyword == "REQUIRETLS":
            if value is not None:
                return BAD_PARAMETER
            requiretls = True
        elif keyword != "AUTH" or value is None:
            return UNKNOWN_PARAMETER
    if not smtputf8 and not sender.text.isascii():
        return NOT_ASCII
    if ret is None or envid is None:
        return BAD_RET if ret is None else BAD_ENVID
    return MailCommand(sender, size, eight_bit, smtputf8, ret, envid, requiretls)
