"""One request of an HTTP/1.1 client and its answer, with no input or output: octets to send, and what the octets that come mean.

The grammar is h11's. Bounded: a header of `HEAD` octets, `INTERIM` answers before the real one, and `most` octets of a body. Redirects are
an answer like any other. What is no HTTP, is too long or ends too early raises NotHttp, with a sentence. Knows no connection that is kept.
"""

from collections.abc import Mapping
from typing import Final

import h11

HEAD: Final = 16_384
"""Octets of an answer's header, at most."""
_SLICE: Final = 2048
"""Octets that are looked at together: a header that comes whole is measured only between two of them."""
INTERIM: Final = 3
"""Answers 1xx before the real one, at most."""


class NotHttp(Exception):
    """What came is no HTTP answer, or one that is too long."""


class Exchange:
    """A request to `host` (with its port where that is not the scheme's), and its answer. Raises ValueError for what cannot be in one."""

    def __init__(self, method: str, host: str, target: str, fields: Mapping[str, str], body: bytes, most: int) -> None:
        self.status = 0
        """Of the answer; 0 while its header has not come."""
        self.fields: dict[str, str] = {}
        """Of the answer, names in lower case; of fields that came twice the last."""
        self.body = b""
        self.whole = False
        """Everything has come."""
        self._most = most
        self._interim = 0
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD)
        given = {"host": host, "user-agent": "mailwright", **fields, "connection": "close"}
        if method != "GET":
            given["content-length"] = str(len(body))
        try:
            said = [h11.Request(method=method, target=target, headers=list(given.items())), h11.Data(data=body), h11.EndOfMessage()]
            self.request = b"".join(self._connection.send(event) or b"" for event in said)
        except h11.LocalProtocolError as error:
            raise ValueError(str(error)) from error

    def receive(self, data: bytes) -> None:
        """What came; b"" is the end of the connection. Raises NotHttp."""
        try:
            for start in range(0, len(data) or 1, _SLICE):
                self._connection.receive_data(data[start : start + _SLICE])
                while not self.whole and (event := self._connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                    self._take(event)
                if self.whole:
                    return  # what follows is of no answer to us
        except h11.RemoteProtocolError as error:
            raise NotHttp(_said(error, data)) from error
        if not data and not self.whole:
            raise NotHttp("the answer ended too early")

    def _take(self, event: object) -> None:
        match event:
            case h11.InformationalResponse():
                self._interim += 1
                if self._interim > INTERIM:
                    raise NotHttp("too many interim answers")
            case h11.Response():
                self.fields = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
                self.status = event.status_code
                self._bound(int(self.fields.get("content-length", "0")))  # h11 has refused what is no number
            case h11.Data():
                self.body += event.data
                self._bound(len(self.body))
            case h11.EndOfMessage():
                self.whole = True
            case _:
                raise NotHttp("the answer ended too early")

    def _bound(self, octets: int) -> None:
        if octets > self._most:
            raise NotHttp("the answer is too long")


def _said(error: h11.RemoteProtocolError, data: bytes) -> str:
    if not data:
        return "the answer ended too early"
    return "the answer has too long a header" if error.error_status_hint == 431 else f"the answer is not HTTP/1.1: {error}"[:200]
