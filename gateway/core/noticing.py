"""Which end or delay of a delivery becomes a notice to its sender: decided with the outcome, before the commit (RFC 3461 section 5.2).

Pure. What it returns is written in the transaction of the change; `gateway.core.notifier` makes the report of it afterwards.
"""

import msgspec

from bounce.report import Action
from gateway.calls import Settlement
from gateway.core.held import Held
from gateway.notices.policy import NoticePolicy
from gateway.spool.notice import Notice
from mail.outcome import Verdict
from mail.reply import Reply

MOST_SAID = 1000
"""Characters of a reply that a notice keeps."""

UNASKED = Reply(0, "")
"""Nobody was asked."""


class Noticing:
    """The rules of a policy; without one nobody is told."""

    def __init__(self, policy: NoticePolicy | None = None) -> None:
        self._policy = policy

    def relayed(self, held: Held, settlement: Settlement, reply: Reply, now: float) -> Notice | None:
        """A next hop that offers DSN reports for itself (5.2.1); for any other the last that can be said is that it has the message
        (5.2.2)."""
        return None if settlement.facts.dsn else self._notice(held, Action.RELAYED, now, reply, settlement.facts.host)

    def failed(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Notice | None:
        """It failed, or its time ended with this attempt."""
        return self._notice(held, Action.FAILED, now, verdict.reply, settlement.facts.host)

    def expired(self, held: Held, now: float) -> Notice | None:
        """Its time ended while it waited."""
        return self._notice(held, Action.FAILED, now, UNASKED)

    def delayed(self, held: Held, settlement: Settlement, verdict: Verdict, now: float) -> Notice | None:
        """The first deferral after the configured time, once."""
        delay = None if self._policy is None or held.delay_told else self._policy.delay
        if delay is None or now - held.begun < delay:
            return None
        return self._notice(held, Action.DELAYED, now, verdict.reply, settlement.facts.host, held.expires)

    def _notice(self, held: Held, action: Action, now: float, reply: Reply, host: str = "", retry_until: float = 0.0) -> Notice | None:
        policy = self._policy
        if policy is None or not policy.wants(held.message, held.notify, action):
            return None
        if len(reply.text) > MOST_SAID:
            reply = msgspec.structs.replace(reply, text=reply.text[:MOST_SAID])
        asked = bool(held.notify)
        return Notice(held.id, action, now, now + policy.gather, held.recipient.text, held.orcpt, asked, reply, host, retry_until)
