"""The outermost ring of the API: bodies bounded in size and time, and every failure one JSON object with a sentence.

A body that says it is too large is refused before it is read, one that turns out to be at the first octet too many. A client that stops
sending is answered 408 after `patience` seconds without a next piece; one that stops reading is dropped. Nothing passes this ring as an
exception: a bug is told to `on_bug` and answered 500, so the HTTP server below has nothing to write into a log of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


UNREAD = 4
"""Times of `patience` that a client may leave an answer unread."""


class Refusal(Exception):
    """A request that is answered with `status` and a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Bounded:
    """The ring. `most` gives the largest body of a path."""

    def __init__(
        self, inner: Application, most: Callable[[str], int], patience: float, on_bug: Callable[[str, BaseException], None]
    ) -> None:
        self._inner = inner
        self._most = most
        self._patience = patience
        self._on_bug = on_bug

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun = False
        refused: list[Refusal] = []
        gone = asyncio.Event()

        async def sending(message: Message) -> None:
            nonlocal begun
            if refused:  # the application has made an answer of its own out of it
                if not begun:
                    begun = True
                    await answer(send, refused[0].status, str(refused[0]))
                return
            begun = True
            async with asyncio.timeout(UNREAD * self._patience):
                await send(message)

        try:
            await self._inner(scope, self._bounded(scope, receive, refused, gone), sending)
        except Refusal as refusal:
            if not begun:
                await answer(send, refusal.status, str(refusal))
        except (TimeoutError, OSError):
            pass  # a client that is gone, or does not read: the connection ends without the answer's end
        except Exception as bug:
            if gone.is_set():
                return  # whoever reads a body is told of its client's end by an exception
            self._on_bug("api", bug)
            if not begun:
                await answer(send, 500, "the gateway could not carry this out; its log says why")

    def _bounded(self, scope: MutableMapping[str, Any], receive: Receive, refused: list[Refusal], gone: asyncio.Event) -> Receive:
        most = self._most(scope["path"])
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(declared) > most:  # the server below refuses what is no number
            raise Refusal(413, f"the body is larger than {most} octets")
        got = 0

        def refuse(status: int, why: str) -> Refusal:
            refused.append(Refusal(status, why))
            return refused[0]

        async def bounded() -> Message:
            nonlocal got
            try:
                async with asyncio.timeout(self._patience if got >= 0 else None):
                    message = await receive()
            except TimeoutError:
                raise refuse(408, f"nothing came for {self._patience:g} seconds") from None
            if message["type"] == "http.disconnect":
                gone.set()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > most:
                    raise refuse(413, f"the body is larger than {most} octets")
                if not message.get("more_body", False):
                    got = -1  # whoever listens on hears of the client's end, and may wait for it
            return message

        return bounded


async def answer(send: Send, status: int, why: str, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """One JSON object; the connection ends, since a rest of the body may still come."""
    body = msgspec.json.encode({"error": why})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
