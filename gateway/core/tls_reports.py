"""TLS reports are sent: for each day that is over and each domain that wants one, a message through the gateway itself (RFC 8460).

Begins some hours into the next day, by chance, so that not everybody writes at midnight (RFC 8460 section 4.1 asks for a spread); sends a
few a call, so that a day of many domains takes its time. A domain's figures are forgotten when its report is accepted, or when nobody
wants it; where the DNS or our own door does not answer they are tried again, until the day is too old. A crash between the two may send
one report twice; its id is the same.

A report is mail like any other: queued, signed, retried, seen in events, as account `tls-reports`. Bounces of it change nothing here.
"""

import random
from collections.abc import Awaitable, Callable

import msgspec

from gateway.calls import Committed, Message, Refused, Submission
from gateway.delivery.resolver import Records, Resolver, Trouble
from gateway.delivery.security.https import Https, HttpsTrouble
from gateway.delivery.security.report import Report, Sender, mail_address, message, places, report, web_place
from gateway.delivery.security.results import Results, day_of
from mail.address import Address, address_of

ACCOUNT = "tls-reports"
"""Account and stream of reports, in events and log."""
SPREAD = 14_400.0
"""Seconds after midnight within which a day's reports begin to leave."""
AT_ONCE = 20
"""Domains looked at in one call."""
POST_SECONDS = 20.0
RETRY_SECONDS = 900.0
"""After trouble with a domain, the next look at it."""
GIVE_UP_SECONDS = 172_800.0


class Wishes(msgspec.Struct, frozen=True):
    """What the configuration says of reports."""

    wanted: bool
    sender: Sender
    port: int = 443
    """Of https places. Others are not posted to: a domain must not send us to any port it likes."""


class TlsReports:
    """See the module. `tell` hears how each report went: sent, posted, unwanted or trouble."""

    def __init__(
        self,
        results: Results,
        resolver: Resolver,
        https: Https,
        accept: Callable[[Submission], Awaitable[Committed | Refused]],
        wishes: Callable[[], Wishes],
        chance: random.Random,
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._results = results
        self._resolver = resolver
        self._https = https
        self._accept = accept
        self._wishes = wishes
        self._tell = tell
        self._offset = chance.random() * SPREAD
        self._later: dict[str, float] = {}
        """Domains with trouble, and when to look again."""

    async def tend(self, now: float) -> None:
        """Send some of what is due at `now` (Unix seconds)."""
        days = [day for day in self._results.finished(now) if day != day_of(now - self._offset)]
        if not days:
            self._later.clear()
            return
        wishes = self._wishes()
        due = [(day, domain) for day in days for domain in self._results.domains(day) if self._later.get(domain, 0.0) <= now]
        for day, domain in due[:AT_ONCE]:
            if wishes.wanted and not await self._report(domain, day, wishes, now):
                self._later[domain] = now + RETRY_SECONDS
                if day_of(now - GIVE_UP_SECONDS) < day:
                    continue
            self._results.take(day, domain)

    async def _report(self, domain: str, day: str, wishes: Wishes, now: float) -> bool:
        """Report to `domain`; False: try again later."""
        answer = (await self._resolver.texts(f"_smtp._tls.{domain}")).answer
        if isinstance(answer, Trouble):
            self._tell(domain, "trouble", answer.why)
            return False
        wanted = places(answer.texts) if isinstance(answer, Records) else []
        if not wanted:
            self._tell(domain, "unwanted", "")
            return True
        made = report(wishes.sender, domain, day, self._results.look(day, domain))
        done = [await self._deliver(made, place, wishes, now) for place in wanted]
        return any(done)

    async def _deliver(self, made: Report, place: str, wishes: Wishes, now: float) -> bool:
        address = mail_address(place)
        why = await self._mail(made, address, wishes.sender, now) if address is not None else await self._post(made, place, wishes.port)
        self._tell(made.domain, "trouble" if why else "sent" if address is not None else "posted", why)
        return not why

    async def _mail(self, made: Report, recipient: Address, sender: Sender, now: float) -> str:
        """Hand the report to ourselves; why not, or ""."""
        author = address_of(sender.address)
        if author is None:
            return f"{sender.address} is no address"
        content = message(sender, made, recipient)
        known = Message(
            account=ACCOUNT,
            stream=ACCOUNT,
            sender=author,
            from_domain=author.domain,
            received_at=now,
            size=len(content),
            added_date=True,
            listener=ACCOUNT,
            tls_relaxed=True,
        )
        result = await self._accept(Submission(known, [recipient], content))
        return str(result.reply) if isinstance(result, Refused) else ""

    async def _post(self, made: Report, place: str, allowed: int) -> str:
        """RFC 8460 section 3: an https place gets the report by POST."""
        where = web_place(place)
        if where is None:
            return f"{place[:200]} is neither mailto: nor https:"
        host, port, path = where
        if port != allowed:
            return f"{place[:200]} is not at port {allowed}"
        answer = await self._https.post(host, port, path, "application/tlsrpt+gzip", made.content, seconds=POST_SECONDS)
        if isinstance(answer, HttpsTrouble):
            return answer.why
        return "" if 200 <= answer.status < 300 else f"{host} answered {answer.status}"
