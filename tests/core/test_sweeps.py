"""Expiry, cancel, retry and reroute over a real spool: nothing is missed in a window, and nothing leaves after it was ended."""

from functools import partial
from pathlib import Path

import pytest

from config.settings import Settings
from gateway.core import sweeps
from gateway.core.sweeps import OPERATIONS, Operation
from gateway.delivery.route import Unroutable
from gateway.spool.lifecycle import State
from gateway.spool.port import Hold, Selection
from mail.outcome import Category, Deferred, Fault, Verdict
from mail.reply import Reply
from tests.core.stage import Stage, play, running, unroutable

LATER = Deferred(Verdict(Reply(451, "later", "4.3.0"), Category.RECEIVER_TROUBLE, Fault.RECEIVER))
NOWHERE = Deferred(Verdict(Reply(451, "no answer", "4.4.3", synthetic=True), Category.ROUTING, Fault.NETWORK))


def lane_held(stage: Stage) -> None:
    """Nothing leaves; deliveries come into windows all the same."""
    stage.controller.hold(Hold(1, 0.0, source="default"))


def with_retry(**retry: object) -> Settings:
    return Settings.model_validate({"spool": {"minimum_free": 0}, "stream": [{"name": "default", "retry": retry}]})


def test_what_waits_in_a_window_behind_a_closed_lane_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "EVERY", 0.02)

    async def scene() -> None:
        async with running(tmp_path, with_retry(first="1s", longest="1s", lifetime="1h")) as stage:
            lane_held(stage)
            (delivery,) = await stage.send("a@one.test")
            await stage.until(lambda: len(stage.core.held) == 1)
            stage.ahead = 3700.0
            await stage.until(lambda: stage.ended(delivery))
            entry = stage.ended(delivery)
            assert entry is not None
            assert entry.state is State.EXPIRED
            assert len(stage.core.held) == 0
            assert stage.tried == []

    play(scene)


@pytest.mark.parametrize("count", [1, 150, 500])
def test_a_cancel_ends_what_is_in_windows_and_on_disk(tmp_path: Path, count: int) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            lane_held(stage)
            await stage.send(*(f"r{number}@one.test" for number in range(count)))
            (other,) = await stage.send("other@one.test", campaign="winter")
            await stage.until(lambda: len(stage.core.held) > min(count, 100))
            touched = await stage.core.sweeper.operate(Operation(9, "cancel", Selection(campaign="spring"), stage.clock(), "wrong"))
            assert touched == count
            assert [queued.id for queued in stage.queued()] == [other]
            stage.controller.unhold(1)
            stage.core.engine.turn_soon()
            await stage.until(lambda: stage.ended(other))
            assert stage.tried == [other]
            assert stage.stale == []
        assert sum(event.kind == "cancelled" for event in stage.events()) == count

    play(scene)


def test_a_cancel_by_the_message_takes_its_deliveries(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            lane_held(stage)
            await stage.send("a@one.test", "b@two.test")
            (queued, _) = stage.queued()
            assert await stage.core.sweeper.operate(Operation(9, "cancel", Selection(ids=[queued.message.id]), stage.clock())) == 2

    play(scene)


def test_what_is_leased_while_a_cancel_reads_does_not_leave(tmp_path: Path) -> None:
    """The page of a cancel is read before a lease that is being written, and ended after it."""

    async def scene() -> None:
        async with running(tmp_path, deliver=False) as stage:
            stage.controller.hold(Hold(1, 0.0, campaign="spring"))  # so that it waits on disk
            (delivery,) = await stage.send("a@one.test")
            page = stage.queued()
            assert [queued.state for queued in page] == [State.QUEUED]
            stage.controller.hold(Hold(2, 0.0, source="default"))
            stage.controller.unhold(1)
            stage.core.windows.start()
            await stage.until(lambda: stage.core.held.get(delivery))
            sweeper = stage.core.sweeper
            assert await sweeper._end_page(page, lambda held: sweeper.settler.cancel(held, "wrong", stage.clock())) == 1
            assert stage.core.held.get(delivery) is None
            stage.controller.unhold(2)
            (later,) = await stage.send("b@one.test")
            await stage.until(lambda: stage.ended(later))
            assert stage.tried == [later]

    play(scene)


def test_a_retry_makes_due_what_has_no_route_too(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, with_retry(first="1h", longest="1h")) as stage:
            stage.routes.slow = True
            stage.routes.told["lost.test"] = unroutable_for_now()
            (delivery,) = await stage.send("a@lost.test")
            await stage.until(lambda: [queued for queued in stage.queued() if queued.attempts == 1])
            (queued,) = stage.queued()
            assert (queued.steps, queued.flow) == (1, 0)
            assert queued.due > stage.clock() + 3000
            del stage.routes.told["lost.test"]
            await stage.core.sweeper.operate(Operation(9, "retry", Selection(ids=[delivery]), stage.clock()))
            await stage.until(lambda: stage.ended(delivery))
            assert stage.stale == []
        assert [event.kind for event in stage.events()] == ["accepted", "deferred", "delivered"]

    play(scene)


def test_a_reroute_takes_deliveries_in_windows_to_the_new_way(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            lane_held(stage)
            (delivery,) = await stage.send("a@one.test")
            await stage.until(lambda: len(stage.core.held) == 1)
            before = stage.queued()[0].flow
            assert await stage.core.sweeper.operate(Operation(9, "reroute", Selection(domain="one.test"), stage.clock())) == 1
            assert stage.routes.asked == [] or stage.routes.asked == ["one.test"]
            await stage.until(lambda: stage.routes.asked == ["one.test"])
            await stage.until(lambda: stage.queued()[0].flow == before)
            stage.controller.unhold(1)
            stage.core.engine.turn_soon()
            await stage.until(lambda: stage.ended(delivery))

    play(scene)


def test_an_operation_that_was_interrupted_is_finished_even_after_a_command_without_a_gateway(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, deliver=False) as stage:
            await stage.send("a@one.test")
            sweeper = stage.core.sweeper
            sweeper._unfinished[5] = Operation(5, "cancel", Selection(campaign="spring"), stage.clock())
            sweeper._note_unfinished()
            await stage.core.committer.flush()
        async with running(tmp_path, deliver=False) as stage:
            assert await stage.core.sweeper.operate(Operation(6, "retry", Selection(campaign="no"), stage.clock())) == 0
            assert stage.spool.note(OPERATIONS) is not None
        async with running(tmp_path) as stage:
            await stage.until(lambda: stage.queued() == [])
            await stage.until(lambda: stage.spool.note(OPERATIONS) == b"[]")
            assert stage.tried == []

    play(scene)


def test_a_flow_that_was_forgotten_may_come_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            for number in range(3):
                (delivery,) = await stage.send(f"a{number}@one.test")
                await stage.until(partial(stage.ended, delivery))
                for _ in range(3):
                    await stage.until(lambda: len(stage.core.held) == 0)
                    stage.core.forget_flows(stage.spool.backlog())
                assert len(stage.core.flows) == 0
                await stage.core.committer.flush()
            with_reader = stage.spool.reader()
            assert with_reader.connection.execute("SELECT count(*) FROM flow").get == 0
            with_reader.close()

    play(scene)


def test_a_domain_on_hold_is_looked_at_and_released_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.core.hold(Hold(3, stage.clock(), domain="one.test"))
            held, free = await stage.send("a@one.test", "b@two.test")
            await stage.until(lambda: stage.ended(free))
            await stage.until(lambda: [queued for queued in stage.queued() if queued.due > stage.clock() + 100])
            assert stage.tried == [free]
            assert all(lane.handed == (lane.lane.provider == "two.test") for lane in stage.controller.lanes(stage.clock()))
            stage.core.release(3)
            await stage.until(lambda: stage.ended(held))

    play(scene)


def test_a_hold_with_an_end_ends_by_itself_and_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "EVERY", 0.02)

    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.core.hold(Hold(3, stage.clock(), stage.clock() + 1000, campaign="spring"))
            (delivery,) = await stage.send("a@one.test")
            await stage.core.committer.flush()
            assert stage.tried == []
            stage.ahead = 1001.0
            await stage.until(lambda: stage.ended(delivery))
            assert stage.core.holds == {}

    play(scene)


def unroutable_for_now() -> Unroutable:
    return unroutable(NOWHERE)
