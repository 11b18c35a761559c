"""The gateway's end of the signing processes: a digest goes in, the signature comes out (the other end: gateway.compose.signing_process).

RSA is most of what a message costs. In threads of this process it ran beside the loop, but each signature took the interpreter from the
loop twice; in a process it takes nothing (docs/decisions, 0015). Jobs of one turn of the loop leave in one write, answers come in bunches.
A private key travels once, over a socket that only the two processes have, and is written nowhere.

Promises: every job ends, with its signature or with SigningFailed. When a process dies, its jobs go to a new one: a job that two processes
died of fails, and so do all jobs of a process that dies before its first answer. A process that owes answers and gives none for `PATIENCE`
seconds (somebody stopped it, it hangs) is ended as if it had died. Where the system has no room for another process, jobs fail, and the
next one tries again. `close` ends the processes; jobs under way fail. A caller that is cancelled loses its answer and nothing else. The
number of jobs is bounded by that of the callers.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import gateway
from gateway.compose.dkim import Key, private_pem
from gateway.compose.signing_process import ANSWER, FORGET, JOB, KEY

MOST_DEATHS: Final = 2
"""Processes a job may see die."""
PATIENCE: Final = 20.0
"""Seconds without an answer after which a process that owes some is ended, twice that at most; starting one takes a second on a bad day."""

Died = Callable[[str], None]


class SigningFailed(Exception):
    """No signature can be had for this job."""


class _Job:
    __slots__ = ("deaths", "digest", "future", "key")

    def __init__(self, key: Key, digest: bytes, future: "asyncio.Future[bytes]") -> None:
        self.key = key
        self.digest = digest
        self.future = future
        self.deaths = 0

    def fail(self, why: str) -> None:
        """No answer will come."""
        if not self.future.done():
            self.future.set_exception(SigningFailed(why))
            self.future.exception()  # seen: a caller that waits for another signature of its message may never ask


class _Worker(asyncio.Protocol):
    """One process and its socket. `on_lost` is told when it is gone, with the jobs that it owes."""

    def __init__(self, on_lost: Callable[["_Worker", list[_Job]], None], patience: float) -> None:
        self._on_lost = on_lost
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._keys: dict[int, tuple[int, Key]] = {}
        self._jobs: dict[int, _Job] = {}
        self._last = 0
        self._out: list[bytes] = []
        self._in = b""
        self._flushing = False
        self._look: asyncio.TimerHandle | None = None
        self.silent = False
        """It was ended because it gave no answer."""
        self.answers = 0
        """Signatures it has made."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            self.process = _start(theirs.fileno())
            undo.pop_all()
        self._connecting = self._loop.create_task(self._connect(ours))

    @property
    def owed(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    async def _connect(self, channel: socket.socket) -> None:
        await self._loop.create_connection(lambda: self, sock=channel)

    # Out: what gathers in one turn of the loop leaves together.

    def submit(self, job: _Job) -> None:
        """Have `job` signed."""
        self._last = number = (self._last + 1) & 0xFFFFFFFF
        self._jobs[number] = job
        if self._look is None:
            self._look = self._loop.call_later(self._patience, self._look_at, self.answers)
        known = self._keys.get(id(job.key)) or self._introduce(job.key)
        self._say(JOB.pack(b"S", number, known[0], job.digest))

    def _introduce(self, key: Key) -> tuple[int, Key]:
        """Send the key ahead; a number stands for it from here on. It is kept, so that nothing else gets its identity."""
        known = self._keys[id(key)] = (len(self._keys), key)
        pem = private_pem(key)
        self._say(KEY.pack(b"K", known[0], len(pem)) + pem)
        return known

    def forget_keys(self) -> None:
        """No key is used any more by jobs to come, unless it is sent again."""
        self._keys.clear()
        self._say(FORGET)

    def _say(self, frame: bytes) -> None:
        self._out.append(frame)
        if not self._flushing and self._transport is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _look_at(self, answers: int) -> None:
        """Once in `patience`, while something is owed: whether anything came since."""
        self._look = None
        if not self._jobs:
            return
        if self.answers == answers:
            self.silent = True
            self.process.kill()  # its end of the socket closes with it
        else:
            self._look = self._loop.call_later(self._patience, self._look_at, self.answers)

    # In.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Whole answers end their jobs."""
        data = self._in + data if self._in else data
        position = 0
        while len(data) - position >= ANSWER.size:
            number, length = ANSWER.unpack_from(data, position)
            end = position + ANSWER.size + length
            if len(data) < end:
                break
            self._answer(number, data[position + ANSWER.size : end])
            position = end
        self._in = data[position:]

    def _answer(self, number: int, signature: bytes) -> None:
        job = self._jobs.pop(number, None)
        self.answers += 1
        if job is None or job.future.done():
            return
        if signature:
            job.future.set_result(signature)
        else:
            job.fail("the key cannot sign")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._stop_looking()
        jobs, self._jobs = list(self._jobs.values()), {}
        self._on_lost(self, jobs)

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    # The end. The process holds nothing that could be lost.

    def end(self) -> None:
        """End the process; returns when it has ended. Jobs under way are told by `on_lost`, if the loop still runs."""
        self._stop_looking()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._connecting.cancel()
            if self._transport is not None:
                self._transport.abort()
        self.process.kill()
        self.process.wait()


class Signer:
    """A number of signing processes; the one that owes least gets the next job. `died` is told of each that ends by itself, in words."""

    def __init__(self, processes: int, died: Died = lambda words: None, patience: float = PATIENCE) -> None:
        self._number = processes
        self._died = died
        self._patience = patience
        self._workers: list[_Worker] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def begin(self) -> None:
        """Start what is missing of the processes, for the running loop. The first job does it too, and waits for them. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._end_all()
            self._loop = loop
        while len(self._workers) < self._number:
            self._workers.append(_Worker(self._lost, self._patience))

    @property
    def waiting(self) -> int:
        """Jobs under way: for the gauge."""
        return sum(worker.owed for worker in self._workers)

    @property
    def processes(self) -> list[int]:
        """Process ids."""
        return [worker.process.pid for worker in self._workers]

    def sign(self, key: Key, digest: bytes) -> "asyncio.Future[bytes]":
        """The signature of `digest` (SHA-256) under `key`; await the future. It fails with SigningFailed."""
        loop = asyncio.get_running_loop()
        job = _Job(key, digest, loop.create_future())
        if self._closed:
            job.fail("signing has ended")
            return job.future
        if self._loop is not loop or len(self._workers) < self._number:
            trouble = self._begun()
            if not self._workers:
                job.fail(trouble)
                return job.future
        self._submit(job)
        return job.future

    def _begun(self) -> str:
        """Start what is missing; why that was not possible."""
        try:
            self.begin()
        except OSError as error:
            return f"a signing process cannot be started: {error.strerror or error}"
        return ""

    def _submit(self, job: _Job) -> None:
        workers = self._workers
        worker = workers[0] if len(workers) == 1 else min(workers, key=lambda one: one.owed)
        worker.submit(job)

    def forget_keys(self) -> None:
        """Keys have changed: none of the old ones stays in a process."""
        if self._loop is not None and self._loop.is_closed():
            self._end_all()
        for worker in self._workers:
            worker.forget_keys()

    def _lost(self, worker: _Worker, jobs: list[_Job]) -> None:
        """A process ended. Its jobs go to a new one, unless it never answered any: then a new one would not either."""
        if worker not in self._workers:
            why = "signing has ended"
        else:
            self._workers.remove(worker)
            worker.end()
            why = "the signing process gave no answer and was ended" if worker.silent else _end_of(worker.process)
            self._died(why)
            if worker.answers:
                why = self._begun() or why
            if worker.answers and self._workers:
                for job in jobs:
                    job.deaths += 1
                for job in [job for job in jobs if job.deaths < MOST_DEATHS and not job.future.done()]:
                    jobs.remove(job)
                    self._submit(job)
        for job in jobs:
            job.fail(why)

    def close(self) -> None:
        """End the processes; returns when they have ended."""
        self._closed = True
        self._end_all()

    def _end_all(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()


def _end_of(process: "subprocess.Popen[bytes]") -> str:
    return f"the signing process ended with status {process.returncode}"


def _start(descriptor: int) -> "subprocess.Popen[bytes]":
    """The process, with our packages on its path and its socket."""
    root = str(Path(gateway.__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.compose.signing_process", str(descriptor)],
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
