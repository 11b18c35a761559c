"""The boundary between the event loop and the spool's one writer: one transaction at a time.

`Writer` hands transactions to a process of its own, as frames on a socket: measured, it is the only way in which a commit waits for the
disk and for nothing else, however busy the loop is (docs/decisions/spool-writer-boundary.md). `ThreadWriter` does the same in a thread of
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
from typing import TypeVar

import gateway
from gateway.spool.frames import ERRORS, LENGTH, Answer, Begin, Done, Failed, Request, Tidy, Write, answers, frame
from gateway.spool.port import SpoolBroken, Transaction, Written
from gateway.spool.recover import lease_number
from gateway.spool.sqlite import SqliteSpool

_T = TypeVar("_T")

END_SECONDS = 10.0
"""How long the writing process may take to end."""


class Writer:
    """Writes of `spool` by a process of its own. The process starts at once; the file is handed over at the first call."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self._turn = asyncio.Lock()
        self._broken = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._channel, other = socket.socketpair()
        with other:
            self._process = _start(other, spool.lock.descriptor)
        self.wal_bytes = 0
        """Size of the write-ahead log, as of the last answer."""

    @property
    def process(self) -> int:
        """Identity of the writing process."""
        return self._process.pid

    async def write(self, transaction: Transaction) -> Written:
        """Carry out `transaction` and make it durable. Raises SpoolFull, SpoolRefused or SpoolBroken."""
        return (await self._ask(Write(transaction))).written

    async def tidy(self, now: float) -> bool:
        """One slice of housekeeping (see SqliteSpool.tidy). True: there is more."""
        return (await self._ask(Tidy(now - self._spool.return_window))).more

    async def close(self) -> None:
        """Wait for what is under way and end the process. The spool stays open and has the writing again."""
        async with self._turn:
            if self._streams is not None:
                self._streams[1].close()
                self._streams = None
            self._channel.close()
            self._broken = self._broken or "the writer is closed"
        try:
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._spool.take_back()

    async def _ask(self, request: Request) -> Done:
        return await asyncio.shield(self._exchange(request))

    async def _exchange(self, request: Request) -> Done:
        async with self._turn:
            if self._broken:
                raise SpoolBroken(f"refused: {self._broken}")
            try:
                if self._streams is None:
                    await self._begin()
                answer = await self._send(request)
            except (OSError, EOFError) as error:
                self._broken = f"the writing process is gone ({type(error).__name__}: {error})"
                raise SpoolBroken(self._broken) from error
        return self._judge(answer)

    def _judge(self, answer: Answer) -> Done:
        if isinstance(answer, Failed):
            error = ERRORS.get(answer.error, SpoolBroken)
            if error is SpoolBroken:
                self._broken = self._broken or answer.text
            raise error(answer.text)
        self.wal_bytes = answer.wal_bytes
        return answer

    async def _begin(self) -> None:
        """Hand the file over."""
        spool = self._spool
        self._streams = await asyncio.open_connection(sock=self._channel)
        spool.hand_over()
        settings = spool.settings
        begin = Begin(str(spool.folder), settings.cache, settings.wal_limit, lease_number(*spool.lease))
        self._judge(await self._send(begin))

    async def _send(self, request: Request) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        writer.writelines(frame(request))
        length = int.from_bytes(await reader.readexactly(LENGTH), "big")
        return answers.decode(await reader.readexactly(length))


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


def _start(channel: socket.socket, lock: int) -> subprocess.Popen[bytes]:
    """The writing process, with our packages on its path, one socket, and a share of the folder's lock."""
    root = str(Path(gateway.__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.spool.process", str(channel.fileno())],
        stdin=subprocess.DEVNULL,
        pass_fds=(channel.fileno(), lock),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
