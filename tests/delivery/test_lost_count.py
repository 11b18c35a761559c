"""Hosts that offer PIPELINING and answer a group with a reply too many or too few: they get one command at a time, and the mail arrives."""

import asyncio

import pytest

from gateway.delivery.network import Network
from tests.delivery.stage import Core, Peer, Watcher, assignment, network, route_to, session, settings

LIMITS = settings(command_timeout=0.2, data_timeout=0.2, dot_timeout=0.2)


def counted(verb: str, answer: bytes) -> Peer:
    """A peer that gives `answer` to the first `verb` and speaks as it should after that."""
    peer = Peer()
    peer.answers[verb.upper()] = lambda line, count: answer if count == 1 else None
    return peer


def play(peer: Peer, net: Network, deliveries: int = 1) -> tuple[Core, Watcher]:
    async def run() -> tuple[Core, Watcher]:
        core = Core([assignment(number) for number in range(1, deliveries + 1)])
        async with peer:
            watcher = await asyncio.wait_for(session(core, route_to(peer.port), net=net, limits=LIMITS), 5)
        return core, watcher

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("verb", "answer", "words"),
    [
        ("mail", b"250 ok\r\n250 ok\r\n", "DATA was answered 250"),
        ("rcpt", b"250 ok\r\n250 ok\r\n", "DATA was answered 250"),
        ("mail", b"", "RCPT was answered 354"),
        ("rcpt", b"", "RCPT was answered 354"),
    ],
    ids=["too many to MAIL", "too many to RCPT", "none to MAIL", "none to RCPT"],
)
def test_a_host_that_loses_count_in_its_first_group_gets_one_command_at_a_time_from_then_on(verb: str, answer: bytes, words: str) -> None:
    net = network()
    core, watcher = play(counted(verb, answer), net)
    verdict = core.verdict(1)
    assert (core.outcome(1), verdict.category, verdict.fault) == ("deferred", "protocol", "receiver")
    assert words in verdict.reply.text
    assert watcher.one_by_one == ["peer.example"]
    patient = counted("mail", b"451 4.3.0 not now\r\n")
    core, watcher = play(patient, net, deliveries=2)
    assert [core.outcome(number) for number in (1, 2)] == ["deferred", "delivered"]
    assert watcher.one_by_one == []
    said = [command[:4] for command in patient.commands]
    assert said == ["EHLO", "MAIL", "MAIL", "RCPT", "DATA", "QUIT"], "RCPT waits for the answer to MAIL"


def test_a_host_without_pipelining_that_speaks_nonsense_is_no_host_that_lost_count() -> None:
    net = network()
    peer = counted("rcpt", b"354 go\r\n")
    peer.features = ("8BITMIME",)
    core, watcher = play(peer, net)
    assert core.verdict(1).category == "protocol"
    assert watcher.one_by_one == []
    assert not net.no_pipelining.holds("peer.example")


def test_a_host_that_is_only_silent_keeps_its_groups() -> None:
    net = network()
    core, _ = play(counted("data", b""), net)
    assert (core.outcome(1), core.verdict(1).category) == ("deferred", "network")
    assert not net.no_pipelining.holds("peer.example")
