"""Windows and their feeder over a real spool: what is due comes, bounded, and whatever stops on the way is on disk."""

import asyncio
from pathlib import Path

from config.settings import Settings
from gateway.core.duty import duty
from gateway.spool.lifecycle import State
from gateway.spool.port import Hold, SpoolBroken
from mail.outcome import Category, Deferred, Fault, Verdict
from mail.reply import Reply
from tests.core.stage import OK, Stage, play, running

LATER = Deferred(Verdict(Reply(451, "later", "4.3.0"), Category.RECEIVER_TROUBLE, Fault.RECEIVER))


def small(**sending: object) -> Settings:
    return Settings.model_validate(
        {"spool": {"minimum_free": 0}, "sending": {"window": 10, **sending}, "default_provider": {"name": "default", "rate": "none"}}
    )


def test_a_campaign_larger_than_its_window_leaves_whole_and_the_window_stays_bounded(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, small()) as stage:
            stage.controller.hold(Hold(1, 0.0, source="default"))
            deliveries = await stage.send(*(f"r{number}@one.test" for number in range(100)))
            await stage.until(lambda: len(stage.core.held) == 10)
            assert sum(queued.state is State.LEASED for queued in stage.queued()) == 10
            stage.controller.unhold(1)
            stage.core.engine.turn_soon()
            await stage.until(lambda: stage.queued() == [])
            assert sorted(stage.tried) == deliveries
            assert stage.stale == []

    play(scene)


def test_a_large_campaign_does_not_push_a_small_one_out(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, small(windows=100)) as stage:
            stage.core.hold(Hold(1, 0.0, provider="one.test"))
            await stage.send(*(f"r{number}@one.test" for number in range(300)), campaign="large")
            (small_one,) = await stage.send("x@two.test", campaign="small")
            await stage.until(lambda: stage.ended(small_one))
            assert stage.tried == [small_one]

    play(scene)


def test_a_body_that_does_not_fit_the_budget_waits_on_disk_and_is_sent_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, small(body_memory=0)) as stage:
            (delivery,) = await stage.send("a@one.test")
            await stage.until(lambda: stage.ended(delivery))
            assert stage.core.held.body_bytes == 0

    play(scene)


def test_deliveries_of_one_message_share_its_body(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.controller.hold(Hold(1, 0.0, source="default"))
            await stage.send("a@one.test", "b@one.test", "c@two.test")
            await stage.until(lambda: len(stage.core.held) == 3)
            assert 0 < stage.core.held.body_bytes < 40
            stage.controller.unhold(1)
            stage.core.engine.turn_soon()
            await stage.until(lambda: len(stage.core.held) == 0)
            assert stage.core.held.body_bytes == 0

    play(scene)


def test_a_deferred_delivery_comes_back_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.outcome = lambda delivery: LATER
            (delivery,) = await stage.send("a@one.test")
            await stage.until(lambda: [queued for queued in stage.queued() if queued.steps == 1])
            stage.core.windows.look()
            (other,) = await stage.send("b@two.test")
            await stage.until(lambda: other in stage.tried)
            assert stage.tried.count(delivery) == 1
            stage.outcome = lambda delivery: OK
            stage.ahead = 400.0
            stage.core.windows.look()
            await stage.until(lambda: stage.ended(delivery))

    play(scene)


def test_a_stop_leaves_nothing_leased_whatever_was_on_its_way(tmp_path: Path) -> None:
    async def scene() -> None:
        for round_number in range(5):
            stage = Stage(tmp_path)
            assert (stage.core.recovered.returned, stage.core.recovered.clean) == (0, True) or round_number == 0
            stage.core.start()
            stage.controller.hold(Hold(1, 0.0, source="default"))
            senders = [asyncio.ensure_future(stage.send(f"r{number}@{domain}.test")) for number in range(30) for domain in ("a", "b", "c")]
            for _ in range(round_number * 3):
                await asyncio.sleep(0)
            await asyncio.sleep(0.003 * round_number)
            await stage.close()
            await asyncio.gather(*senders, return_exceptions=True)
            assert stage.bugs == []

    play(scene)


def test_after_a_stop_everything_is_sent_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.controller.hold(Hold(1, 0.0, source="default"))
            deliveries = await stage.send(*(f"r{number}@one.test" for number in range(50)))
        async with running(tmp_path) as again:
            await again.until(lambda: again.queued() == [])
            assert sorted(again.tried) == deliveries
        assert sum(event.kind == "delivered" for event in again.events()) == 50

    play(scene)


def test_a_standing_task_that_fails_is_told_and_begins_again() -> None:
    told: list[BaseException] = []
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("a bug")

    asyncio.run(duty(run, lambda: False, told.append))
    assert runs == 2
    assert [str(bug) for bug in told] == ["a bug"]


def test_a_standing_task_ends_in_silence_when_storage_is_broken() -> None:
    broken = False
    told: list[BaseException] = []

    async def run() -> None:
        nonlocal broken
        broken = True
        raise SpoolBroken("gone")

    asyncio.run(duty(run, lambda: broken, told.append))
    assert told == []
