"""How many reports an account and a sender address get: two smooth limits, so that a broken application cannot fill a mailbox.

Promises: over an hour no more than the rate and one burst (six minutes' worth), for the account and for the address; both tokens or none.
Bounded: the addresses least recently told are forgotten beyond MOST, which forgives them at most one burst. Kept in RAM: a restart forgives
one burst too. Pure: the caller tells the time.
"""

from collections import OrderedDict

from gateway.traffic.limits import Limit

MOST = 10_000
"""Accounts and addresses remembered."""
BURST_SECONDS = 360.0


class Allowance:
    """Limits by name. Rates are reports a second."""

    def __init__(self, account_rate: float, sender_rate: float) -> None:
        self._limits: OrderedDict[tuple[str, str], Limit] = OrderedDict()
        self.retune(account_rate, sender_rate)

    def retune(self, account_rate: float, sender_rate: float) -> None:
        """Use new rates; what was taken is forgotten."""
        self._account_rate, self._sender_rate = account_rate, sender_rate
        self._limits.clear()

    def __len__(self) -> int:
        return len(self._limits)

    def take(self, account: str, sender: str, now: float) -> bool:
        """Whether one more report may go; if so it is counted."""
        limits = (self._limit((account, ""), self._account_rate), self._limit((account, sender), self._sender_rate))
        if not all(limit.available(now) for limit in limits):
            return False
        for limit in limits:
            limit.take(now)
        return True

    def give_back(self, account: str, sender: str) -> None:
        """The report that was counted last for them could not go, and will be asked for again."""
        for name in ((account, ""), (account, sender)):
            if name in self._limits:
                self._limits[name].give_back(1)

    def _limit(self, name: tuple[str, str], rate: float) -> Limit:
        limit = self._limits.get(name)
        if limit is None:
            limit = self._limits[name] = Limit(rate, max(1, int(rate * BURST_SECONDS)))
            if len(self._limits) > MOST:
                self._limits.popitem(last=False)
        self._limits.move_to_end(name)
        return limit
