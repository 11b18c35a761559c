"""Deliveries without a route: asked once a domain, deferred or failed with their events, and found again."""

import asyncio
from pathlib import Path

from gateway.delivery.route import Routing
from gateway.spool.port import Transaction, Written
from mail.event import EventKind
from mail.outcome import Category, Deferred, Failed, Fault, Phase, Verdict
from mail.reply import Reply
from tests.core.stage import Routes, play, running, unroutable

NO_ANSWER = Verdict(Reply(451, "no answer", "4.4.3", synthetic=True), Category.ROUTING, Fault.NETWORK, "dns-trouble", Phase.ROUTE)
NOBODY = Verdict(Reply(556, "null MX", "5.1.10", synthetic=True), Category.BAD_DOMAIN, Fault.RECIPIENT, "null-mx", Phase.ROUTE)


def test_a_domain_is_asked_once_for_all_its_deliveries(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = True
            deliveries = await stage.send(*(f"r{number}@one.test" for number in range(50)), "x@two.test")
            await stage.until(lambda: stage.queued() == [])
            assert sorted(stage.tried) == deliveries
            assert sorted(stage.routes.asked) == ["one.test", "two.test"]

    play(scene)


def test_a_domain_that_takes_no_mail_fails_its_deliveries(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = True
            stage.routes.told["null.test"] = unroutable(Failed(NOBODY))
            (delivery,) = await stage.send("a@null.test")
            await stage.until(lambda: stage.ended(delivery))
            assert stage.stale == []
        accepted, bounced = (event for event in stage.events() if event.kind in (EventKind.ACCEPTED, EventKind.BOUNCED))
        assert (bounced.category, bounced.hard, bounced.attempt, bounced.phase) == ("bad-domain", True, 1, "route")
        assert accepted.delivery == bounced.delivery

    play(scene)


def test_a_name_server_in_trouble_defers_by_the_schedule_and_each_time_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = True
            stage.routes.told["lost.test"] = unroutable(Deferred(NO_ANSWER))
            (delivery,) = await stage.send("a@lost.test")
            for steps in (1, 2, 3):
                await stage.until(lambda steps=steps: [queued for queued in stage.queued() if queued.steps == steps])  # type: ignore[misc]
                stage.ahead += 20_000.0
                stage.core.unrouted.look_again()
            del stage.routes.told["lost.test"]
            stage.ahead += 20_000.0
            stage.core.unrouted.look_again()
            await stage.until(lambda: stage.ended(delivery))
            assert stage.stale == []
        kinds = [event.kind for event in stage.events()]
        assert kinds[0] is EventKind.ACCEPTED
        assert kinds[-1] is EventKind.DELIVERED
        assert set(kinds[1:-1]) == {EventKind.DEFERRED}
        assert [event.attempt for event in stage.events()] == list(range(len(kinds)))

    play(scene)


def test_a_refusal_that_is_not_yet_on_disk_is_not_given_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = True
            stage.routes.told["lost.test"] = unroutable(Deferred(NO_ANSWER))
            write, gate = stage.writer.write, asyncio.Event()

            async def slow(transaction: Transaction) -> Written:
                if transaction.changes:
                    await gate.wait()
                return await write(transaction)

            stage.core.committer._writer.write = slow  # type: ignore[method-assign]
            await stage.send("a@lost.test")
            await stage.until(lambda: stage.core.committer.unsettled == 1)
            for _ in range(20):
                stage.core.unrouted.look_again()
                await asyncio.sleep(0)
            unsettled = stage.core.committer.unsettled
            gate.set()
            assert unsettled == 1
            await stage.core.committer.flush()
            assert [queued.attempts for queued in stage.queued()] == [1]
        assert [event.kind for event in stage.events()] == [EventKind.ACCEPTED, EventKind.DEFERRED]

    play(scene)


def test_a_router_that_breaks_is_told_and_the_mail_waits(tmp_path: Path) -> None:
    class Broken(Routes):
        broken = True

        async def route(self, domain: str) -> Routing:
            if self.broken:
                raise RuntimeError("a bug of ours")
            return await super().route(domain)

    async def scene() -> None:
        async with running(tmp_path) as stage:
            router = Broken()
            router.slow = True
            stage.core.unrouted._router = router  # type: ignore[assignment]
            stage.routes.slow = True
            (delivery,) = await stage.send("a@one.test")
            while not any(queued.steps == 1 for queued in stage.queued()):
                await stage.core.committer.flush()
            assert [str(bug) for bug in stage.bugs] == ["a bug of ours"]
            stage.bugs.clear()
            router.broken = False
            stage.ahead = 1000.0
            stage.core.unrouted.look_again()
            await stage.until(lambda: stage.ended(delivery))

    play(scene)


def test_what_an_earlier_run_left_without_a_route_is_found(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, deliver=False) as stage:
            stage.routes.slow = True
            deliveries = await stage.send("a@one.test", "b@two.test")
        async with running(tmp_path) as again:
            await again.until(lambda: again.queued() == [])
            assert sorted(again.tried) == deliveries

    play(scene)
