"""The quotas of accounts: asked by the doors before a message comes, and counted here when the core takes it.

Promises: a message counts before its commit, and the count is in the note that the same transaction writes, or an earlier one: after a
crash never too little is counted, and too much by at most the messages of that moment. What the core then refuses, and recipients that
become no delivery, are given back. A shortage answers 4yz. Accounts without a quota cost one look into a dictionary.

A shortage can still be met here, after the doors saw none: many connections of one account share its quota, and HTTP asks no one before.
"""

from collections.abc import Awaitable, Callable

from config.settings import Settings
from config.submission import Account
from gateway.calls import Committed, Refused, Submission
from gateway.core.committer import Committer
from gateway.core.observer import Observer
from gateway.spool.port import Note
from gateway.traffic.quota import Quota, Shortage, Usage, refusal

Accept = Callable[[Submission], Awaitable[Committed | Refused]]

NOTE = "quota/"
"""What the keys of the notes begin with; the account's name follows."""


class Quotas:
    """Every account that has one. `recall` reads a note of the spool, once for each account."""

    def __init__(
        self,
        settings: Settings,
        committer: Committer,
        recall: Callable[[str], bytes | None],
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._committer = committer
        self._recall = recall
        self._observer = observer
        self._clock = clock
        self._quotas: dict[str, Quota] = {}
        self._refused: dict[tuple[str, str], int] = {}
        """By account and limit; as many as there are buckets."""
        self.reconfigure(settings)

    def reconfigure(self, settings: Settings) -> None:
        """New rates; what is used stays used."""
        now = self._clock()
        quotas: dict[str, Quota] = {}
        for account in settings.account:
            quota = _quota(account)
            if quota.buckets:
                known = self._quotas.get(account.name)
                value = known.export() if known is not None else self._recall(NOTE + account.name)
                if value is not None:
                    quota.restore(value, now)
                quotas[account.name] = quota
        self._quotas = quotas

    def __contains__(self, account: str) -> bool:
        """Whether the account has a quota at all."""
        return account in self._quotas

    def shortage(self, account: str, recipients: int) -> Shortage | None:
        """For the doors: why a message to so many recipients would be refused now, or None."""
        quota = self._quotas.get(account)
        return None if quota is None else self._counted(account, quota.shortage(recipients, self._clock()))

    def _counted(self, account: str, found: Shortage | None) -> Shortage | None:
        if found is not None:
            key = account, found.what
            self._refused[key] = self._refused.get(key, 0) + 1
        return found

    async def accept(self, submission: Submission, accept: Accept) -> Committed | Refused:
        """Count the message, let `accept` take it, and give back what it did not take responsibility for."""
        account, recipients = submission.message.account, len(submission.recipients)
        quota, now = self._quotas[account], self._clock()
        short = self._counted(account, quota.shortage(recipients, now, whole=True))
        if short is not None:
            self._observer.refused(account, f"quota-{short.what}")
            return Refused(refusal(short))
        quota.take(recipients, now)
        self._note(account)
        result = await accept(submission)
        taken = len(result.deliveries) if isinstance(result, Committed) else 0
        if taken < recipients and account in self._quotas:
            self._quotas[account].give_back(0 if taken else 1, recipients - taken)
            self._note(account)
        return result

    def _note(self, account: str) -> None:
        self._committer.note(Note(NOTE + account, self._quotas[account].export()))

    # For people.

    def usage(self) -> list[tuple[Usage, int]]:
        """Every bucket, and how often it was the reason of a refusal since the start."""
        now = self._clock()
        rows = [row for name, quota in self._quotas.items() for row in quota.usage(name, now)]
        return [(row, self._refused.get((row.account, row.limit), 0)) for row in rows]

    def counts(self) -> dict[str, float]:
        """How many accounts have a quota, and how many have used it up."""
        now = self._clock()
        exhausted = sum(quota.shortage(1, now) is not None for quota in self._quotas.values())
        return {"limited": float(len(self._quotas)), "exhausted": float(exhausted)}


def _quota(account: Account) -> Quota:
    return Quota(account.message_rate, account.message_burst, account.recipient_rate, account.recipient_burst)
