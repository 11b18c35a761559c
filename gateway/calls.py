"""The calls between the core and its hands, as values that could be sent (DESIGN section 2, "Core and hands").

Doors say `accept`; deliveries say `open`, `next` and `settle`. Today both live in one process and these are the arguments and results of
function calls; a test encodes and decodes each one, so that tomorrow they are frames on a socket. Nothing here computes anything.
"""

import msgspec

from mail.address import Address
from mail.outcome import Outcome
from mail.reply import Reply


class MessageLabels(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Labels of a message beyond stream and campaign, as its events carry them. A message without any has None instead."""

    contact: str = ""
    """The application's own name for the recipient."""
    engagement: str = ""
    """Days since the contact's last sign of life (`14d`), or a score from 0 to 100, the most engaged (`83`)."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    send_at: float = 0.0
    """Unix seconds before which nothing is tried; 0: at once."""


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of an accepted message and kept with it, besides its bytes. Everything that identifies it is fixed here, once."""

    account: str
    stream: str
    sender: Address
    from_domain: str
    received_at: float
    size: int
    id: int = 0
    """Given by the core at acceptance."""
    campaign: str = ""
    message_id: str = ""
    """The Message-ID, with angle brackets. Empty when the application sent none: the core sets `<id@domain>` and `added_message_id`."""
    added_message_id: bool = False
    added_date: bool = False
    """No Date field was sent: `received_at` is written as Date."""
    client: str = ""
    """IP address of the client."""
    helo: str = ""
    protocol: str = "ESMTP"
    """RFC 3848 keyword for Received: ESMTP, ESMTPS, ESMTPSA, UTF8SMTPSA …"""
    listener: str = ""
    eight_bit: bool = False
    """The content has octets over 127."""
    smtputf8: bool = False
    """The client asked for SMTPUTF8 and the message needs it (a non-ASCII address or header field)."""
    long_lines: bool = False
    """A body line is over 998 octets and is to be re-encoded when the message leaves."""
    ret: str = ""
    """RET of MAIL (RFC 3461 section 4.3): how much of the message a report of a failure returns, FULL or HDRS; "" when not said."""
    envid: str = ""
    """ENVID of MAIL (RFC 3461 section 4.4), in xtext as it came."""
    labels: MessageLabels | None = None
    requiretls: bool = False
    """REQUIRETLS (RFC 8689): verified TLS to a next hop that offers the same, or nothing."""
    tls_relaxed: bool = False
    """`TLS-Required: No` (RFC 8689 section 3): the recipient domain's own TLS policies are passed over."""


class Wish(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the sender wants to be told of one recipient: NOTIFY and ORCPT of RCPT, as `gateway.smtp.dsn` gives them."""

    notify: str = ""
    orcpt: str = ""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A door asks the core to take responsibility for one message to `recipients`."""

    message: Message
    recipients: list[Address]
    content: bytes
    wishes: list[Wish] = []
    """One for each recipient, in their order; none at all when nobody said NOTIFY or ORCPT."""
    deadline: float = 0.0
    """Unix seconds at which its deliveries expire, if that is sooner than the stream says; 0 for none."""
    key: bytes = b""
    """16 octets for (account, idempotency key), or empty: recipients accepted under it before are not sent to again."""
    body: int = 0
    """With a key, a hash of the body."""


class Committed(msgspec.Struct, frozen=True, gc=False, tag="committed"):
    """The message is on disk; identities of the message and of its deliveries, in the order of the recipients."""

    message: int
    """When everybody was accepted before, the first message."""
    deliveries: list[int]
    repeated: int = 0
    """Recipients who were accepted before under the same idempotency key, and have no delivery now."""
    first: int = 0
    """The first message that one of them was accepted with."""


class Refused(msgspec.Struct, frozen=True, gc=False, tag="refused"):
    """Responsibility was not taken; `reply` is for the client."""

    reply: Reply


class Lane(msgspec.Struct, frozen=True, gc=False, order=True):
    """(source, provider): the pair the receiver judges. Limits live here."""

    source: str
    provider: str


class Opening(msgspec.Struct, frozen=True, gc=False):
    """The wish for one connection: a lane, and the route (a set of hosts of the provider) that the connection is for."""

    lane: Lane
    route: str


class Permit(msgspec.Struct, frozen=True, gc=False, tag="permit"):
    """Permission to hold one connection until `until` (Unix seconds, renewed) and for at most `messages` messages. It carries no rate."""

    id: int
    opening: Opening
    until: float
    messages: int


class Wait(msgspec.Struct, frozen=True, gc=False, tag="wait"):
    """Nothing now: ask again at `until` (Unix seconds), or when woken. `why` is for people."""

    until: float
    why: str


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """One delivery handed to a connection, its token taken. `content` is None when the hand must read it from the spool."""

    delivery: int
    message: Message
    recipient: Address
    return_path: str
    """Envelope sender of the delivery; "" for the null sender."""
    attempt: int
    """1 for the first."""
    content: bytes | None = None
    unsure_before: bool = False
    """An earlier attempt ended Unsure: the receiver may get the message twice."""
    notify: str = ""
    orcpt: str = ""
    """NOTIFY and ORCPT of RCPT, for a next hop that offers DSN."""


class Handout(msgspec.Struct, frozen=True, gc=False):
    """The answer to `next`. With no assignments, `wait` says until when; `close` asks the hand to end the connection."""

    assignments: list[Assignment]
    wait: Wait | None = None
    close: bool = False


class TlsFailure(msgspec.Struct, frozen=True, gc=False):
    """A host whose TLS did not satisfy what was asked. `result` is a result type of RFC 8460 section 4.3, `why` is for people."""

    result: str
    host: str
    address: str
    why: str


class TlsFacts(msgspec.Struct, frozen=True, gc=False):
    """What a policy asked of a connection's TLS, and what came of it."""

    policy: str
    """mta-sts, mta-sts-testing, dane, dane-unusable, requiretls, verified or required."""
    result: str
    """dane, certificate, encrypted or clear: how the connection is protected; `failed` when there is none for want of that."""
    failures: tuple[TlsFailure, ...] = ()


class AttemptFacts(msgspec.Struct, frozen=True, gc=False):
    """Facts of one attempt that an operator needs to answer a customer."""

    started: float
    ended: float
    lane: Lane
    route: str = ""
    host: str = ""
    """MX host name."""
    address: str = ""
    """IP address and port."""
    tls: str = ""
    """Protocol and cipher, or "" for none."""
    connection: int = 0
    message_number: int = 0
    """1 for the first message of the connection."""
    overlapped: bool = False
    signed_by: str = ""
    dsn: bool = False
    """The next hop offered DSN: it reports for itself what the sender asked to be told (RFC 3461 section 5.2.1)."""
    security: TlsFacts | None = None
    """None where nothing was asked of TLS."""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What became of one assignment."""

    delivery: int
    outcome: Outcome
    facts: AttemptFacts


class Settle(msgspec.Struct, frozen=True, gc=False):
    """A hand reports. `returned` are deliveries that were handed out and not tried: they go back unharmed."""

    permit: int
    settlements: list[Settlement]
    returned: list[int] = []


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A hand ended the connection of `permit`. `trouble` tells why a connection could not be made or used at all, else None.

    Trouble before MAIL (connect, banner, EHLO, STARTTLS) is the host's matter: no delivery was tried by it.
    """

    permit: int
    trouble: Outcome | None = None
    host: str = ""
    security: TlsFacts | None = None
