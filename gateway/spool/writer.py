"""The boundary between the event loop and the spool's one writer: one transaction at a time.

`Writer` hands transactions to a process of its own: so a commit waits for the
disk and for nothing else, however busy the loop is (docs/decisions, 0008). `ThreadWriter` does the same in a thread of
this process: for short-lived commands, and for tests that slip a file layer under SQLite. Both take over the writing of the spool at their
first call and give it back when they are closed; `recover` comes before.

A write that was begun is carried to its end, even when the task that asked for it is cancelled. Errors come out as those of the port;
after SpoolBroken, and that is also a writing process that died, every further write is refused.
"""

import asyncio
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import assert_never

import msgspec

import gateway
from gateway.spool.frames import ERRORS, HEAD, Answer, Begin, Done, Failed, Request, Room, Tidy, Write, answers
from gateway.spool.port import SpoolBroken, Transaction, Written
from gateway.spool.recover import lease_number
from gateway.spool.sqlite import SqliteSpool

END_SECONDS = 10.0
"""How long the writing process may take to end."""
SILENT = 10.0
"""Seconds without an answer that are told; a commit takes milliseconds."""


class _Answers(asyncio.Protocol):
    """Puts answers together from what the socket brings. Each is for the one request under way."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[Answer] | None = None
        self.lost = ""
        """Why no answer will ever come, or ""."""
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < HEAD.size:
            return
        _, size = HEAD.unpack_from(self._buffer)
        if len(self._buffer) < HEAD.size + size or self.waiting is None:
            return
        whole, self._buffer = self._buffer, bytearray()
        try:
            self.waiting.set_result(answers.decode(memoryview(whole)[HEAD.size :]))
        except msgspec.DecodeError as error:
            self.waiting.set_exception(SpoolBroken(f"the writing process said something strange: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = f"the writing process is gone: {error or 'it closed its end'}"
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(SpoolBroken(self.lost))


class Writer:
    """Writes of `spool` by a process of its own. The process starts at once; the file is handed over at the first call."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self._broken = ""
        self._answers = _Answers()
        self._transport: asyncio.WriteTransport | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._room = Room()
        self._channel, other = socket.socketpair()
        with other:
            self._process = _start(other.fileno(), self._room.descriptor, spool.lock.descriptor)
        self.wal_bytes = 0
        """Size of the write-ahead log, as of the last answer."""
        self._asked = 0.0

    @property
    def process(self) -> int:
        """Identity of the writing process."""
        return self._process.pid

    def silence(self, longest: float = SILENT) -> str | None:
        """That the request under way has had no answer for `longest` seconds, in words; None: it has, or there is none. In the loop."""
        waiting = self._answers.waiting
        if waiting is None or waiting.done() or asyncio.get_running_loop().time() - self._asked < longest:
            return None
        return "the writing process or its disk gives no answer"

    async def write(self, transaction: Transaction) -> Written:
        """Carry out `transaction` and make it durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        return (await self._ask(Write(transaction))).written

    async def tidy(self, now: float) -> bool:
        """One slice of housekeeping (see SqliteSpool.tidy). True: there is more."""
        return (await self._ask(Tidy(now - self._spool.return_window))).more

    async def close(self) -> None:
        """Wait for what is under way and end the process. The spool stays open and has the writing again. Again does nothing."""
        await self._idle()
        self._broken = self._broken or "the writer is closed"
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._channel.close()
        try:
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._room.close()
        self._spool.take_back()

    async def _ask(self, request: Request) -> Done:
        if self._transport is None:
            await self._begin_once()
        await self._idle()
        return await self._exchange(request)

    async def _idle(self) -> None:
        """Nothing is under way when this returns, and nothing may come in between until the caller next waits."""
        while (waiting := self._answers.waiting) is not None and not waiting.done():
            await asyncio.wait([waiting])

    async def _begin_once(self) -> None:
        if self._beginning is None:
            self._beginning = asyncio.get_running_loop().create_task(self._begin())
        await asyncio.shield(self._beginning)

    async def _begin(self) -> None:
        """Hand the file over."""
        if self._broken:
            raise SpoolBroken(f"refused: {self._broken}")
        spool = self._spool
        spool.hand_over()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self._answers, sock=self._channel)
        settings = spool.settings
        await self._exchange(Begin(str(spool.folder), settings.cache, settings.wal_limit, lease_number(*spool.lease)))

    async def _exchange(self, request: Request) -> Done:
        """One request and its answer. Nothing waits between laying it down and sending its head."""
        if self._broken or self._answers.lost or self._transport is None:
            raise SpoolBroken(f"refused: {self._broken or self._answers.lost or 'the writer is closed'}")
        head, rest = self._room.put(request)
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        answer = self._answers.waiting = loop.create_future()
        answer.add_done_callback(self._note)
        self._transport.writelines([head, rest] if rest else [head])
        return _judged(await asyncio.shield(answer))

    def _note(self, answer: "asyncio.Future[Answer]") -> None:
        """See what every answer means for the requests after it, also when nobody waits for it any more."""
        error = answer.exception()
        if error is not None:
            self._broken = self._broken or str(error)
            return
        match answer.result():
            case Done(wal_bytes):
                self.wal_bytes = wal_bytes
            case Failed(name, text):
                if ERRORS.get(name, SpoolBroken) is SpoolBroken:
                    self._broken = self._broken or text


def _judged(answer: Answer) -> Done:
    match answer:
        case Done():
            return answer
        case Failed(name, text):
            raise ERRORS.get(name, SpoolBroken)(text)
        case _:
            assert_never(answer)


class ThreadWriter:
    """Writes of `spool` by a thread of this process. The same promises; a commit may wait for the interpreter's lock."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "spool-writer")

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log."""
        return self._spool.store.checkpointer.wal_bytes

    async def write(self, transaction: Transaction) -> Written:
        """Carry out `transaction` and make it durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._spool.write, transaction))

    async def tidy(self, now: float) -> bool:
        """One slice of housekeeping (see SqliteSpool.tidy). True: there is more."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._spool.tidy, now))

    async def close(self) -> None:
        """Wait for what is under way and end the thread. The spool stays open."""
        await asyncio.to_thread(self._thread.shutdown)


def _start(*descriptors: int) -> subprocess.Popen[bytes]:
    """The writing process, with our packages on its path: its socket, the shared room, and a share of the folder's lock."""
    root = str(Path(gateway.__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.spool.process", *map(str, descriptors[:2])],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
