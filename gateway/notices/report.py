"""The report itself: a delivery status notification as bytes (RFC 3464, RFC 6522, RFC 6533), made from notices of one message and action.

Promises: pure ASCII below the header, whatever came back, so that every next hop takes it; no field can be broken by a reply, an address or
a parameter; size bounded by `Returned.octets`, the bounds of a notice and MOST recipients. An address that is not ASCII is written as
utf-8-addr-xtext, as RFC 6533 section 3 asks for in message/delivery-status. A failure returns the whole message if the sender asked for it
(RET=FULL), it is small enough and it can be written in ASCII; everything else returns the header (RFC 3461 section 4.3).

Message-ID and Date are added where every other message gets them. Pure.
"""

import binascii
import hashlib

import msgspec

from bounce.report import Action
from gateway.calls import Message
from gateway.compose.headers import date
from gateway.compose.reencode import Reencoded, reencode
from gateway.notices import words
from gateway.spool.notice import Notice
from mail.address import Address
from mail.identity import to_text
from mail.message import Header, fields, read_header
from mail.xtext import decode_utf8_address, decode_xtext, encode_utf8_address

LONGEST_FIELD = 900
"""Characters of one field of the status part."""
LONGEST_REFERENCE = 500

CRLF = "\r\n"


class Origin(msgspec.Struct, frozen=True):
    """Who reports: the host name (Reporting-MTA), and the domain of the address it reports from."""

    hostname: str
    domain: str


class Returned(msgspec.Struct, frozen=True):
    """What there is of the message: its first octets, and the largest message that is returned whole."""

    octets: bytes
    most: int


def report(origin: Origin, message: Message, notices: list[Notice], returned: Returned) -> bytes:
    """The report of `notices` (at least one, all of one action) about `message`, for its envelope sender."""
    action = notices[0].action
    header = read_header(returned.octets)
    asked = action is Action.FAILED and message.ret == "FULL" and not message.requiretls  # RFC 8689 section 5: as if RET=HDRS was said
    whole = asked and message.size <= returned.most and len(returned.octets) == message.size
    boundary = f"{to_text(message.id)}-{hashlib.blake2b(returned.octets, digest_size=12).hexdigest()}"
    first = _part("text/plain; charset=utf-8", _text(origin, action, notices, header).encode())
    second = _part("message/delivery-status", _status(origin, message, notices).encode("ascii"))
    head = _head(origin, message, action, boundary)
    for part in ([_whole(returned.octets, header)] if whole else []) + [_header(returned.octets, header)]:
        body = _assembled(boundary, [first, second, part])
        fit = reencode(fields(head), body, seven_bit=True)
        if isinstance(fit, Reencoded):
            return b"".join(field.raw + b"\r\n" for field in fit.fields) + b"\r\n" + fit.body
    raise AssertionError("a text and a header can always be encoded")


def addressed(sender: Address) -> str:
    """The sender as To carries it: a domain alone can be written in ASCII (RFC 5891), a local part cannot."""
    return f"{sender.local}@{sender.domain}" if sender.local.isascii() else sender.text


def _head(origin: Origin, message: Message, action: Action, boundary: str) -> bytes:
    lines = [
        f"From: Mail Delivery System <mailer-daemon@{origin.domain}>",
        f"To: <{addressed(message.sender)}>",
        f"Subject: {words.SUBJECTS[action]}",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5, RFC 3464 section 2
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    identity = message.message_id
    if identity.isascii() and identity.isprintable() and " " not in identity and 0 < len(identity) <= LONGEST_REFERENCE:
        lines += [f"In-Reply-To: {identity}", f"References: {identity}"]
    return CRLF.join(lines).encode() + b"\r\n"


def _assembled(boundary: str, parts: list[bytes]) -> bytes:
    mark = f"--{boundary}".encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


def _part(kind: str, content: bytes, encoding: str = "") -> bytes:
    encoding = encoding or ("7bit" if content.isascii() else "8bit")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content


# For people.


def _text(origin: Origin, action: Action, notices: list[Notice], header: Header) -> str:
    until = date(max(notice.retry_until for notice in notices)).decode("ascii")
    french = header.text(b"content-language").strip().lower().startswith("fr")
    return words.text(action, notices, origin.hostname, until, french)


# For programs.


def _status(origin: Origin, message: Message, notices: list[Notice]) -> str:
    """The groups of fields of RFC 3464 section 2.1: one about the message, one for each recipient."""
    envid = decode_xtext(message.envid) if message.envid else None
    group = [_field("Reporting-MTA", f"dns; {origin.hostname}")]
    group += [_field("Original-Envelope-Id", envid)] if envid else []
    group.append(_field("Arrival-Date", date(message.received_at).decode("ascii")))
    return CRLF.join([*group, "", *(line for notice in notices for line in (*_recipient(notice), ""))])


def _recipient(notice: Notice) -> list[str]:
    reply = notice.reply
    group = [_field("Original-Recipient", original)] if (original := _original(notice.orcpt)) else []
    group += [
        _field("Final-Recipient", _typed(notice.recipient)),
        _field("Action", notice.action.value),
        _field("Status", status_of(notice)),
    ]
    if notice.host and not reply.synthetic:
        group.append(_field("Remote-MTA", f"dns; {notice.host}"))
    if reply.code:
        group.append(_field("Diagnostic-Code", f"{'x-mailwright' if reply.synthetic else 'smtp'}; {reply}"))
    group.append(_field("Last-Attempt-Date", date(notice.at).decode("ascii")))
    if notice.retry_until:
        group.append(_field("Will-Retry-Until", date(notice.retry_until).decode("ascii")))
    return group


def status_of(notice: Notice) -> str:
    """The status code (RFC 3464 section 2.3.4): the receiver's own, else what its reply code says; 4.4.7 when nobody was ever asked."""
    reply = notice.reply
    if reply.enhanced:
        return reply.enhanced
    return f"{reply.code // 100}.0.0" if reply.code else "4.4.7"


def _typed(address: str) -> str:
    return f"rfc822; {address}" if address.isascii() else f"utf-8; {encode_utf8_address(address)}"


def _original(orcpt: str) -> str:
    """ORCPT as Original-Recipient: xtext is undone, utf-8-addr-xtext stays (RFC 3464 section 2.3.1, RFC 6533 section 3)."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        return f"utf-8; {address}" if decode_utf8_address(address) is not None else ""
    plain = decode_xtext(address)
    return "" if plain is None else f"{kind}; {plain}"


def _field(name: str, value: str) -> str:
    """One field on one line, in ASCII."""
    return f"{name}: {words.printable(value).encode('ascii', 'backslashreplace').decode('ascii')[:LONGEST_FIELD]}"


# What is returned.


def _whole(octets: bytes, header: Header) -> bytes:
    if not octets[: header.end].isascii():
        return _part("message/global", _quoted_printable(octets), "quoted-printable")  # RFC 6532 section 3.7 allows the encoding
    return _part("message/rfc822", octets)


def _header(octets: bytes, header: Header) -> bytes:
    found = octets[: header.end] + b"\r\n"
    if not found.isascii():
        return _part("message/global-headers", _quoted_printable(found), "quoted-printable")  # RFC 6533 section 5
    return _part("text/rfc822-headers", found)


def _quoted_printable(octets: bytes) -> bytes:
    """RFC 2045 section 6.7. The encoder takes its kind of line break from the first one it meets, so it is shown a CRLF first."""
    return binascii.b2a_qp(b"\r\n" + octets, istext=True)[2:]
