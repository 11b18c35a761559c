"""How many messages per CPU-second the submission door receives: 10 KB messages over loopback, pipelined and in lock-step.

Run: python -m bench.protocol.receive [messages]. The client is the same process's other end of a socket pair would cost as much as the
door, so it runs in a process of its own and only the door's CPU time is counted. Nothing is written to disk: `accept` answers at once.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
import time

import uvloop

from config.settings import Settings
from config.submission import Account, Listener
from gateway.calls import Committed, Refused, Submission
from gateway.doors.observer import Watcher
from gateway.doors.submission import SubmissionDoor
from gateway.observe.metrics import Metrics
from gateway.smtp.events import NEED_DATA, Content, ServerOptions
from gateway.smtp.server import ServerConnection

SIZE = 10_240
CONNECTIONS = 4
HEADER = (
    b"Received: from app.example.com by mta.example.com; Mon, 01 Jan 2024 00:00:00 +0000\r\nFrom: News <news@example.com>\r\n"
    b"To: someone@example.net\r\nSubject: News of the week 27\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\nX-Campaign: week-27\r\n"
    b"Message-ID: <1.2.3@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
)
LINE = b"<p>" + b"x" * 70 + b"</p>\r\n"
MESSAGE = HEADER + LINE * ((SIZE - len(HEADER)) // len(LINE))
ENVELOPE = b"MAIL FROM:<news@example.com> SIZE=10240\r\nRCPT TO:<someone@example.net>\r\n"
END = b".\r\n"


def _read_lines(peer: socket.socket, lines: int) -> None:
    """Read until so many reply lines came."""
    while lines > 0:
        lines -= peer.recv(65_536).count(b"\r\n")


def _pipelined(peer: socket.socket, messages: int) -> None:
    peer.sendall(ENVELOPE + b"DATA\r\n")
    _read_lines(peer, 3)
    for number in range(messages):
        last = number == messages - 1
        peer.sendall(MESSAGE + END + (b"" if last else ENVELOPE + b"DATA\r\n"))
        _read_lines(peer, 1 if last else 4)


def _lock_step(peer: socket.socket, messages: int) -> None:
    mail, recipient, _ = ENVELOPE.split(b"\r\n")
    for _number in range(messages):
        for command in (mail + b"\r\n", recipient + b"\r\n", b"DATA\r\n", MESSAGE + END):
            peer.sendall(command)
            _read_lines(peer, 1)


def _chunked(peer: socket.socket, messages: int) -> None:
    batch = ENVELOPE + b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE
    for _number in range(messages):
        peer.sendall(batch)
        _read_lines(peer, 3)


SERIES = {"pipelined": _pipelined, "lock-step": _lock_step, "chunked": _chunked}


def _client(port: int, series: str, messages: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        _read_lines(peer, 1)
        peer.sendall(b"EHLO bench.example.com\r\n")
        time.sleep(0.05)
        peer.recv(65_536)
        SERIES[series](peer, messages)
        peer.sendall(b"QUIT\r\n")
        peer.recv(1000)


async def _door(series: str, messages: int) -> float:
    """Messages per CPU-second of this process."""
    settings = Settings(listener=[Listener(address="127.0.0.1:0")], account=[Account(name="default", domains=["any"])])
    taken = 0

    async def accept(submission: Submission) -> Committed | Refused:
        nonlocal taken
        taken += 1
        return Committed(taken, [taken])

    door = SubmissionDoor(settings, accept, Watcher(Metrics()), "bench.example.com")
    await door.start()
    port = door.addresses["submission"][1]
    clients = [multiprocessing.Process(target=_client, args=(port, series, messages // CONNECTIONS)) for _ in range(CONNECTIONS)]
    begin = time.process_time()
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        await asyncio.sleep(0.02)
    spent = time.process_time() - begin
    assert taken == messages // CONNECTIONS * CONNECTIONS, taken
    await door.close(0)
    return taken / spent


def direct(messages: int) -> float:
    """The protocol alone, no socket: pipelined input in segments of 64 KiB."""
    smtp = ServerConnection(ServerOptions("bench.example.com"))
    smtp.receive(b"EHLO x\r\n")
    smtp.next_event()
    stream = (ENVELOPE + b"DATA\r\n" + MESSAGE + END) * messages
    segments = [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]
    begin = time.process_time()
    taken = 0
    for segment in segments:
        smtp.receive(segment)
        while (event := smtp.next_event()) is not NEED_DATA:
            taken += type(event) is Content
            smtp.accept()
        smtp.data_to_send()
    assert taken == messages
    return taken / (time.process_time() - begin)


def main() -> None:
    """Print a line for each series, then one JSON object."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 12_000
    multiprocessing.set_start_method("spawn")
    result = {"direct": round(direct(min(messages, 5000)))}
    for series in SERIES:
        result[series] = round(uvloop.run(_door(series, messages)))
        print(f"{series:10} {result[series]:8,} messages per CPU-second")
    print(json.dumps({"bench": "receive", **result}))


if __name__ == "__main__":
    main()
