"""The process that writes the spool: reads a frame, carries it out, answers, one after the other.

It exists so that a commit never waits for the interpreter's lock of a busy event loop (docs/decisions, 0008). It ends
when the gateway does: end of file on the socket. A transaction that was begun is finished first, whole; the folder's lock is shared with
the gateway and so kept until then. Signals for the gateway (systemd sends them to every process of a service) are not for this one. After
SpoolBroken it goes on answering, and every answer is SpoolBroken.

    python -m gateway.spool.process SOCKET ROOM

with the numbers of two inherited descriptors: a socket and the shared memory (gateway.spool.frames).
"""

import gc
import signal
import socket
import sys
from pathlib import Path
from typing import assert_never

from gateway.spool.frames import ERRORS, Answer, Begin, Done, Failed, Request, Room, Tidy, Write, answer_frame, receive
from gateway.spool.port import SpoolBroken, SpoolError
from gateway.spool.store import Store


def serve(channel: socket.socket, room: Room) -> None:
    """Answer frames until the other end closes."""
    store: Store | None = None
    try:
        while (request := receive(channel, room)) is not None:
            try:
                store, answer = _carry_out(store, request)
            except SpoolError as error:
                answer = Failed(_name(error), str(error))
            channel.sendall(answer_frame(answer))
    except OSError:  # the gateway is gone: nobody waits for an answer
        return
    finally:
        if store is not None:
            store.close()


def _carry_out(store: Store | None, request: Request) -> tuple[Store, Answer]:
    match request:
        case Begin(folder, cache, wal_limit, lease):
            store = Store(Path(folder), cache, wal_limit, lease)
            gc.freeze()
            gc.set_threshold(100_000)  # the records of a batch are no garbage, and hold no cycles
            return store, Done(0)
        case Write(transaction):
            store = _begun(store)
            written = store.write(transaction)
            return store, Done(store.checkpointer.wal_bytes, written)
        case Tidy(first_kept):
            store = _begun(store)
            more = store.tidy(first_kept)
            return store, Done(store.checkpointer.wal_bytes, more=more)
        case _:
            assert_never(request)


def _begun(store: Store | None) -> Store:
    if store is None:
        raise SpoolBroken("the file was not opened")
    return store


def _name(error: SpoolError) -> str:
    name = type(error).__name__
    return name if name in ERRORS else SpoolBroken.__name__


def main() -> None:
    """The command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel, Room(int(sys.argv[2])))


if __name__ == "__main__":
    main()
