"""A trivial SMTP sink in a process of its own: accepts everything, counts, and can wait before it answers a read.

`python -m bench.protocol.sink PORT [DELAY_MS]`. It pipelines its replies as a good server does (one write a read) and does no more than
that, so that what is measured is the sender. The delay stands for a round trip: everything that came in one read is answered together,
that long after it came.
"""

import asyncio
import sys

_GREETING = b"220 sink.example ESMTP\r\n"
_EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 100000000\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

    delay = 0.0
    messages = 0

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._buffer = b""
        self._in_data = False
        self._chunk = 0
        self._answer(_GREETING)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        replies: list[bytes] = []
        position = 0
        while position < len(buffer):
            if self._chunk:
                taken = min(self._chunk, len(buffer) - position)
                self._chunk -= taken
                position += taken
                if self._chunk:
                    break
                Sink.messages += 1
                replies.append(b"250 2.0.0 taken\r\n")
                continue
            if self._in_data:
                end = buffer.find(b"\r\n.\r\n", max(position - 2, 0))
                if end < 0:
                    break
                position = end + 5
                self._in_data = False
                Sink.messages += 1
                replies.append(b"250 2.0.0 taken\r\n")
                continue
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            line, position = buffer[position:end], end + 2
            replies.append(self._command(line))
        self._buffer = buffer[position:]
        if replies:
            self._answer(b"".join(replies))

    def _command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return _EHLO
        if verb == b"DATA":
            self._in_data = True
            return b"354 go\r\n"
        if verb == b"BDAT":
            self._chunk = int(line.split()[1])
            return b""
        if verb == b"QUIT":
            return b"221 bye\r\n"
        return b"250 2.1.0 ok\r\n"

    def _answer(self, data: bytes) -> None:
        if Sink.delay:
            asyncio.get_running_loop().call_later(Sink.delay, self._write, data)
        else:
            self._transport.write(data)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def serve(port: int, delay: float) -> None:
    """Until killed. Prints the port once it listens."""
    Sink.delay = delay
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    try:
        import uvloop

        run = uvloop.run
    except ImportError:  # pragma: no cover
        run = asyncio.run  # type: ignore[assignment]
    run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))


if __name__ == "__main__":
    main()
