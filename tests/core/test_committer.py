"""Group commit, and its bad days: a disk without space, an acceptance that contradicts the spool, storage that breaks."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.calls import Message
from gateway.core.committer import Committer
from gateway.spool.lifecycle import State
from gateway.spool.port import Acceptance, Change, Note, SpoolBroken, SpoolError, SpoolFull, SpoolRefused, Transaction, Written
from mail.address import Address


class Disk:
    """Writes what it is given while `trouble`, asked with the transaction, is None."""

    def __init__(self) -> None:
        self.written: list[Transaction] = []
        self.trouble: Callable[[Transaction], SpoolError | None] = lambda transaction: None

    async def write(self, transaction: Transaction) -> Written:
        await asyncio.sleep(0)
        trouble = self.trouble(transaction)
        if trouble is not None:
            raise trouble
        self.written.append(transaction)
        return Written(position=len(self.written))


class House:
    """A committer over a disk, and what it told."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.full: list[bool] = []
        self.broken: list[SpoolError] = []
        self.pauses = 0
        self.on_pause: Callable[[], None] = lambda: None
        self.committer = Committer(
            self.disk,
            batch=100,
            unsettled=4,
            on_broken=self.broken.append,
            on_commit=lambda size, seconds: None,
            on_full=self.full.append,
            on_damaged=lambda deliveries: None,
            on_stale=lambda deliveries: None,
            monotonic=lambda: 0.0,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses += 1
        self.on_pause()
        await asyncio.sleep(0)


def ignored(error: SpoolError | None) -> None:
    """Nobody else is told in these tests."""


def _acceptance(number: int) -> Acceptance:
    sender = Address("a@b.example", "b.example")
    return Acceptance(Message("app", "default", sender, "b.example", 0.0, 1, id=number), b"x", 1e9, [], [])


def _change(number: int) -> Change:
    return Change(number, State.DELIVERED, 0.0, [])


def _play(story: Callable[[House], Awaitable[None]]) -> House:
    async def run() -> House:
        house = House()
        house.committer.start()
        await story(house)
        await house.committer.close()
        return house

    return asyncio.run(run())


def test_what_gathers_while_one_commit_is_written_goes_into_the_next() -> None:
    async def story(house: House) -> None:
        first = house.committer.accept(_acceptance(1), ignored)
        await asyncio.sleep(0)
        others = [house.committer.accept(_acceptance(number), ignored) for number in range(2, 10)]
        await asyncio.gather(first, *others)

    house = _play(story)
    assert [len(transaction.acceptances) for transaction in house.disk.written if transaction.acceptances] == [1, 8]


def test_a_full_disk_refuses_mail_and_writes_outcomes() -> None:
    async def story(house: House) -> None:
        house.disk.trouble = lambda transaction: SpoolFull("no space") if transaction.acceptances else None
        accepting = house.committer.accept(_acceptance(1), ignored)
        house.committer.change(_change(7))
        await house.committer.flush()
        assert isinstance(accepting.exception(), SpoolFull)
        assert house.full == [True]
        house.disk.trouble = lambda transaction: None
        await house.committer.accept(_acceptance(2), ignored)

    house = _play(story)
    assert house.full == [True, False]
    assert [change.delivery for transaction in house.disk.written for change in transaction.changes] == [7]


def test_outcomes_that_find_no_space_wait_are_not_lost_and_stop_the_pulling() -> None:
    async def story(house: House) -> None:
        house.disk.trouble = lambda transaction: SpoolFull("no space")
        refused: list[asyncio.Future[None]] = []

        def meanwhile() -> None:
            refused.append(house.committer.accept(_acceptance(house.pauses), ignored))
            if house.pauses == 5:
                house.disk.trouble = lambda transaction: None

        house.on_pause = meanwhile
        for number in range(4):
            house.committer.change(_change(number))
        pulling = asyncio.ensure_future(house.committer.settled())
        await house.committer.flush()
        await pulling
        assert house.pauses == 5
        assert all(isinstance(one.exception(), SpoolFull) for one in refused[:4]), "mail hears 452 while nothing can be written"
        await refused[4]

    house = _play(story)
    assert [change.delivery for transaction in house.disk.written for change in transaction.changes] == [0, 1, 2, 3]
    assert house.broken == []


def test_a_stop_does_not_wait_for_space() -> None:
    async def run() -> None:
        house = House()
        house.committer.start()
        house.disk.trouble = lambda transaction: SpoolFull("no space")
        house.committer.change(_change(1))
        assert not await house.committer.close()

    asyncio.run(run())


def test_an_acceptance_that_contradicts_the_spool_does_not_harm_the_others() -> None:
    async def story(house: House) -> None:
        house.disk.trouble = lambda transaction: (
            SpoolRefused("twice") if any(one.message.id == 2 for one in transaction.acceptances) else None
        )
        one, two, three = (house.committer.accept(_acceptance(number), ignored) for number in (1, 2, 3))
        await asyncio.wait([one, two, three])
        assert (one.exception(), three.exception()) == (None, None)
        assert isinstance(two.exception(), SpoolRefused)

    assert _play(story).broken == []


@pytest.mark.parametrize("error", [SpoolBroken("fsync failed"), RuntimeError("a bug")])
def test_when_storage_breaks_everybody_hears_it_once_and_nothing_more_is_written(error: Exception) -> None:
    async def run() -> None:
        house = House()

        def trouble(transaction: Transaction) -> SpoolError | None:
            raise error

        house.disk.trouble = trouble
        house.committer.start()
        waiters = [house.committer.accept(_acceptance(1), ignored), house.committer.flush()]
        house.committer.note(Note("k", b"v"))
        house.committer.change(_change(1))
        await asyncio.wait(waiters)
        assert all(isinstance(waiter.exception(), SpoolBroken) for waiter in waiters)
        assert len(house.broken) == 1
        later = house.committer.accept(_acceptance(2), ignored)
        assert isinstance(later.exception(), SpoolBroken)
        await house.committer.settled()
        assert not await house.committer.close()
        assert house.disk.written == []

    asyncio.run(run())
