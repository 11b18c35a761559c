"""Sessions against peers that behave, and peers that do not."""

import asyncio
import time

import msgspec
import pytest

from config.sending import Source
from gateway.calls import Wait
from gateway.compose.composer import Unsendable
from gateway.delivery.route import Host
from mail.outcome import Category, Fault, Phase
from mail.reply import Reply
from tests.delivery.stage import BODY, CUT, HANG, Core, Peer, PlainComposer, assignment, network, route_to, session, until

NO_PIPELINING = ("8BITMIME",)


def run(peer: Peer, work, *, net=None, stay=False, **known) -> Core:
    async def play() -> Core:
        core = Core(work, stay=stay)
        async with peer:
            await asyncio.wait_for(session(core, route_to(peer.port), net=net, **known), 10)
        return core

    return asyncio.run(play())


def work(count: int):
    return [assignment(number) for number in range(1, count + 1)]


def test_messages_arrive_as_composed_with_dots_doubled_on_the_way() -> None:
    peer = Peer()
    core = run(peer, work(3))
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered"] * 3
    expected = (b"Received: by test\r\n" + BODY).replace(b"\r\n.", b"\r\n..") + b".\r\n"
    assert peer.messages == [expected] * 3
    assert peer.commands[-1] == "QUIT"
    assert core.ends[0].trouble is None
    assert core.ends[0].host == "peer.example"


def test_the_next_envelope_goes_right_behind_the_dot_and_the_facts_say_so() -> None:
    peer = Peer()
    core = run(peer, work(4))
    facts = [core.settlement(n).facts for n in (1, 2, 3, 4)]
    assert [fact.overlapped for fact in facts] == [False, True, True, True]
    assert [fact.message_number for fact in facts] == [1, 2, 3, 4]
    assert facts[0].address == f"127.0.0.1:{peer.port}"
    assert facts[0].lane.provider == "peer"
    assert facts[0].signed_by == "example.com"
    assert facts[0].started <= facts[0].ended


@pytest.mark.parametrize("offered", [True, False])
def test_what_the_sender_asked_to_be_told_goes_where_dsn_is_offered_and_the_facts_say_whether(offered: bool) -> None:
    peer = Peer(("PIPELINING", "DSN") if offered else ("PIPELINING",))
    asking = msgspec.structs.replace(assignment(1), notify="SUCCESS,DELAY", orcpt="rfc822;Bob@example.org")
    asking = msgspec.structs.replace(asking, message=msgspec.structs.replace(asking.message, ret="HDRS", envid="QQ+2B"))
    core = run(peer, [asking, assignment(2)])
    mail, rcpt = (" RET=HDRS ENVID=QQ+2B", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob@example.org") if offered else ("", "")
    assert next(line for line in peer.commands if line.startswith("MAIL")).endswith(f">{mail}")
    assert next(line for line in peer.commands if line.startswith("RCPT")).endswith(f">{rcpt}")
    assert all("=" not in line.rpartition(">")[2] for line in peer.commands[4:])
    assert core.settlement(1).facts.dsn is offered


def test_a_peer_without_pipelining_gets_one_command_at_a_time() -> None:
    peer = Peer(NO_PIPELINING)
    core = run(peer, work(3))
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered"] * 3
    assert not any(one.facts.overlapped for one in core.settlements)
    assert max(core.asked) == 1


def test_a_peer_that_knows_only_helo_is_served() -> None:
    peer = Peer(ehlo=b"502 5.5.1 what?\r\n")
    core = run(peer, work(2))
    assert [core.outcome(n) for n in (1, 2)] == ["delivered"] * 2
    assert "HELO gateway.example" in peer.commands
    assert not any("SIZE" in command or "BODY" in command for command in peer.commands)


@pytest.mark.parametrize("features", [("PIPELINING",), NO_PIPELINING])
def test_a_refused_recipient_ends_its_own_message_only(features) -> None:
    peer = Peer(features, rcpt=lambda line, count: b"550 5.1.1 no such user\r\n" if "user2@" in line else None)
    peer.answers["DATA"] = lambda line, count: b"503 5.5.1 no recipient\r\n" if count == 2 and features[0] == "PIPELINING" else None
    core = run(peer, work(4))
    assert [core.outcome(n) for n in (1, 2, 3, 4)] == ["delivered", "failed", "delivered", "delivered"]
    assert core.verdict(2).phase is Phase.RCPT
    assert core.verdict(2).fault is Fault.RECIPIENT
    assert "RSET" in peer.commands
    assert len(peer.messages) == 3


def test_354_without_a_recipient_is_answered_with_a_lone_dot() -> None:
    peer = Peer(rcpt=lambda line, count: b"550 5.1.1 no such user\r\n" if "user2@" in line else None)
    peer.answers["DOT"] = lambda line, count: b"554 5.5.1 no valid recipients\r\n" if peer.messages[-1] == b".\r\n" else None
    core = run(peer, work(3))
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered", "failed", "delivered"]
    assert peer.messages[1] == b".\r\n"


def test_a_rate_reply_to_the_dot_returns_the_next_unharmed() -> None:
    reply = b"450 4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address\r\n"
    peer = Peer(dot=lambda line, count: reply if count == 2 else None)
    core = run(peer, work(4))
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered", "deferred", "returned"]
    assert core.verdict(2).category in {Category.RATE_LIMITED, Category.IP_REPUTATION}
    assert peer.connections == 1
    assert len(peer.messages) == 2


def test_421_to_the_dot_closes_and_returns_the_next_unharmed() -> None:
    net = network()
    peer = Peer(dot=lambda line, count: b"421 4.3.2 going down\r\n" if count == 2 else None)
    core = run(peer, work(4), net=net)
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered", "deferred", "returned"]
    assert not net.no_overlap.holds("peer.example")


def test_421_to_mail_of_a_connection_that_served_returns_the_delivery() -> None:
    peer = Peer(NO_PIPELINING, mail=lambda line, count: b"421 4.4.5 too many messages, come again\r\n" + CUT if count == 3 else None)
    core = run(peer, work(4))
    assert core.outcome(3) in {"returned", "deferred"}  # deferred where the words are judged to be about rate
    assert core.outcome(2) == "delivered"


def test_421_while_idle_ends_the_connection_quietly() -> None:
    async def play() -> None:
        peer = Peer()
        core = Core(work(1), stay=True)
        async with peer:
            peer.answers["DOT"] = lambda line, count: b"250 ok\r\n421 4.4.2 idle\r\n" + CUT
            await asyncio.wait_for(session(core, route_to(peer.port)), 10)
        assert core.outcome(1) == "delivered"
        assert core.ends[0].trouble is None

    asyncio.run(play())


def test_a_connection_lost_behind_the_dot_leaves_the_message_unsure() -> None:
    net = network()
    peer = Peer(dot=lambda line, count: CUT if count == 2 else None)
    core = run(peer, work(4), net=net)
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered", "unsure", "returned"]
    assert net.no_overlap.holds("peer.example")
    assert core.verdict(2).reply.synthetic


def test_no_reply_to_the_dot_in_time_leaves_the_message_unsure() -> None:
    peer = Peer(dot=lambda line, count: HANG if count == 2 else None)
    core = run(peer, work(3), dot_timeout=0.1)
    assert [core.outcome(n) for n in (1, 2, 3)] == ["delivered", "unsure", "returned"]


def test_a_peer_that_throws_away_what_follows_the_dot_is_not_sent_ahead_to_again() -> None:
    net = network()

    def swallow(line: str, count: int) -> bytes | None:
        return HANG if count == 2 else None

    peer = Peer(mail=swallow)
    core = run(peer, work(3), net=net, command_timeout=0.1)
    assert [core.outcome(n) for n in (1, 2)] == ["delivered", "returned"]
    assert net.no_overlap.holds("peer.example")
    again = Peer()
    assert all(not one.facts.overlapped for one in run(again, work(3), net=net).settlements)


def test_a_reply_too_many_is_noticed_and_nothing_is_judged_by_it() -> None:
    net = network()
    peer = Peer(dot=lambda line, count: b"250 2.0.0 taken\r\n500 5.5.2 pardon?\r\n" if count == 1 else None)
    core = run(peer, work(3), net=net)
    assert core.outcome(1) == "delivered"
    assert core.outcome(2) == "returned"
    assert net.no_overlap.holds("peer.example")


def test_a_host_that_loses_count_is_told_once() -> None:
    async def play() -> None:
        net = network()
        peer = Peer(dot=lambda line, count: b"250 2.0.0 taken\r\n500 5.5.2 pardon?\r\n" if count == 1 else None)
        async with peer:
            watcher = await session(Core(work(3)), route_to(peer.port), net=net)
            again = await session(Core(work(3)), route_to(peer.port), net=net)
        assert (watcher.lost_count, again.lost_count) == (["peer.example"], [])

    asyncio.run(play())


def test_words_that_are_no_reply_defer_the_message() -> None:
    core = run(Peer(mail=b"hello, who is there?\r\n"), work(1))
    assert core.outcome(1) == "deferred"
    assert core.verdict(1).category is Category.PROTOCOL


def test_a_large_message_leaves_in_blocks_and_arrives_whole() -> None:
    content = b"Subject: big\r\n\r\n" + b"".join(b".%070d\r\n" % number for number in range(30_000))
    peer = Peer(("PIPELINING", "SIZE"))
    core = run(peer, [assignment(1, content=content), assignment(2)])
    assert [core.outcome(n) for n in (1, 2)] == ["delivered", "delivered"]
    assert peer.messages[0].count(b"\r\n..") == 30_000
    assert core.settlement(2).facts.overlapped


def test_a_message_over_the_announced_size_is_not_tried() -> None:
    peer = Peer(("PIPELINING", "SIZE 60"))
    core = run(peer, [assignment(1), assignment(2, content=b"a: b\r\n")])
    assert [core.outcome(n) for n in (1, 2)] == ["failed", "delivered"]
    assert core.verdict(1).category is Category.MESSAGE_TOO_LARGE
    assert core.verdict(1).reply.code == 552


def test_content_is_read_where_it_was_not_handed_out_and_its_lack_defers() -> None:
    peer = Peer()
    core = run(peer, [assignment(1, content=None), assignment(2, content=None)], contents=lambda message: BODY if message == 1 else None)
    assert [core.outcome(n) for n in (1, 2)] == ["delivered", "deferred"]


def test_a_composer_that_breaks_defers_its_message_and_is_reported() -> None:
    class Broken(PlainComposer):
        async def compose(self, assignment, **known):
            if assignment.delivery == 1:
                raise RuntimeError("no key")
            return await super().compose(assignment, **known)

    async def play() -> None:
        core = Core(work(2))
        async with Peer() as peer:
            watcher = await session(core, route_to(peer.port), composer=Broken())
        assert [core.outcome(n) for n in (1, 2)] == ["deferred", "delivered"]
        assert [str(error) for error in watcher.errors] == ["no key"]
        assert watcher.results == ["plain"]

    asyncio.run(play())


def test_a_message_that_cannot_be_sent_to_this_host_is_not_tried() -> None:
    class Picky(PlainComposer):
        async def compose(self, assignment, **known):
            if assignment.delivery == 1:
                return Unsendable(Reply(550, "SMTPUTF8 is needed", "5.6.7", synthetic=True), Category.CONTENT, Fault.CONTENT)
            if assignment.delivery == 2:
                return Unsendable(Reply(451, "no key", "4.7.5", synthetic=True), Category.OTHER, Fault.CONFIG)
            return await super().compose(assignment, **known)

    peer = Peer()
    core = run(peer, work(3), composer=Picky())
    assert [core.outcome(n) for n in (1, 2, 3)] == ["failed", "deferred", "delivered"]
    assert core.verdict(1).reply.enhanced == "5.6.7"
    assert core.verdict(1).phase is Phase.COMPOSE
    assert len(peer.messages) == 1


def test_a_line_break_in_a_path_never_reaches_the_wire() -> None:
    peer = Peer()
    bad = assignment(1)
    core = run(peer, [msgspec.structs.replace(bad, return_path="a@b>\r\nRCPT TO:<x@y"), assignment(2)])
    assert [core.outcome(n) for n in (1, 2)] == ["deferred", "delivered"]
    assert not any("x@y" in command for command in peer.commands)


def test_the_next_mx_is_tried_when_the_first_cannot_be_reached() -> None:
    async def play() -> None:
        core = Core(work(1))
        async with Peer() as peer:
            hosts = (Host("first.example", ("127.0.0.2",), 10), Host("second.example", ("127.0.0.1",), 20))
            await session(core, route_to(*hosts, port=peer.port))
        assert core.outcome(1) == "delivered"
        assert core.settlement(1).facts.host == "second.example"

    asyncio.run(play())


def test_no_host_to_reach_is_the_hosts_trouble_and_hands_out_nothing() -> None:
    async def play() -> None:
        core = Core(work(1))
        async with Peer() as peer:
            port = peer.port
        await session(core, route_to(port))
        assert core.asked == []
        trouble = core.trouble
        assert trouble.category is Category.NETWORK
        assert trouble.phase is Phase.CONNECT

    asyncio.run(play())


@pytest.mark.parametrize(
    ("answers", "phase"),
    [
        ({"greeting": b"554 5.7.1 no service for you\r\n"}, Phase.BANNER),
        ({"greeting": b"421 4.3.2 later\r\n"}, Phase.BANNER),
        ({"greeting": HANG}, Phase.BANNER),
        ({"greeting": CUT}, Phase.BANNER),
        ({"greeting": b"SSH-2.0-OpenSSH\r\n"}, None),
        ({"ehlo": b"450 4.3.2 later\r\n"}, Phase.EHLO),
        ({"ehlo": CUT}, Phase.EHLO),
        ({"ehlo": HANG}, Phase.EHLO),
        ({"ehlo": b"550 5.7.1 bad name\r\n", "helo": b"550 5.7.1 bad name\r\n"}, Phase.EHLO),
    ],
)
def test_trouble_before_mail_is_the_hosts_and_hands_out_nothing(answers, phase) -> None:
    core = run(Peer(**answers), work(1), greeting_timeout=0.1, command_timeout=0.1)
    assert core.asked == []
    trouble = core.trouble
    assert phase is None or trouble.phase is phase
    assert core.ends[0].host == "peer.example"


def test_a_source_address_that_the_machine_does_not_have_is_the_configurations_fault() -> None:
    async def play() -> None:
        core = Core(work(1))
        async with Peer() as peer:
            await session(core, route_to(peer.port), source=Source(name="default", address="192.0.2.77"))
        trouble = core.trouble
        assert trouble.fault is Fault.CONFIG
        assert trouble.rule == "source-address"
        assert peer.connections == 0

    asyncio.run(play())


def test_a_source_sends_from_its_address_and_says_its_name() -> None:
    async def play() -> None:
        core = Core(work(1))
        async with Peer() as peer:
            await session(core, route_to(peer.port), source=Source(name="default", address="127.0.0.9", ehlo="out9.example"))
            assert "EHLO out9.example" in peer.commands
        assert core.outcome(1) == "delivered"

    asyncio.run(play())


def test_an_ipv6_address_is_used_only_by_a_source_that_has_one() -> None:
    async def play() -> None:
        core = Core(work(1))
        await session(core, route_to(Host("six.example", ("::1",), 0), port=9))
        assert core.trouble.rule == "no-address-of-the-source's-family"

    asyncio.run(play())


def test_an_idle_connection_waits_as_the_core_says_and_ends_after_the_providers_idle_time() -> None:
    async def play() -> None:
        core = Core(work(1))
        started = time.monotonic()
        async with Peer() as peer:
            core.wait = Wait(time.time() + 0.05, "no token")
            await session(core, route_to(peer.port))
        assert core.outcome(1) == "delivered"
        assert 0.15 < time.monotonic() - started < 3

    asyncio.run(play())


def test_a_delivery_that_appears_while_idle_uses_the_open_connection() -> None:
    async def play() -> None:
        core = Core(work(1), stay=True)
        async with Peer() as peer:
            running = asyncio.create_task(session(core, route_to(peer.port)))
            await until(lambda: core.outcome(1) == "delivered")
            core.work.append(assignment(2))
            core.more.set()
            await until(lambda: core.outcome(2) == "delivered")
            core.stay = False
            core.work.append(assignment(3))
            core.more.set()
            await running
            assert peer.connections == 1

    asyncio.run(play())


def test_a_peer_that_leaves_while_idle_ends_the_session_and_harms_nothing() -> None:
    async def play() -> None:
        core = Core(work(1), stay=True)
        async with Peer() as peer:
            running = asyncio.create_task(session(core, route_to(peer.port)))
            await until(lambda: core.outcome(1) == "delivered")
            for task in list(peer._tasks):
                task.cancel()
            await asyncio.wait_for(running, 5)
        assert core.returned == []

    asyncio.run(play())


def test_a_cancelled_session_finishes_what_is_on_the_wire_and_returns_the_rest() -> None:
    async def play() -> None:
        core = Core(work(5))
        async with Peer() as peer:
            peer.delay = 0.02
            running = asyncio.create_task(session(core, route_to(peer.port)))
            await until(lambda: len(peer.messages) >= 2)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert core.outcome(2) == "delivered"
        assert core.outcome(3) in {"returned", ""}
        assert not [one for one in core.settlements if type(one.outcome).__name__ != "Delivered"]

    asyncio.run(play())


def test_a_second_cancellation_ends_at_once() -> None:
    async def play() -> None:
        core = Core(work(3))
        async with Peer(dot=HANG) as peer:
            running = asyncio.create_task(session(core, route_to(peer.port)))
            await until(lambda: bool(peer.messages))
            running.cancel()
            await asyncio.sleep(0.02)
            assert not running.done()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(running, 2)
        assert core.outcome(1) == "unsure"
        assert core.outcome(2) in {"returned", ""}

    asyncio.run(play())
