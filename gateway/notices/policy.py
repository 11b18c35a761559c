"""Who is told what: the rules of a notice, before it is written and before its report is made (RFC 3461, RFC 3834).

Promises: never backscatter. A report goes only to an envelope sender in a domain that the account owns; `any` is no ownership, so an
account that may send as anybody is told only at configured domains. Never about the null sender, a report, or an automatic answer. What the
sender said by NOTIFY holds; a sender that said nothing is told of failures and of long delays (RFC 3461 section 4.1 leaves that to us).

Automatic mail (decision 0028): `Auto-Submitted: auto-generated` is told of when NOTIFY was said for the recipient, because somebody asked;
anything but that and `no` (auto-replied, auto-notified, unknown words) never. Pure.
"""

import re

from bounce.report import Action
from config.settings import Settings
from config.submission import Account
from gateway.calls import Message
from gateway.doors.accounts import Domains
from mail.address import Address
from mail.message import Header

_WORD = {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY", Action.RELAYED: "SUCCESS"}
_UNASKED = ("FAILURE", "DELAY")
_FIRST_WORD = re.compile(r"(?:\s|\([^()]*\))*([^\s;()]*)")  # comments may stand before it (RFC 5322 section 3.2.2)


class NoticePolicy:
    """The rules of one configuration. `delay` and `gather` in seconds; a delay of None is never told."""

    def __init__(self, settings: Settings) -> None:
        configured = [domain.name for domain in settings.domain]
        self._owned = {account.name: _owned(account, configured) for account in settings.account if account.notify != "events"}
        self.delay = settings.notices.delay
        self.gather = settings.notices.gather

    def wants(self, message: Message, notify: str, action: Action) -> bool:
        """Whether the sender of `message` is to be told that `action` befell a recipient for whom it said `notify`."""
        word = _WORD[action]
        return (word in notify if notify else word in _UNASKED) and self.may_be_told(message.account, message.sender)

    def may_be_told(self, account: str, sender: Address) -> bool:
        """Whether reports go to this sender of this account at all."""
        owned = self._owned.get(account)
        return bool(sender.text) and owned is not None and sender.domain in owned


def _owned(account: Account, configured: list[str]) -> Domains:
    return Domains(["*" if domain == "any" else domain for domain in account.domains], configured)


def silence(header: Header, asked: bool) -> str:
    """Why no report is made about a message with this header, in one word, or "". `asked`: NOTIFY was said for every recipient told of."""
    for field in header.fields:
        if field.name == b"auto-submitted":  # RFC 3834 section 5; several: each counts
            word = _word(field.value)
            if field.value and (word not in ("no", "auto-generated") or (word == "auto-generated" and not asked)):
                return "auto-submitted"
    kind = header.value(b"content-type")
    return "report" if kind is not None and _word(kind) == "multipart/report" else ""  # RFC 6522


def _word(value: bytes) -> str:
    found = _FIRST_WORD.match(value.decode("latin-1").strip().lower())
    return found.group(1) if found is not None else ""
