"""Threads for private-key operations, and the way back into the loop.

The library releases the GIL while it signs, so signing uses other cores, and a large message does not hold the loop. Against the standard
executor: no condition variable a job, and finished jobs come back in bunches, one wake-up of the loop for all that are ready.

Promises: a job whose caller was cancelled is skipped if it has not begun, else its result is dropped; an exception of a job is for its
caller; `close` ends the threads, and jobs not begun fail with PoolClosed. The number of waiting jobs is bounded by that of the callers.
"""

import asyncio
import collections
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class PoolClosed(Exception):
    """The pool was closed before the job began."""


class _Return:
    """Results on their way back into one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: collections.deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = collections.deque()
        self._woken = False

    def put(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Called by threads. The result first, then the look at the flag: whoever finds it unset wakes the loop."""
        self._done.append((future, result, error))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed, nobody waits
                pass

    def _deliver(self) -> None:
        """Called by the loop. The flag first, then the results: one that comes too late for this round finds the flag unset."""
        self._woken = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)


_Job = tuple[_Return, asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Pool:
    """A fixed number of threads, begun at the first job."""

    def __init__(self, threads: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)]
        self._begun = False
        self._closed = False
        self._return: _Return | None = None

    def submit(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run `function(*arguments)` in a thread; await the future. Raises PoolClosed."""
        if self._closed:
            raise PoolClosed
        if not self._begun:
            self._begun = True
            for thread in self._threads:
                thread.start()
        loop = asyncio.get_running_loop()
        back = self._return
        if back is None or back.loop is not loop:
            back = self._return = _Return(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((back, future, function, arguments))
        return future

    def waiting(self) -> int:
        """Jobs not begun: for the gauge."""
        return self._jobs.qsize()

    def close(self) -> None:
        """End the threads; returns when they have ended."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        if self._begun:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            back, future, function, arguments = job
            if future.done():
                continue
            if self._closed:
                back.put(future, None, PoolClosed())
                continue
            try:
                result = function(*arguments)
            except BaseException as error:
                back.put(future, None, error)
            else:
                back.put(future, result, None)
            del job, back, future, function, arguments  # keep nothing while waiting for the next
