"""An address that does not answer, as a host behind a firewall that drops packets: connections are neither taken nor refused.

On loopback the kernel answers for every address, so a socket listens with the shortest queue there is and never accepts, and the queue is
filled: further connections are left to time out. What Linux does with a full queue is what this is built on.
"""

import contextlib
import socket

_FILLERS = 8


class Silence:
    """Silent at `address`:`port` until `close`. Raises OSError when that is taken."""

    def __init__(self, address: str, port: int) -> None:
        self._sockets = [socket.socket()]
        try:
            self._sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sockets[0].bind((address, port))
            self._sockets[0].listen(0)
            for _ in range(_FILLERS):
                filler = socket.socket()
                self._sockets.append(filler)
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect((address, port))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Answer again, with a refusal."""
        for each in self._sockets:
            each.close()
