"""One key, many sends, over a real spool: everybody is tried once, windows get back what they reserved, and every send is answered."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.calls import Committed, Message, Refused, Submission
from gateway.spool.port import SpoolFull
from mail.address import Address
from mail.event import EventKind
from tests.core.stage import CONTENT, Stage, play, running

KEY = b"k" * 16


def submission(stage: Stage, *recipients: str, key: bytes = KEY, body: int = 1) -> Submission:
    sender = Address("news@shop.test", "shop.test")
    message = Message("shop", "default", sender, "shop.test", stage.clock(), len(CONTENT), campaign="spring")
    return Submission(message, [Address(one, one.rpartition("@")[2]) for one in recipients], CONTENT, key=key, body=body)


async def send(stage: Stage, *recipients: str, key: bytes = KEY) -> Committed:
    answer: Committed | Refused = await stage.core.accept(submission(stage, *recipients, key=key))
    assert isinstance(answer, Committed), answer
    return answer


@pytest.mark.parametrize("together", [True, False], ids=["in one commit", "one commit after the other"])
def test_sends_under_one_key_are_tried_once_each(tmp_path: Path, together: bool) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            people = [f"r{number}@d{number % 7}.test" for number in range(50)]
            sends = [send(stage, *people) for _ in range(20)]
            answers = await asyncio.gather(*sends) if together else [await one for one in sends]
            await stage.until(lambda: not stage.queued())
            (first, *others) = answers
            assert (len(first.deliveries), first.repeated) == (50, 0)
            assert {(one.message, tuple(one.deliveries), one.repeated, one.first) for one in others} == {
                (first.message, (), 50, first.message)
            }
            assert Counter(stage.tried) == Counter(first.deliveries)
            assert (stage.core.windows._reserved, stage.core.windows._reserved_bytes) == ({}, 0)
            await stage.core.committer.flush()
        kinds = Counter(event.kind for event in stage.events())
        assert kinds == {EventKind.ACCEPTED: 50, EventKind.DELIVERED: 50}

    play(scene)


def test_a_campaign_of_one_message_each_under_one_key_is_tried_once_each(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            people = [f"r{number}@one.test" for number in range(150)]
            answers = await asyncio.gather(*(send(stage, person) for person in people * 3))
            assert sum(answer.repeated for answer in answers) == 300
            await stage.until(lambda: not stage.queued())
            assert len(stage.tried) == len(set(stage.tried)) == 150
            assert stage.core.windows._reserved == {}

    play(scene)


def test_new_recipients_under_a_known_key_are_sent_to(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            first = await send(stage, "a@one.test", "b@one.test")
            second = await send(stage, "b@one.test", "c@one.test", "d@one.test")
            third = await send(stage, "a@one.test", "c@one.test")
            assert (len(second.deliveries), second.repeated, second.first) == (2, 1, first.message)
            assert second.message not in (0, first.message)
            assert (third.message, third.deliveries, third.repeated) == (first.message, [], 2)
            assert len((await send(stage, "a@one.test", key=b"another key, 16b")).deliveries) == 1
            await stage.until(lambda: not stage.queued())
            assert len(stage.tried) == 5

    play(scene)


def test_a_full_disk_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with running(tmp_path) as stage:
            write = stage.spool.write
            with monkeypatch.context() as patch:

                def full(transaction: object) -> object:
                    if getattr(transaction, "acceptances", None):
                        raise SpoolFull("no space")
                    return write(transaction)  # type: ignore[arg-type]

                patch.setattr(stage.spool, "write", full)
                refused = await stage.core.accept(submission(stage, "a@one.test"))
                assert isinstance(refused, Refused)
                assert refused.reply.code == 452
            assert (await send(stage, "a@one.test")).repeated == 0
            await stage.until(lambda: len(stage.tried) == 1)
            assert stage.core.windows._reserved == {}

    play(scene)
