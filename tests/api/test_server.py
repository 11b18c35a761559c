"""The server of the API under clients that connect and say nothing, or do not read what they asked for."""

import asyncio
import socket

from gateway.admin.http.bounds import Message, Receive, Send
from gateway.admin.http.server import ApiServer

LARGE = b"x" * 50_000_000


async def large(scope: Message, receive: Receive, send: Send) -> None:
    """Answers more than any buffer between here and a client holds, and does not wait until it is read."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(LARGE))]})
    sending = asyncio.ensure_future(send({"type": "http.response.body", "body": LARGE}))
    await asyncio.wait([sending], timeout=0.01)
    sending.cancel()


async def serving(connections: int, patience: float) -> ApiServer:
    """A server that listens."""
    server = ApiServer(large, ("127.0.0.1", 0), connections, patience)
    server.start()
    while not server.listening:
        await asyncio.sleep(0.01)
    return server


def test_connections_are_bounded_even_when_they_ask_for_nothing() -> None:
    async def scenario() -> int:
        server = await serving(connections=2, patience=60)
        readers, writers = zip(*[await asyncio.open_connection("127.0.0.1", server.port) for _ in range(10)], strict=True)
        ends = [asyncio.ensure_future(reader.read(1)) for reader in readers]
        while sum(end.done() for end in ends) < 6:
            await asyncio.sleep(0.01)
        open_ones = server.connections
        for writer in writers:
            writer.close()
        await server.close()
        return open_ones

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == 4


def test_a_client_that_does_not_read_the_end_of_an_answer_is_cut() -> None:
    async def scenario() -> None:
        server = await serving(connections=2, patience=0.2)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n")
            while not server.connections:
                await asyncio.sleep(0.01)
            while server.connections:
                await asyncio.sleep(0.01)
        await server.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
