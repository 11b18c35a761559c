"""The boundary to the writing process: what travels, what happens when it dies, and that a cancelled caller disturbs nobody."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from config.settings import Spool as SpoolSettings
from gateway.spool.lifecycle import State
from gateway.spool.port import (
    Acceptance,
    Change,
    LeaseRequest,
    NewFlow,
    Selection,
    SpoolBroken,
    SpoolError,
    SpoolLocked,
    SpoolRefused,
    Transaction,
    Written,
)
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.writer import ThreadWriter, Writer
from tests.spool.contract import FLOW, KEY, NOW, accept, message


def opened(folder: Path) -> SqliteSpool:
    spool = SqliteSpool(folder, SpoolSettings(), 86_400.0)
    spool.recover(1, NOW)
    return spool


def run(folder: Path, work: Callable[[SqliteSpool, Writer], Awaitable[None]]) -> None:
    async def main() -> None:
        spool = opened(folder)
        writer = Writer(spool)
        try:
            await asyncio.wait_for(work(spool, writer), 30)
        finally:
            await writer.close()
            spool.close(clean=True)

    asyncio.run(main())


def test_what_the_process_writes_is_read_here_and_what_it_leases_comes_back(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        written = await writer.write(Transaction(flows=[NewFlow(FLOW, KEY)], acceptances=[accept(10, 2), accept(20, leased=True)]))
        assert written == Written(position=3)
        written = await writer.write(
            Transaction(changes=[Change(21, State.DELIVERED, NOW, [b"delivered"])], leases=[LeaseRequest(FLOW, NOW, 9, NOW + 60)])
        )
        assert [found.id for found in written.leased[0].deliveries] == [11, 12]
        assert written.leased[0].deliveries[0].message == message(10)
        assert spool.count(Selection()) == 2
        assert await writer.tidy(NOW) is False
        assert writer.wal_bytes > 0

    run(tmp_path, work)


def test_a_refused_transaction_is_an_error_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        await writer.write(Transaction(acceptances=[accept(10)]))
        with pytest.raises(SpoolRefused):
            await writer.write(Transaction(acceptances=[accept(10)]))
        await writer.write(Transaction(acceptances=[accept(20)]))
        assert spool.count(Selection()) == 2

    run(tmp_path, work)


async def stop(process: int) -> None:
    """Stop a process, and see it stopped: a signal takes its time."""
    stopped = psutil.Process(process)
    stopped.suspend()
    while stopped.status() != psutil.STATUS_STOPPED:
        await asyncio.sleep(0)


def test_a_process_that_dies_breaks_the_spool_and_everything_after_is_refused(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        await writer.write(Transaction(acceptances=[accept(10)]))
        await stop(writer.process)
        write = asyncio.ensure_future(writer.write(Transaction(acceptances=[accept(20)])))
        await asyncio.sleep(0)
        os.kill(writer.process, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(SpoolBroken):
                await write
            write = asyncio.ensure_future(writer.write(Transaction(acceptances=[accept(30)])))
        with pytest.raises(SpoolBroken):
            await write
        assert spool.count(Selection(ids=[10])) == 1

    run(tmp_path, work)


def test_signals_meant_for_the_gateway_do_not_end_the_writing_process(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        await writer.write(Transaction(acceptances=[accept(10)]))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(writer.process, number)
        await writer.write(Transaction(acceptances=[accept(20)]))

    run(tmp_path, work)


def test_a_write_that_waits_for_long_is_told(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        await writer.write(Transaction(acceptances=[accept(10)]))
        assert writer.silence(0.0) is None
        await stop(writer.process)
        write = asyncio.ensure_future(writer.write(Transaction(acceptances=[accept(20)])))
        while not writer.silence(0.05):
            await asyncio.sleep(0.01)
        os.kill(writer.process, signal.SIGCONT)
        await write
        assert writer.silence(0.0) is None

    run(tmp_path, work)


def test_a_write_whose_caller_was_cancelled_is_finished_and_the_next_is_not_disturbed(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        await writer.write(Transaction(acceptances=[accept(10)]))
        first = asyncio.ensure_future(writer.write(Transaction(acceptances=[accept(20)], events=[b"x"])))
        await asyncio.sleep(0)
        first.cancel()
        written = await asyncio.gather(*(writer.write(Transaction(acceptances=[accept(number)])) for number in (30, 40, 50)))
        assert [one.position for one in written] == [4, 5, 6]
        assert spool.count(Selection(ids=[20])) == 1

    run(tmp_path, work)


def test_a_transaction_larger_than_the_shared_room_goes_through_the_socket(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        content = os.urandom(18_000_000)
        large = [Acceptance(one.message, content, one.expires, one.deliveries, one.events) for one in (accept(10), accept(20))]
        await writer.write(Transaction(acceptances=large))
        assert spool.content(20) == content

    run(tmp_path, work)


def test_the_spool_has_the_writing_again_after_the_writer_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        spool = opened(tmp_path)
        writer = Writer(spool)
        await writer.write(Transaction(acceptances=[accept(10, leased=True)], events=[b"a"]))
        with pytest.raises(SpoolError):
            spool.write(Transaction())
        await writer.close()
        with pytest.raises(SpoolBroken):
            await writer.write(Transaction())
        written = spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW)], events=[b"b"]))
        assert (written.stale, written.position) == ([], 3)
        spool.close(clean=True)

    asyncio.run(main())


def test_a_writer_that_was_never_used_ends_too(tmp_path: Path) -> None:
    async def work(spool: SqliteSpool, writer: Writer) -> None:
        return None

    run(tmp_path, work)


def test_the_folder_stays_locked_while_an_orphaned_writing_process_lives(tmp_path: Path) -> None:
    async def main() -> None:
        spool = opened(tmp_path)
        writer = Writer(spool)
        await writer.write(Transaction(acceptances=[accept(10)]))
        spool.close(clean=False)  # as if only the gateway had ended
        with pytest.raises(SpoolLocked):
            SqliteSpool(tmp_path, SpoolSettings(), 86_400.0)
        await writer.close()
        SqliteSpool(tmp_path, SpoolSettings(), 86_400.0).close(clean=True)

    asyncio.run(main())


def test_a_thread_keeps_the_same_promises(tmp_path: Path) -> None:
    async def main() -> None:
        spool = opened(tmp_path)
        writer = ThreadWriter(spool)
        await asyncio.gather(*(writer.write(Transaction(acceptances=[accept(number)])) for number in (10, 20, 30)))
        with pytest.raises(SpoolRefused):
            await writer.write(Transaction(acceptances=[accept(10)]))
        assert await writer.tidy(NOW) is False
        await writer.close()
        assert spool.count(Selection()) == 3
        spool.close(clean=True)

    asyncio.run(main())
