"""A process that makes signatures: digests in from a socket, signatures out, in order (gateway.compose.signing is the other end).

It ends when the gateway does: end of file on the socket. It opens no file and no connection. Signals for the gateway (systemd sends them to
every process of a service) are not for this one. A digest that cannot be signed gets an empty answer; a frame that makes no sense ends it.

    python -m gateway.compose.signing_process SOCKET

with the number of an inherited descriptor.
"""

import signal
import socket
import struct
import sys
from typing import Final

from gateway.compose.dkim import Key, load_key, signature

KEY: Final = struct.Struct(">cII")
"""b"K", number of the key, length of its PEM text, which follows."""
JOB: Final = struct.Struct(">cII32s")
"""b"S", job, number of the key, the SHA-256 digest to sign."""
FORGET: Final = b"F"
"""All keys are forgotten."""
ANSWER: Final = struct.Struct(">IH")
"""Job and length of its signature, which follows; 0: it could not be made."""

_BUNCH = 4
"""Signatures that leave together, at most: the first must not wait for many."""
_READ = 1 << 18


class Frames:
    """Carries frames out as they come, in pieces of any size. `send` takes answers."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._keys: dict[int, Key] = {}
        self._data = b""
        self._answers: list[bytes] = []

    def take(self, data: bytes) -> None:
        """Carry out what is whole. Raises ValueError for a frame of no kind or a key that is none, OSError when the gateway is gone."""
        self._data += data
        position = 0
        while (length := self._one(position)) > 0:
            position += length
        self._data = self._data[position:]
        self._send(1)

    def _one(self, position: int) -> int:
        """Carry out the frame at `position`; its length, 0 when it is not whole."""
        data = self._data
        match data[position : position + 1]:
            case b"":
                return 0
            case b"S" if len(data) - position >= JOB.size:
                _, job, number, digest = JOB.unpack_from(data, position)
                self._sign(job, self._keys.get(number), digest)
                return JOB.size
            case b"K" if len(data) - position >= KEY.size:
                _, number, length = KEY.unpack_from(data, position)
                start = position + KEY.size
                end: int = start + length
                if len(data) < end:
                    return 0
                self._keys[number] = load_key(data[start:end], "", "")
                return end - position
            case b"F":
                self._keys.clear()
                return len(FORGET)
            case b"S" | b"K":
                return 0
            case kind:
                raise ValueError(f"a frame of no kind: {kind!r}")

    def _sign(self, job: int, key: Key | None, digest: bytes) -> None:
        try:
            made = signature(key, digest) if key is not None else b""
        except ValueError:
            made = b""
        self._answers.append(ANSWER.pack(job, len(made)) + made)
        self._send(_BUNCH)

    def _send(self, least: int) -> None:
        if len(self._answers) >= least:
            self._channel.sendall(b"".join(self._answers))
            self._answers.clear()


def serve(channel: socket.socket) -> None:
    """Answer until the other end closes."""
    frames = Frames(channel)
    try:
        while data := channel.recv(_READ):
            frames.take(data)
    except OSError:  # the gateway is gone: nobody waits for an answer
        return


def main() -> None:
    """The command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)


if __name__ == "__main__":
    main()
