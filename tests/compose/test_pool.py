"""The signing pool: results and exceptions reach their callers, cancelled callers harm nobody, closing ends everything."""

import asyncio
import threading

import pytest

from gateway.compose.pool import Pool, PoolClosed


def test_results_and_exceptions_reach_their_callers() -> None:
    def fail() -> None:
        raise KeyError("mine")

    async def scenario() -> list[object]:
        pool = Pool(2, "test")
        jobs = [pool.submit(pow, number, 2) for number in range(200)]
        broken = pool.submit(fail)
        results: list[object] = list(await asyncio.gather(*jobs, broken, return_exceptions=True))
        pool.close()
        return results

    results = asyncio.run(scenario())
    assert results[:-1] == [number * number for number in range(200)]
    assert isinstance(results[-1], KeyError)


def test_a_cancelled_job_that_has_not_begun_is_skipped() -> None:
    begun: list[int] = []
    gate = threading.Event()

    async def scenario() -> None:
        pool = Pool(1, "test")
        first = pool.submit(gate.wait)
        jobs = [pool.submit(begun.append, number) for number in range(4)]
        jobs[1].cancel()
        gate.set()
        await first
        await asyncio.gather(*jobs, return_exceptions=True)
        pool.close()

    asyncio.run(scenario())
    assert begun == [0, 2, 3]


def test_a_closed_pool_fails_what_has_not_begun_and_takes_nothing_more() -> None:
    gate = threading.Event()

    async def scenario() -> list[object]:
        pool = Pool(1, "test")
        begun = threading.Event()

        def wait() -> bool:
            begun.set()
            return gate.wait()

        first = pool.submit(wait)
        second = pool.submit(pow, 2, 2)
        begun.wait()
        closing = threading.Thread(target=pool.close)
        closing.start()
        closing.join(0.05)  # it waits for the job that has begun, so it is closed by now and has not ended
        gate.set()
        results: list[object] = list(await asyncio.gather(first, second, return_exceptions=True))
        closing.join()
        with pytest.raises(PoolClosed):
            pool.submit(gate.wait)
        pool.close()
        return results

    first, second = asyncio.run(scenario())
    assert first is True
    assert isinstance(second, PoolClosed)


def test_one_pool_serves_one_loop_after_another() -> None:
    pool = Pool(2, "test")

    async def square(number: int) -> int:
        return await pool.submit(pow, number, 2)

    assert [asyncio.run(square(number)) for number in range(5)] == [0, 1, 4, 9, 16]
    pool.close()


def test_a_result_for_a_loop_that_ended_is_dropped() -> None:
    pool = Pool(1, "test")
    gate = threading.Event()

    async def leave() -> None:
        pool.submit(gate.wait)

    async def stay() -> int:
        return await pool.submit(pow, 3, 2)

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(stay()) == 9
    pool.close()


def test_a_pool_that_was_never_used_closes() -> None:
    Pool(2, "test").close()
