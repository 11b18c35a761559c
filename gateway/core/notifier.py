"""Carries notices to senders: takes those that are due from the spool, makes one report for each message and action, and has it accepted.

A report is a message like any other: from the null sender, on a stream of its own, with the normal engine behind it. It is accepted in the
transaction in which its notices go, so whatever instant the process is killed at, a recipient and action is told once (decision 0029).

Bad days: mail that cannot be accepted now (busy, full) is tried again at the next look, its notices stay. Reports over the allowance, to a
suppressed sender, about automatic mail, and those whose facts do not decode, go without a report; each is counted and said in the log. So
do those whose report cannot be made, which is a bug of ours and told as one.
Nothing here grows: a look takes PAGE messages, and what waits, waits on disk.
"""

import asyncio
from collections.abc import Callable

from config.settings import Settings
from gateway.calls import Committed, Message, Submission
from gateway.core.acceptance import Acceptor
from gateway.core.committer import Committer
from gateway.core.duty import duty
from gateway.core.observer import Observer
from gateway.notices.allowance import Allowance
from gateway.notices.policy import NoticePolicy, silence
from gateway.notices.report import Origin, Returned, report
from gateway.spool.notice import Notice, Pending
from gateway.spool.port import Spool
from mail.address import NULL_SENDER
from mail.message import MAX_HEADER, read_header

PAGE = 20
"""Messages that one look takes, and reports that are made at once."""
HEADER_ROOM = MAX_HEADER + 4
"""Octets of a message in which its header ends."""


class Notifier:
    """See the module. `looked` is what tests wait for: looks that are over."""

    def __init__(
        self,
        spool: Spool,
        committer: Committer,
        acceptor: Acceptor,
        observer: Observer,
        clock: Callable[[], float],
        hostname: str,
        domain: str,
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._spool = spool
        self._committer = committer
        self._acceptor = acceptor
        self._observer = observer
        self._clock = clock
        self._origin = Origin(hostname or domain, domain)
        self._on_bug = on_bug
        self._task: asyncio.Task[None] | None = None
        self._allowance = Allowance(1.0, 1.0)
        self.looked = 0

    def reconfigure(self, settings: Settings, policy: NoticePolicy) -> None:
        """Use new settings from the next look on."""
        self._settings = settings.notices
        self._policy = policy
        self._signed_by_gateway = bool(settings.gateway.dkim)
        self._allowance.retune(settings.notices.account_rate, settings.notices.sender_rate)

    def start(self) -> None:
        """Begin."""
        keep = duty(self._run, lambda: self._committer.broken is not None, self._on_bug)
        self._task = asyncio.get_running_loop().create_task(keep, name="notifier")

    async def close(self) -> None:
        """Stop. What is not told is on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            while await self._look():
                pass
            self.looked += 1
            await asyncio.sleep(self._settings.gather)

    async def _look(self) -> bool:
        """One page; whether there may be more to do at once."""
        page = self._spool.notices(self._clock(), PAGE)
        if not page:
            return False
        done = await asyncio.gather(*(self._tell(pending) for pending in page))
        await self._committer.flush()
        return all(done)

    async def _tell(self, pending: Pending) -> bool:
        """Make and hand in one report, or drop its notices; False when they stay for later."""
        message, notices = pending.message, pending.notices
        if message is None or not notices:
            return self._dropped(pending, "damaged")
        if not self._policy.may_be_told(message.account, message.sender):
            return self._dropped(pending, "not-owned")
        octets = self._spool.excerpt(message.id, max(HEADER_ROOM, self._settings.return_size)) or b""
        reason = silence(read_header(octets), all(notice.asked for notice in notices))
        if reason:
            return self._dropped(pending, reason)
        if not self._allowance.take(message.account, message.sender.text, self._clock()):
            return self._dropped(pending, "rate")
        return await self._hand_in(pending, message, notices, octets)

    async def _hand_in(self, pending: Pending, message: Message, notices: list[Notice], octets: bytes) -> bool:
        try:
            content = report(self._origin, message, notices, Returned(octets, self._settings.return_size))
        except Exception as bug:  # one report that cannot be made must not keep all others back
            self._on_bug(bug)
            return self._dropped(pending, "damaged")
        submission = Submission(self._message(message, content), [message.sender], content)
        answer = await self._acceptor.accept(submission, pending.told)
        if not isinstance(answer, Committed):
            self._allowance.give_back(message.account, message.sender.text)
            return False
        self._observer.told(message, pending.told.action, len(pending.told.deliveries), "sent" if answer.deliveries else "suppressed")
        return True

    def _message(self, about: Message, content: bytes) -> Message:
        """The report as a message of the account it goes to. Signed as the gateway, or by the sending domain's key where it has none."""
        return Message(
            account=about.account,
            stream=self._settings.stream,
            sender=NULL_SENDER,
            from_domain=self._origin.domain if self._signed_by_gateway else about.sender.domain,
            received_at=self._clock(),
            size=len(content),
            added_date=True,
            listener="notices",
            eight_bit=not content.isascii(),
            smtputf8=not content.isascii(),
            requiretls=about.requiretls,  # RFC 8689 section 5: what tells of the message is kept as safe as the message
        )

    def _dropped(self, pending: Pending, reason: str) -> bool:
        self._committer.told(pending.told)
        self._observer.told(pending.message, pending.told.action, len(pending.told.deliveries), reason)
        return True
