"""What a submission door admits: ordered lists of pure policies, one list for each moment of the dialogue.

A policy looks at the values of its moment and returns a `Refusal` or None; the first refusal decides. Nothing here does I/O, reads a clock
or remembers. What holds (DESIGN sections 4 and 5): no account, no mail; the envelope sender and every From domain belong to the account;
limits answer 4yz, except a message that is too large.
"""

from collections.abc import Callable

import msgspec

from config.submission import Limits
from gateway.doors.accounts import KnownAccount
from gateway.smtp import replies
from gateway.smtp.grammar import MailCommand
from gateway.traffic.quota import Shortage, refusal
from mail.address import Address
from mail.message import Facts
from mail.reply import Reply

MOST_RECEIVED = 50
"""Received fields at which a message has gone in circles; RFC 5321 section 6.3 asks for at least 100 hops minus those of others, and
mail that is submitted has made few or none."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """`reason` is the word that metrics and log count by."""

    reply: Reply
    reason: str


class Sending(msgspec.Struct, frozen=True, gc=False):
    """The moment of MAIL."""

    account: KnownAccount | None
    command: MailCommand
    shortage: Shortage | None = None
    """The account's quota has no room for a message to one recipient."""


class Addressing(msgspec.Struct, frozen=True, gc=False):
    """The moment of RCPT; `accepted` recipients came before."""

    account: KnownAccount
    address: Address
    accepted: int
    suppressed: str = ""
    """Why no mail of the account may go there; looked up only where the account refuses such recipients."""
    shortage: Shortage | None = None
    """The account's quota has no room for one recipient more."""


class Handing(msgspec.Struct, frozen=True, gc=False):
    """The moment after the message."""

    account: KnownAccount
    facts: Facts
    size: int
    refuse_long_lines: bool
    unsignable: bool = False
    """The configuration refuses mail From its domain, because no key signs it (`without_key = "refuse"`)."""


NOBODY = Refusal(Reply(530, "log in first", "5.7.0"), "no-account")  # RFC 4954 section 6
SENDER_NOT_OWNED = Refusal(Reply(550, "this account may not send from this address", "5.7.1"), "sender")
TOO_LARGE = Refusal(replies.TOO_LARGE, "size")
LITERAL = Refusal(Reply(550, "address literals are not relayed to", "5.1.2"), "recipient")
TOO_MANY = Refusal(replies.TOO_MANY_RECIPIENTS, "recipients")
HEADER_TOO_LARGE = Refusal(Reply(554, "the header is too large", "5.6.0"), "header")
NO_FROM = Refusal(Reply(550, "the message has no From address", "5.7.1"), "from")
FROM_UNREADABLE = Refusal(Reply(550, "the From field cannot be read", "5.7.1"), "from")
FROM_NOT_OWNED = Refusal(Reply(550, "this account may not send mail From this domain", "5.7.1"), "from")
NO_KEY = Refusal(Reply(550, "mail From this domain is not sent without a DKIM key, and it has none", "5.7.1"), "no-key")
LOOP = Refusal(Reply(554, "too many hops; the message goes in circles", "5.4.6"), "loop")
LONG_LINE = Refusal(Reply(554, "a line has over 998 octets", "5.6.0"), "long-line")  # RFC 5322 section 2.1.1


def _has_account(moment: Sending) -> Refusal | None:
    return NOBODY if moment.account is None else None


def _owns_sender(moment: Sending) -> Refusal | None:
    """The null sender passes: who sends it is checked by From, after the message."""
    sender = moment.command.sender
    owned = moment.account is not None and (not sender.text or sender.domain in moment.account.domains)
    return None if owned else SENDER_NOT_OWNED


def _declared_size(moment: Sending) -> Refusal | None:
    return TOO_LARGE if moment.account is not None and moment.command.size > moment.account.message_size else None


def _within_quota(moment: Sending | Addressing) -> Refusal | None:
    short = moment.shortage
    return None if short is None else Refusal(refusal(short), f"quota-{short.what}")


def _not_literal(moment: Addressing) -> Refusal | None:
    return LITERAL if moment.address.domain.startswith("[") else None


def _recipients(moment: Addressing) -> Refusal | None:
    return TOO_MANY if moment.accepted >= moment.account.recipients else None


def _not_suppressed(moment: Addressing) -> Refusal | None:
    if not moment.suppressed:
        return None
    return Refusal(Reply(550, f"this recipient is suppressed: {moment.suppressed}", "5.7.1"), "suppressed")


def _size(moment: Handing) -> Refusal | None:
    return TOO_LARGE if moment.size > moment.account.message_size else None


def _header(moment: Handing) -> Refusal | None:
    return HEADER_TOO_LARGE if moment.facts.header.oversized else None


def _owns_from(moment: Handing) -> Refusal | None:
    domains = moment.facts.from_domains
    if domains is None:
        return FROM_UNREADABLE
    if not domains:
        return NO_FROM
    owned = moment.account.domains
    return None if all(domain in owned for domain in domains) else FROM_NOT_OWNED


def _signable(moment: Handing) -> Refusal | None:
    return NO_KEY if moment.unsignable else None


def _no_loop(moment: Handing) -> Refusal | None:
    return LOOP if moment.facts.received > MOST_RECEIVED else None


def _line_length(moment: Handing) -> Refusal | None:
    """A long header line is refused always: we re-encode bodies, and folding an application's field would change it."""
    facts = moment.facts
    return LONG_LINE if facts.long_header_lines or (facts.long_lines and moment.refuse_long_lines) else None


AT_MAIL: tuple[Callable[[Sending], Refusal | None], ...] = (_has_account, _owns_sender, _declared_size, _within_quota)
AT_RECIPIENT: tuple[Callable[[Addressing], Refusal | None], ...] = (_not_literal, _recipients, _not_suppressed, _within_quota)
AFTER_DATA: tuple[Callable[[Handing], Refusal | None], ...] = (_size, _header, _owns_from, _signable, _no_loop, _line_length)


def judge_sender(moment: Sending) -> Refusal | None:
    """Whether this client may begin a message."""
    for policy in AT_MAIL:
        refusal = policy(moment)
        if refusal is not None:
            return refusal
    return None


def judge_recipient(moment: Addressing) -> Refusal | None:
    """Whether the message may go to this recipient."""
    for policy in AT_RECIPIENT:
        refusal = policy(moment)
        if refusal is not None:
            return refusal
    return None


def judge_message(moment: Handing) -> Refusal | None:
    """Whether the message may be taken."""
    for policy in AFTER_DATA:
        refusal = policy(moment)
        if refusal is not None:
            return refusal
    return None


def announced_limits(limits: Limits, account: KnownAccount | None) -> str:
    """The parameters of LIMITS: what the listener takes, and the account where it is known (RFC 9422 section 4). MAILMAX counts MAIL
    commands and RCPTMAX RCPT commands, good or bad; we count what was accepted, which a client that keeps to them never exceeds."""
    recipients = limits.recipients if account is None else min(limits.recipients, account.recipients)
    return f"MAILMAX={limits.messages_per_connection} RCPTMAX={recipients}"
