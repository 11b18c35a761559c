"""Work on many pieces in several processes, results in the order of the pieces, with a bound on what is under way: one piece a process.

Processes are started fresh (spawn) and run with a lower priority than mail. They end with their parent, also when that is killed: each
reads a pipe that only the parent writes, and leaves when it closes. On bad days: an exception in the work, or a process that dies, is a
StoreError here, and the other processes are ended.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from contacts.trouble import StoreError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

NICE = 10
"""Added to the niceness of each process."""


def processors() -> int:
    """How many processes are worth having here: one for each processor, four at most."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def in_order(work: Callable[[Piece], Result], pieces: Iterable[Piece], processes: int) -> Iterator[Result]:
    """`work` of each piece, in order. With one process or fewer it happens here. `work`, pieces and results are pickled."""
    if processes <= 1:
        yield from map(work, pieces)
        return
    workers = [_Worker(work) for _ in range(processes)]
    try:
        number = 0
        for piece in pieces:
            worker = workers[number % processes]
            if number >= processes:
                yield worker.result()
            worker.give(piece)
            number += 1
        for left in range(max(0, number - processes), number):
            yield workers[left % processes].result()
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Piece, Result]):
    def __init__(self, work: Callable[[Piece], Result]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, piece: Piece) -> None:
        with _translated():
            self._pipe.send(piece)

    def result(self) -> Result:
        with _translated():
            done, answer = self._pipe.recv()
        if not done:
            raise StoreError(answer)
        result: Result = answer
        return result

    def end(self) -> None:
        """It leaves by itself; a piece under way is not waited for."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise StoreError("a worker process died") from error


def _serve(pipe: "Connection", work: Callable[[Piece], object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to answer
    with contextlib.suppress(OSError):
        os.nice(NICE)
    while True:
        try:
            piece = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, work(piece))
        except Exception as error:
            answer = (False, f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except OSError:
            return
