"""A fault at every step: the peer hangs, is cut, or answers nonsense at each command; the session is cancelled at each of its steps.

Whatever happens, every delivery comes back once, no task and no socket is left, and nothing is called delivered that the peer did not take.
The stage's core and `session` check the first two; the books of the peer check the third. On asyncio and on uvloop.
"""

import asyncio

import pytest
import uvloop

from tests.delivery.stage import CUT, HANG, Core, Peer, assignment, network, route_to, session, settings, until

LOOPS = [asyncio.run, uvloop.run]
LIMITS = settings(greeting_timeout=0.05, command_timeout=0.05, data_timeout=0.05, dot_timeout=0.05, block_timeout=0.05)
FEATURES = {"ahead": ("PIPELINING", "8BITMIME", "SIZE"), "lockstep": ("8BITMIME", "SIZE")}
NONSENSE = {
    "hang": HANG,
    "cut": CUT,
    "garbage": b"\x00\xff\r\n",
    "part then cut": b"250-half" + CUT,
    "refusal then cut": b"451 4.3.0 no\r\n" + CUT,
    "endless": b"250-" + b"x" * 70_000,
    "temporary": b"451 4.3.0 not now\r\n",
    "permanent": b"550 5.7.1 never\r\n",
    "farewell": b"421 4.3.2 bye\r\n" + CUT,
    "twice": b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n",
    "wrong": b"354 what\r\n",
}
STEPS = [("GREETING", 1), ("EHLO", 1), ("QUIT", 1), *((verb, when) for verb in ("MAIL", "RCPT", "DATA", "DOT") for when in (1, 2))]


def work(count: int):
    return [assignment(number) for number in range(1, count + 1)]


def check(core: Core, peer: Peer) -> None:
    """The peer's books and ours agree: delivered is what it answered 2yz, and what it may have taken without our knowing is unsure."""
    taken = sum(1 for message in peer.messages if len(message) > 3)
    delivered = [one for one in core.settlements if type(one.outcome).__name__ == "Delivered"]
    unsure = [one for one in core.settlements if type(one.outcome).__name__ == "Unsure"]
    assert len(delivered) <= taken
    assert len(unsure) <= 1
    settled = [one.delivery for one in core.settlements] + core.returned
    assert sorted(settled) == sorted(set(settled))


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("fault", NONSENSE)
@pytest.mark.parametrize(("verb", "when"), STEPS)
def test_a_fault_of_the_peer_at_any_command_loses_and_invents_nothing(run, features: str, fault: str, verb: str, when: int) -> None:
    async def play() -> None:
        peer = Peer(FEATURES[features], **{verb: lambda line, count: NONSENSE[fault] if count == when else None})
        core = Core(work(4))
        async with peer:
            await asyncio.wait_for(session(core, route_to(peer.port), limits=LIMITS), 5)
        check(core, peer)

    run(play())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("step", range(40))
@pytest.mark.parametrize("times", [1, 2])
def test_a_cancellation_at_any_step_loses_and_invents_nothing(run, features: str, step: int, times: int) -> None:
    async def play() -> None:
        peer = Peer(FEATURES[features])
        core = Core(work(4))
        async with peer:
            running = asyncio.create_task(session(core, route_to(peer.port), limits=LIMITS))
            for _ in range(step):
                await asyncio.sleep(0)
            for _ in range(times):
                running.cancel()
                await asyncio.sleep(0)
            try:
                await asyncio.wait_for(running, 5)
            except asyncio.CancelledError:
                pass
            await until(lambda: peer.open == 0)
        check(core, peer)
        if times == 1:
            assert not [one for one in core.settlements if type(one.outcome).__name__ != "Delivered"]

    run(play())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    "fault", [CUT, b"552 5.3.4 too big\r\n" + CUT, b"552 5.3.4 too big\r\n", HANG, b"250 taken already\r\n", b"421 bye\r\n"]
)
def test_a_fault_in_the_middle_of_a_large_message_loses_and_invents_nothing(run, fault: bytes) -> None:
    async def play() -> None:
        core = Core([assignment(1, content=b"a: b\r\n\r\n" + b"x" * 76 + b"\r\n" * 6_000_000), assignment(2)])

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hi\r\n")
            await reader.readline()
            writer.write(b"250-peer\r\n250 PIPELINING\r\n")
            for _ in range(3):
                await reader.readline()
            writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
            await reader.readexactly(100_000)
            try:
                if fault == HANG:
                    await asyncio.sleep(2)
                writer.write(fault.removesuffix(CUT))
                if not fault.endswith(CUT):
                    while await reader.read(1_000_000):
                        pass
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=200_000)
        port = server.sockets[0].getsockname()[1]
        await asyncio.wait_for(session(core, route_to(port), block_timeout=0.3), 5)
        server.close()
        assert core.outcome(1) in {"deferred", "failed"}
        if b"552" in fault and not fault.endswith(CUT):
            assert core.outcome(1) == "failed"
        assert core.outcome(2) in {"returned", ""}

    run(play())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("verb", ["greeting", "mail", "dot"])
def test_a_peer_that_answers_a_line_now_and_then_and_never_ends_is_late(run, verb: str) -> None:
    async def play() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if verb != "greeting":
                writer.write(b"220 hi\r\n")
                await reader.readline()
                writer.write(b"250 peer\r\n")
            if verb == "dot":
                for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                    await reader.readline()
                    writer.write(answer)
                await reader.readuntil(b"\r\n.\r\n")
            try:
                while not writer.is_closing():
                    writer.write(b"250-wait\r\n")
                    await asyncio.sleep(0.03)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        core = Core(work(1))
        limits = settings(greeting_timeout=0.2, command_timeout=0.2, dot_timeout=0.2)
        await asyncio.wait_for(session(core, route_to(server.sockets[0].getsockname()[1]), limits=limits), 2)
        server.close()
        assert core.outcome(1) == {"greeting": "", "mail": "deferred", "dot": "unsure"}[verb]

    run(play())


def test_a_core_that_breaks_ends_the_session_with_its_error_and_leaves_nothing() -> None:
    class Broken(Core):
        async def next(self, permit: int, n: int):
            if len(self.asked) == 2:
                raise RuntimeError("a bug")
            return await super().next(permit, n)

    async def play() -> None:
        core = Broken(work(5))
        async with Peer(FEATURES["lockstep"]) as peer:
            with pytest.raises(RuntimeError, match="a bug"):
                await session(core, route_to(peer.port))
        assert [core.outcome(n) for n in (1, 2)] == ["delivered", "delivered"]

    asyncio.run(play())


def test_a_host_that_lost_count_is_served_one_by_one_for_a_day_and_then_tried_again() -> None:
    net = network()
    net.no_overlap.note("peer.example")

    async def play(expected: int) -> None:
        core = Core(work(4))
        async with Peer() as peer:
            await session(core, route_to(peer.port), net=net)
        assert sum(one.facts.overlapped for one in core.settlements) == expected

    asyncio.run(play(0))
    net.no_overlap._until["peer.example"] = 0.0
    asyncio.run(play(3))
