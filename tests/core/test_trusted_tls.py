"""TLS figures become reports: collected from attempts, kept in a note, sent once by mail through the gateway or by https, on the day after.

A name server and a web server of the sandbox are real; the door is a list. The test holds the clock.
"""

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import msgspec

from config.settings import Settings
from gateway.calls import AttemptFacts, Committed, Lane, Refused, Submission, TlsFacts, TlsFailure
from gateway.core.tls_reports import SPREAD, TlsReports, Wishes
from gateway.core.trusted_tls import RESULTS, TrustedTls
from gateway.delivery.network import Network
from gateway.delivery.route import Host, Route
from gateway.delivery.security.dane import Dane, Tlsa
from gateway.delivery.security.report import Sender
from gateway.observe.metrics import Metrics
from gateway.spool.port import Note
from mail.reply import Reply
from sandbox.scenario import Name, PolicyHost
from tests.delivery.security.internet import ENFORCE, SmallInternet, small_internet

DAY = 86_400.0
EXPIRED = TlsFailure("certificate-expired", "mx.a.test", "192.0.2.1", "certificate has expired")
POLICY = PolicyHost(domain="a.test", policy=ENFORCE)
WANTS = Name(name="_smtp._tls.a.test", records=['TXT "v=TLSRPTv1; rua=mailto:reports@a.test"'])
SENDER = Sender("gateway.test", "tls-reports@gateway.test", "postmaster@gateway.test")


class Bench:
    """TrustedTls over a small Internet, its notes, and what was handed to the door."""

    def __init__(self, place: SmallInternet) -> None:
        self.place = place
        self.notes: dict[str, bytes] = {}
        self.taken: list[Submission] = []
        self.refuse = False
        self.told: list[tuple[str, str]] = []
        self.tls = self.restarted()

    def restarted(self) -> TrustedTls:
        settings = Settings.model_validate({"sending": {"tls": {"policy_port": self.place.port}}, "dns": {"allow_private": True}})
        network = Network("gateway.test", lambda: self.place.now, random.Random(1))
        return TrustedTls(
            settings, self.place.resolver, network, Metrics(), lambda: self.place.now, self.notes.get, self._keep, "gateway.test"
        )

    def _keep(self, note: Note) -> None:
        assert note.value is not None
        self.notes[note.key] = note.value

    async def accept(self, submission: Submission) -> Committed | Refused:
        if self.refuse:
            return Refused(Reply(451, "not now", "4.3.1"))
        self.taken.append(submission)
        return Committed(1, [2])

    def reports(self, tls: TrustedTls | None = None) -> TlsReports:
        tls = tls or self.tls
        wishes = Wishes(True, SENDER, self.place.port)
        return TlsReports(
            tls.results,
            self.place.resolver,
            self.place.https,
            self.accept,
            lambda: wishes,
            random.Random(1),
            lambda domain, result, why: self.told.append((domain, result)),
        )

    def attempt(self, connection: int, facts: TlsFacts, domain: str = "a.test") -> None:
        now = self.place.now
        self.tls.attempted(domain, AttemptFacts(now, now, Lane("default", "a.test"), connection=connection, security=facts))


def play(story: Callable[[Bench], Awaitable[None]]) -> None:
    async def stage() -> None:
        async with small_internet(POLICY) as place:
            place.say(WANTS)
            await story(Bench(place))

    asyncio.run(stage())


def content_of(submission: Submission) -> dict[str, Any]:
    attachment = list(message_from_bytes(submission.content, policy=default).iter_parts())[1]
    found: dict[str, Any] = json.loads(gzip.decompress(attachment.get_content()))
    return found


def test_a_day_is_reported_once_on_the_day_after() -> None:
    async def story(bench: Bench) -> None:
        await bench.place.policies.of("a.test")
        bench.attempt(1, TlsFacts("mta-sts", "certificate", (EXPIRED,)))
        bench.attempt(1, TlsFacts("mta-sts", "certificate", (EXPIRED,)))
        bench.attempt(2, TlsFacts("mta-sts", "certificate"))
        reports = bench.reports()
        await reports.tend(bench.place.now)
        assert bench.taken == []
        bench.place.now += DAY + SPREAD
        await reports.tend(bench.place.now)
        await reports.tend(bench.place.now)
        (submission,) = bench.taken
        (policy,) = content_of(submission)["policies"]
        assert policy["summary"] == {"total-successful-session-count": 2, "total-failure-session-count": 1}
        assert policy["failure-details"][0]["result-type"] == "certificate-expired"
        assert [str(recipient) for recipient in submission.recipients] == ["reports@a.test"]
        message = submission.message
        assert (message.account, message.from_domain, message.tls_relaxed) == ("tls-reports", "gateway.test", True)
        assert bench.told == [("a.test", "sent")]

    play(story)


def test_nothing_leaves_in_the_hours_before_its_time() -> None:
    async def story(bench: Bench) -> None:
        bench.attempt(1, TlsFacts("dane", "dane"))
        reports = bench.reports()
        bench.place.now = (bench.place.now // DAY + 1) * DAY + 1.0
        await reports.tend(bench.place.now)
        assert bench.taken == []

    play(story)


def test_who_does_not_ask_gets_none_and_is_forgotten() -> None:
    async def story(bench: Bench) -> None:
        bench.attempt(1, TlsFacts("dane", "dane"), "b.test")
        bench.place.now += DAY + SPREAD
        await bench.reports().tend(bench.place.now)
        assert (bench.taken, bench.told, len(bench.tls.results)) == ([], [("b.test", "unwanted")], 0)

    play(story)


def test_trouble_is_tried_again_and_given_up_after_two_days() -> None:
    async def story(bench: Bench) -> None:
        bench.attempt(1, TlsFacts("dane", "dane"))
        bench.place.say(Name(name="_smtp._tls.a.test", trouble="servfail"))
        reports = bench.reports()
        bench.place.now += DAY + SPREAD
        await reports.tend(bench.place.now)
        await reports.tend(bench.place.now + 60)
        assert bench.told == [("a.test", "trouble")]
        bench.place.say(WANTS)
        bench.refuse = True
        await reports.tend(bench.place.now + 1000)
        assert (bench.told[1:], len(bench.tls.results)) == ([("a.test", "trouble")], 1)
        bench.refuse = False
        await reports.tend(bench.place.now + 2000)
        assert (len(bench.taken), len(bench.tls.results)) == (1, 0)
        bench.refuse = True
        bench.attempt(2, TlsFacts("dane", "dane"))
        bench.place.now += 4 * DAY
        await reports.tend(bench.place.now)
        assert len(bench.tls.results) == 0

    play(story)


def test_a_report_about_dane_has_the_records() -> None:
    async def story(bench: Bench) -> None:
        dane = Dane("mx.a.test", (Tlsa(3, 1, 1, b"\xab" * 32),))
        bench.tls.route = lambda key: Route(key, "a.test", (Host("mx.a.test", ("192.0.2.1",), dane=dane),))
        bench.attempt(1, TlsFacts("dane", "dane"))
        bench.place.now += DAY + SPREAD
        await bench.reports().tend(bench.place.now)
        (policy,) = content_of(bench.taken[0])["policies"]
        assert policy["policy"] == {
            "policy-type": "tlsa",
            "policy-string": ["3 1 1 " + "ab" * 32],
            "policy-domain": "a.test",
            "mx-host": ["mx.a.test"],
        }

    play(story)


def test_an_https_place_gets_it_by_post() -> None:
    async def story(bench: Bench) -> None:
        bench.attempt(1, TlsFacts("dane", "dane"))
        port = bench.place.port
        bench.place.say(Name(name="_smtp._tls.a.test", records=[f'TXT "v=TLSRPTv1; rua=https://mta-sts.a.test:{port}/tls"']))
        bench.place.now += DAY + SPREAD
        await bench.reports().tend(bench.place.now)
        (posted,) = bench.place.server.posted
        assert (posted.path, posted.media) == ("/tls", "application/tlsrpt+gzip")
        assert json.loads(gzip.decompress(posted.content))["organization-name"] == "gateway.test"
        assert bench.told == [("a.test", "posted")]
        bench.attempt(2, TlsFacts("dane", "dane"))
        bench.place.say(Name(name="_smtp._tls.a.test", records=['TXT "v=TLSRPTv1; rua=https://mta-sts.a.test:22/tls"']))
        bench.place.now += DAY
        await bench.reports().tend(bench.place.now)
        assert bench.told[1:] == [("a.test", "trouble")]

    play(story)


def test_figures_survive_a_restart_and_damage_begins_anew() -> None:
    async def story(bench: Bench) -> None:
        bench.attempt(1, TlsFacts("dane", "dane"))
        await bench.tls.tend()
        assert RESULTS in bench.notes
        assert len(bench.restarted().results) == 1
        for damage in (b"\xff", msgspec.msgpack.encode({"2026-11-28": [1]})):
            bench.notes[RESULTS] = damage
            assert len(bench.restarted().results) == 0

    play(story)


def test_a_policy_that_could_not_be_fetched_is_in_the_report() -> None:
    async def story(bench: Bench) -> None:
        bench.tls.fetched("a.test", "sts-policy-fetch-error", "mta-sts.a.test did not answer in time")
        bench.place.now += DAY + SPREAD
        await bench.reports().tend(bench.place.now)
        (policy,) = content_of(bench.taken[0])["policies"]
        assert policy["failure-details"][0]["result-type"] == "sts-policy-fetch-error"
        assert policy["summary"]["total-failure-session-count"] == 1

    play(story)
