"""The suppression list as a file over HTTP: export and import, each by a process of its own (`contacts.hand`) that the loop only feeds.

Bounded: `TOGETHER` at once, one more is answered 503; an import's file by `api.import_size`. A client that goes away, at any moment, ends
the process and leaves its place; an import changes nothing before its whole file has come. An export that fails in its middle ends without
its end, which every client notices.
"""

import asyncio
import contextlib
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from contacts.hand import FRAME, Wish
from gateway.admin.http.app import desk_of, needs
from gateway.admin.http.bounds import Refusal
from gateway.admin.http.keys import Caller
from gateway.admin.http.suppression import answer

ADMIN = needs("admin")
TOGETHER = 2
PIECE = 65_536
IMPORT = "/v1/import/suppressions"
KINDS = {"ndjson": "application/x-ndjson", "postmark": "application/json", "sha256": "text/plain"}


def routes(app: FastAPI) -> None:
    """Add them."""
    room = asyncio.Semaphore(TOGETHER)

    @app.get("/v1/export/suppressions")
    async def export(request: Request, format: str = "csv", since: str = "", salt: str = "", caller: Caller = ADMIN) -> Response:
        """The list, or what was added since a time, in a format."""
        wish = Wish(folder=str(desk_of(request).folder), format=format, since=since, salt=salt)
        async with contextlib.AsyncExitStack() as held:
            hand = await held.enter_async_context(_running(wish, room))
            assert hand.stdin is not None
            assert hand.stdout is not None
            hand.stdin.close()
            first = await hand.stdout.read(PIECE)
            if not first and await hand.wait():
                raise await _refusal(hand)
            return _Export(_pieces(first, hand), held.pop_all(), KINDS.get(format, "text/csv"))

    @app.post(IMPORT)
    async def import_list(
        request: Request,
        format: str = "csv",
        dry_run: bool = False,
        skip_bad: bool = False,
        scope: str = "",
        reason: str = "",
        caller: Caller = ADMIN,
    ) -> Response:
        """A file into the list: all of it or, when a line is bad, nothing."""
        desk = desk_of(request)
        batch = time.strftime("i%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(4)
        wish = Wish(
            folder=str(desk.folder),
            format=format,
            batch=batch,
            scope=scope,
            reason=reason,
            node=desk.node,
            dry_run=dry_run,
            skip_bad=skip_bad,
        )
        async with _running(wish, room) as hand:
            done = await _fed(hand, request)
        if done["done"]:
            await desk.call(caller, "suppression.announce")
        return answer(done, 200 if done["done"] or dry_run else 422)


class _Export(StreamingResponse):
    """An answer that holds a process. It lets go of it even when its client is gone before the first piece was asked for."""

    def __init__(self, pieces: AsyncIterator[bytes], held: contextlib.AsyncExitStack, media_type: str) -> None:
        super().__init__(pieces, media_type=media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


@contextlib.asynccontextmanager
async def _running(wish: Wish, room: asyncio.Semaphore) -> AsyncIterator[Process]:
    """The process for `wish`, which has a place in `room`; it has ended when this ends. Raises Refusal."""
    if room.locked():
        raise Refusal(503, f"{TOGETHER} imports or exports are running: try again later")
    async with room:
        hand = await asyncio.create_subprocess_exec(sys.executable, "-m", "contacts.hand", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            assert hand.stdin is not None
            hand.stdin.write(msgspec.json.encode(wish) + b"\n")
            yield hand
        finally:
            await _ended(hand)


async def _fed(hand: Process, request: Request) -> dict[str, object]:
    """Give it the body, and take its answer. Raises Refusal."""
    assert hand.stdin is not None
    assert hand.stdout is not None
    with contextlib.suppress(ConnectionError):  # it refused before the end of the file: the answer says why
        async for piece in request.stream():
            if piece:
                hand.stdin.write(len(piece).to_bytes(FRAME, "big") + piece)
                await hand.stdin.drain()
        hand.stdin.write(bytes(FRAME))
        await hand.stdin.drain()
        hand.stdin.close()
    said = await hand.stdout.read()
    if await hand.wait():
        raise await _refusal(hand)
    done: dict[str, object] = msgspec.json.decode(said)
    return done


async def _pieces(first: bytes, hand: Process) -> AsyncIterator[bytes]:
    assert hand.stdout is not None
    piece = first
    while piece:
        yield piece
        piece = await hand.stdout.read(PIECE)
    if await hand.wait():
        raise OSError(str(await _refusal(hand)))  # too late for a status: the connection is cut


async def _refusal(hand: Process) -> Refusal:
    assert hand.stderr is not None
    try:
        told = msgspec.json.decode(await hand.stderr.read(PIECE), type=dict[str, str])["error"]
    except (msgspec.DecodeError, KeyError):
        return Refusal(500, "the import or export could not be carried out")
    return Refusal(409 if "another import" in told else 400, told)


async def _ended(hand: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        hand.kill()
    await hand.wait()
