"""From an outcome to a report on its way: who is told, once, together, and what is dropped instead."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bounce.parse import parse
from bounce.report import Action, Report
from config.settings import Settings
from gateway.calls import Committed, Message, Submission, Wish
from gateway.core import notifier
from gateway.notices.report import report
from gateway.spool.lifecycle import State
from gateway.spool.notice import Notice
from gateway.spool.port import SpoolFull
from mail.address import Address
from mail.event import EventKind
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Outcome, Phase, Verdict
from mail.reply import Reply
from tests.core.stage import CONTENT, Stage, play, running

HEADER = b"From: news@shop.test\r\nMessage-ID: <1@shop.test>\r\n"
NO_USER = Failed(Verdict(Reply(550, "No such user", "5.1.1"), Category.BAD_MAILBOX, Fault.RECIPIENT, "r", Phase.RCPT))
BUSY = Deferred(Verdict(Reply(452, "later", "4.3.1"), Category.RECEIVER_TROUBLE, Fault.RECEIVER, "r", Phase.RCPT))


def settings(**notices: Any) -> Settings:
    """A shop that is told by both ways."""
    return Settings.model_validate(
        {
            "spool": {"minimum_free": 0},
            "domain": [{"name": "shop.test"}],
            "account": [
                {"name": "default"},
                {"name": "shop", "domains": ["shop.test"]},
                {"name": "silent", "notify": "events"},
                {"name": "mail", "notify": "dsn"},
            ],
            "stream": [{"name": "default"}, {"name": "slow", "retry": {"first": "30s", "longest": "30s", "jitter": 0}}],
            "notices": {"gather": "100ms"} | notices,
        }
    )


class Office(Stage):
    """A core whose reports can be read."""

    def __init__(self, folder: Path, chosen: Settings) -> None:
        super().__init__(folder, chosen)
        self.reports: list[tuple[Message, str, bytes]] = []
        self.results: list[str] = []
        accept = self.core.acceptor.accept

        async def watched(submission: Submission, told: Any = None) -> Any:
            answer = await accept(submission, told)
            if submission.message.listener == "notices" and isinstance(answer, Committed):
                self.reports.append((submission.message, submission.recipients[0].text, submission.content))
            return answer

        self.core.acceptor.accept = watched  # type: ignore[method-assign]
        observer: Any = self.core.ports.observer
        observer.told = lambda message, action, recipients, result: self.results.append(result)

    async def hand_in(
        self,
        *recipients: str,
        notify: str = "",
        sender: str = "news@shop.test",
        account: str = "shop",
        stream: str = "default",
        header: bytes = b"",
        **known: Any,
    ) -> list[int]:
        content = header + HEADER + CONTENT
        address = Address(sender, sender.rpartition("@")[2])
        message = Message(account, stream, address, "shop.test", self.clock(), len(content), message_id="<1@shop.test>", **known)
        addresses = [Address(recipient, recipient.rpartition("@")[2]) for recipient in recipients]
        wishes = [Wish(notify) for _ in addresses] if notify else []
        answer = await self.core.accept(Submission(message, addresses, content, wishes))
        assert isinstance(answer, Committed)
        return answer.deliveries

    def read(self) -> list[Report]:
        """The reports, as a program reads them."""
        found = [parse(content) for _, _, content in self.reports]
        assert None not in found
        return found  # type: ignore[return-value]

    async def looks(self, number: int = 2) -> None:
        """Wait for some more looks at what is due."""
        wanted = self.core.notifier.looked + number
        await self.until(lambda: self.core.notifier.looked >= wanted, "looks")


@contextlib.asynccontextmanager
async def office(folder: Path, outcome: Outcome, **notices: Any) -> AsyncIterator[Office]:
    """An office in which every attempt but those of reports ends so."""
    stage = Office(folder, settings(**notices))
    reported = {"": Delivered(Reply(250, "ok"))}

    def became(delivery: int) -> Outcome:
        held = next(iter(stage.queued(ids=[delivery])), None)
        return outcome if held is not None and held.message.sender.text else reported[""]

    stage.outcome = became
    stage.core.start()
    try:
        yield stage
    finally:
        await stage.close()
    assert stage.bugs == []


def test_recipients_that_fail_together_come_into_one_report_that_is_delivered_like_any_mail(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            await stage.hand_in("a@x.test", "b@y.test", "c@x.test", ret="FULL")
            await stage.until(lambda: stage.reports and not stage.queued(), "a report")
            await stage.looks()
            (report,) = stage.read()
            assert [(one.address, one.status, one.category) for one in report.recipients] == [
                (f"{name}.test", "5.1.1", Category.BAD_MAILBOX) for name in ("a@x", "b@y", "c@x")
            ]
            ((message, recipient, content),) = stage.reports
            assert (message.sender.text, message.stream, message.account, recipient) == ("", "notices", "shop", "news@shop.test")
            assert content.count(b"hello") == 1  # the whole message came back
            assert (stage.results, stage.spool.notices(stage.clock() + 60, 9)) == (["sent"], [])
        told = [event for event in stage.events() if event.stream == "notices"]
        assert [(event.kind, event.recipient) for event in told] == [
            (EventKind.ACCEPTED, "news@shop.test"),
            (EventKind.DELIVERED, "news@shop.test"),
        ]

    play(scene)


def test_a_report_about_a_message_that_required_tls_requires_it_too(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            await stage.hand_in("a@x.test", ret="HDRS", requiretls=True)
            await stage.until(lambda: stage.reports, "a report")
            ((message, _, content),) = stage.reports
            assert message.requiretls
            assert b"hello" not in content

    play(scene)


def test_success_is_told_only_where_it_was_asked_for_and_the_next_hop_will_not(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, Delivered(Reply(250, "taken", "2.0.0"))) as stage:
            await stage.hand_in("a@x.test", notify="SUCCESS")
            await stage.hand_in("b@x.test")
            await stage.hand_in("c@x.test", notify="FAILURE,DELAY")
            await stage.until(lambda: stage.reports and not stage.queued(), "a report")
            await stage.looks()
            (report,) = stage.read()
            assert [(one.address, one.action) for one in report.recipients] == [("a@x.test", Action.RELAYED)]

    play(scene)


def test_a_delay_is_told_once_and_a_failure_after_it_too(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, BUSY, delay="1h", gather="200ms") as stage:
            await stage.hand_in("a@x.test", stream="slow")
            for attempts, ahead in ((1, 3601.0), (2, 3700.0), (3, 3800.0), (4, 4 * 86_400.0)):
                await stage.until(functools.partial(_deferred, stage, attempts), f"attempt {attempts}")
                if attempts > 1:
                    await stage.until(lambda: stage.reports, "a report of the delay")
                    assert [(one.address, one.action, one.status) for one in stage.read()[0].recipients] == [
                        ("a@x.test", Action.DELAYED, "4.3.1")
                    ]
                assert len(stage.reports) == (attempts > 1)
                stage.ahead = ahead
                stage.core.windows.look()
            await stage.until(lambda: len(stage.reports) > 1 and not stage.queued(), "a report of the end")
            assert [one.action for one in stage.read()[1].recipients] == [Action.FAILED]

    play(scene)


def _deferred(stage: Office, attempts: int) -> bool:
    """Whether the one delivery waits on disk after so many attempts."""
    return [(queued.state, queued.attempts) for queued in stage.queued(stream="slow")] == [(State.QUEUED, attempts)]


def test_nobody_is_told_who_must_not_be(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            await stage.hand_in("a@x.test", sender="")
            await stage.hand_in("b@x.test", sender="victim@other.test")
            await stage.hand_in("c@x.test", account="silent")
            await stage.hand_in("d@x.test", notify="NEVER")
            await stage.hand_in("e@x.test", header=b"Auto-Submitted: auto-replied\r\n")
            await stage.hand_in("f@x.test", header=b"Content-Type: multipart/report; boundary=b\r\n")
            await stage.hand_in("g@x.test", header=b"Auto-Submitted: auto-generated\r\n", notify="FAILURE")
            await stage.until(lambda: stage.reports and not stage.queued(), "the one report")
            await stage.looks()
            assert [[one.address for one in report.recipients] for report in stage.read()] == [["g@x.test"]]
            assert sorted(stage.results) == ["auto-submitted", "report", "sent"]
            assert stage.spool.notices(stage.clock() + 60, 9) == []

    play(scene)


def test_an_account_that_is_told_by_reports_alone_has_no_events_in_the_file(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            await stage.hand_in("a@x.test", account="mail")
            await stage.hand_in("b@x.test", account="shop", notify="NEVER")
            await stage.until(lambda: stage.reports and not stage.queued(), "a report")
            position = stage.core.committer.position
            await stage.until(lambda: stage.core.outbox.backlog == 0, "all events to be published")
        told = stage.events()
        assert {event.account for event in told} == {"shop"}
        assert position > len(told)

    play(scene)


def test_reports_over_the_allowance_are_dropped_and_counted_and_bodies_go(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER, sender_rate="30/h") as stage:
            sent = [await stage.hand_in(f"r{number}@x.test") for number in range(12)]
            await stage.until(lambda: len(stage.results) == 12 and not stage.queued(), "all to be told or dropped")
            assert (stage.results.count("sent"), stage.results.count("rate")) == (3, 9)
            await stage.looks()
            assert stage.spool.notices(stage.clock() + 60, 99) == []
            assert [stage.spool.content(delivery - 1) for (delivery,) in sent] == [None] * 12

    play(scene)


def test_a_sender_whose_own_address_is_suppressed_hears_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            suppression = stage.core.ports.suppression
            suppression.reason = lambda account, stream, recipient: "hard_bounce" if recipient.domain == "shop.test" else None  # type: ignore[method-assign]
            await stage.hand_in("a@x.test")
            await stage.until(lambda: stage.results, "the end of it")
            await stage.looks()
            assert (stage.results, stage.spool.notices(stage.clock() + 60, 9), stage.queued()) == (["suppressed"], [], [])

    play(scene)


def test_a_full_disk_puts_reports_off_and_loses_none(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            write = stage.writer.write
            refusals: list[Any] = []

            async def full(transaction: Any) -> Any:
                if any(accepted.told for accepted in transaction.acceptances) and len(refusals) < 12:
                    refusals.append(transaction)
                    raise SpoolFull("no space")
                return await write(transaction)

            stage.writer.write = full  # type: ignore[method-assign]
            await stage.hand_in("a@x.test")
            await stage.until(lambda: stage.reports and not stage.queued(), "a report in the end")
            assert (len(refusals), stage.results) == (12, ["sent"])  # more often than the allowance has tokens

    play(scene)


def test_a_report_that_cannot_be_made_keeps_no_other_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = report

    def fails_for_one(origin: Any, message: Message, notices: list[Notice], returned: Any) -> bytes:
        if notices[0].recipient == "a@x.test":
            raise ZeroDivisionError
        return made(origin, message, notices, returned)

    monkeypatch.setattr(notifier, "report", fails_for_one)

    async def scene() -> None:
        async with office(tmp_path, NO_USER) as stage:
            await stage.hand_in("a@x.test")
            await stage.hand_in("b@x.test")
            while len(stage.results) < 2:
                await asyncio.sleep(0.01)
            assert sorted(stage.results) == ["damaged", "sent"]
            assert [type(bug) for bug in stage.bugs] == [ZeroDivisionError]
            stage.bugs.clear()

    play(scene)


def test_what_was_not_told_before_a_stop_is_told_after_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with office(tmp_path, NO_USER, gather="1s") as stage:
            await stage.hand_in("a@x.test")
            await stage.until(lambda: not stage.queued(), "the failure")
            assert stage.reports == []
        async with office(tmp_path, NO_USER) as stage:
            await stage.until(lambda: stage.reports and not stage.queued(), "the report")
            await stage.looks()
            assert [[one.address for one in report.recipients] for report in stage.read()] == [["a@x.test"]]

    play(scene)


def test_facts_that_do_not_decode_are_dropped_and_said(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, settings(), deliver=False) as stage:
            stage.core.committer.events([])
        import apsw

        connection = apsw.Connection(str(tmp_path / "spool.sqlite"))
        connection.execute("INSERT INTO notice VALUES (5, 'failed', 6, 0, x'ff')")
        connection.close()
        async with office(tmp_path, NO_USER) as office_:
            await office_.until(lambda: office_.results, "the end of it")
            await office_.looks()
            assert (office_.results, office_.spool.notices(office_.clock(), 9)) == (["damaged"], [])

    play(scene)
