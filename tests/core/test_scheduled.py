"""Send-at and deadline over a real spool: nothing leaves before its time, whoever makes it due, and nothing after its deadline."""

from pathlib import Path

import pytest

from gateway.calls import Committed, Message, MessageLabels, Refused, Submission
from gateway.core import sweeps
from gateway.core.sweeps import Operation
from gateway.delivery.route import Unroutable
from gateway.spool.lifecycle import State
from gateway.spool.port import Selection
from mail.address import Address
from mail.event import EventKind
from mail.outcome import Category, Deferred, Fault, Verdict
from mail.reply import Reply
from tests.core.stage import CONTENT, Stage, play, running, unroutable

DAY = 86_400.0
LATER = Deferred(Verdict(Reply(451, "later", "4.3.0"), Category.RECEIVER_TROUBLE, Fault.RECEIVER))
NOWHERE = Deferred(Verdict(Reply(451, "no answer", "4.4.3", synthetic=True), Category.ROUTING, Fault.NETWORK))


async def send(stage: Stage, recipient: str, *, send_at: float = 0.0, deadline: float = 0.0) -> int:
    """Hand a message in whose times are seconds from now."""
    now = stage.clock()
    labels = MessageLabels(contact="c1", tags=("a",), metadata={"k": "v"}, send_at=now + send_at if send_at else 0.0)
    sender = Address("news@shop.test", "shop.test")
    message = Message("shop", "default", sender, "shop.test", now, len(CONTENT), campaign="spring", labels=labels)
    address = Address(recipient, recipient.rpartition("@")[2])
    answer: Committed | Refused = await stage.core.accept(
        Submission(message, [address], CONTENT, deadline=now + deadline if deadline else 0.0)
    )
    assert isinstance(answer, Committed), answer
    return answer.deliveries[0]


@pytest.mark.parametrize("slow", [False, True], ids=["routed at once", "routed later"])
def test_nothing_is_tried_before_its_send_at_and_its_lifetime_begins_there(tmp_path: Path, slow: bool) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = slow
            stage.outcome = lambda delivery: LATER
            late = await send(stage, "a@one.test", send_at=20 * DAY)
            stage.routes.slow = False
            soon = await send(stage, "b@one.test")
            await stage.until(lambda: stage.tried == [soon])
            await stage.until(lambda: all(queued.flow for queued in stage.queued(ids=[late])), "it to be routed before its time")
            await stage.core.sweeper.operate(Operation(9, "retry", Selection(), stage.clock()))
            await stage.until(lambda: stage.queued(ids=[late])[0].due > stage.clock() + 19 * DAY, "it to be put back")
            assert late not in stage.tried
            stage.ahead = 20 * DAY + 1.0
            stage.core.windows.look()
            await stage.until(lambda: late in stage.tried)
            await stage.until(lambda: stage.queued(ids=[late])[0].attempts == 1, "a retry, for its lifetime has only begun")

    play(scene)


def test_what_has_no_route_before_its_send_at_is_not_tried_for_that(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.routes.slow = True
            stage.routes.told["gone.test"] = unroutable(NOWHERE)
            assert isinstance(stage.routes.told["gone.test"], Unroutable)
            late = await send(stage, "a@gone.test", send_at=3600.0)
            await stage.until(lambda: stage.routes.asked)
            (queued,) = stage.queued(ids=[late])
            assert (queued.attempts, queued.due > stage.clock() + 3000) == (0, True)
            del stage.routes.told["gone.test"]
            stage.ahead = 3601.0
            stage.core.unrouted.look_again()
            await stage.until(lambda: late in stage.tried)

    play(scene)


def test_a_deadline_ends_a_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "EVERY", 0.02)

    async def scene() -> None:
        async with running(tmp_path) as stage:
            stage.outcome = lambda delivery: LATER
            short = await send(stage, "a@one.test", deadline=600.0)
            over = await send(stage, "b@one.test", deadline=-5.0)
            await stage.until(lambda: stage.ended(over))
            await stage.until(lambda: stage.queued(ids=[short])[0].attempts == 1)
            assert over not in stage.tried
            stage.ahead = 601.0
            await stage.until(lambda: stage.ended(short))
            entries = [stage.ended(short), stage.ended(over)]
            assert [entry.state for entry in entries if entry] == [State.EXPIRED, State.EXPIRED]
        ends = [event for event in stage.events() if event.kind is EventKind.EXPIRED]
        assert [(event.contact, event.tags, event.metadata) for event in ends] == [("c1", ("a",), {"k": "v"})] * 2

    play(scene)


def test_labels_and_send_at_survive_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            late = await send(stage, "a@one.test", send_at=3600.0)
        async with running(tmp_path) as again:
            assert again.queued(ids=[late])[0].due > again.clock() + 3000
            again.ahead = 3601.0
            again.core.windows.look()
            await again.until(lambda: late in again.tried)
            await again.until(lambda: again.ended(late))
        accepted, delivered = again.events()
        assert (accepted.kind, delivered.kind) == (EventKind.ACCEPTED, EventKind.DELIVERED)
        assert accepted.next_attempt_at == pytest.approx(accepted.at + 3600.0, abs=5.0)
        assert (delivered.contact, delivered.tags, delivered.metadata) == ("c1", ("a",), {"k": "v"})

    play(scene)
