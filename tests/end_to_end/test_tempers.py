"""Every temper of the sandbox, met by a whole gateway: mail ends right, once, and nothing of the gateway is left behind.

The gateway runs in this process, so that its coroutines, sockets and files can be counted; the fake Internet has a thread of its own. All
rows of `tests/end_to_end/tempers.py` are played at once, each towards its own provider, and then looked at one by one.
"""

import asyncio
import os
import smtplib
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import uvloop

from config.load import Configuration
from gateway.app import Gateway, running
from mail.event import FINAL, Event, EventKind, unseal
from sandbox.scenario import Mailboxes, Scenario
from sandbox.tally import Counts
from sandbox.world import Sandbox, SandboxAddresses
from tests.durability.rig import free_port
from tests.end_to_end.house import ADDRESSES, GROUND, OPEN_ACCOUNT, POOL, SOURCES
from tests.end_to_end.tempers import CASES, LIMITS, Case, Failure

PATIENCE = 60.0
"""Seconds: the machine may be busy with other things."""


@dataclass
class Left:
    """What is counted of a gateway that has nothing to do."""

    tasks: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    lanes: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    watched: int = 0


@dataclass
class Played:
    """Everything that is known when all mail has ended."""

    events: dict[str, list[Event]]
    counts: dict[str, Counts]
    taken: dict[str, list[tuple[str, bool]]]
    """Provider to (recipient, TLS) of each message it took."""
    left: Left
    files_before: set[str]
    files_after: set[str]


def providers() -> list[Mailboxes]:
    return [
        Mailboxes.model_validate({"name": case.name, "domains": [f"{case.name}.test"], "temper": case.tempers, **case.mailboxes})
        for case in CASES
    ]


def letter(recipient: str, case: Case) -> bytes:
    stream = f"X-Stream: {case.stream}\r\n" if case.stream else ""
    body = ("x" * 76 + "\r\n") * (case.size // 78 + 1)
    return f"From: news@shop.test\r\nTo: {recipient}\r\nSubject: news\r\n{stream}\r\n{body}".encode()


def send_all(port: int) -> None:
    """Hand everything in, over one connection for the ordinary and one for the large."""
    for large in (False, True):
        client = smtplib.SMTP("127.0.0.1", port, local_hostname="app.test", timeout=60)
        for case in CASES:
            for recipient in case.recipients if bool(case.size) is large else []:
                client.sendmail("news@shop.test", [recipient], letter(recipient, case))
        client.quit()


def told(data: Path) -> dict[str, list[Event]]:
    """Recipient to its events, in order, each once."""
    found: dict[str, dict[str, Event]] = {}
    for file in sorted(data.glob("events.ndjson*"), reverse=True):
        for line in file.read_bytes().splitlines():
            if line.endswith(b"}"):
                event = unseal(line)
                found.setdefault(event.recipient, {})[event.id] = event
    return {recipient: list(events.values()) for recipient, events in found.items()}


def open_files() -> set[str]:
    """What this process has open, by number and target."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            pass
    return found


def left(gateway: Gateway, smtp_port: int, resident: set[str]) -> Left:
    """What the gateway holds now, beside the tasks it had before any mail. Its sockets are those whose far end is the fake Internet."""
    ours = [
        one
        for one in psutil.Process().net_connections("tcp")
        if one.raddr and one.raddr.port == smtp_port and one.laddr.ip in ADDRESSES.values()
    ]
    return Left(
        tasks=sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name() not in resident),
        sockets=[f"{one.laddr.ip} to {one.raddr.ip}: {one.status}" for one in ours],
        lanes={view.lane.provider: view.connections for view in gateway.controller.lanes(time.time()) if view.connections},
        connections=gateway.core.engine.connections,
        watched=gateway.network.sweeper.watched,
    )


def ended(events: dict[str, list[Event]]) -> bool:
    return all(recipient in events and events[recipient][-1].kind in FINAL for case in CASES for recipient in case.recipients)


async def story(folder: Path, addresses: SandboxAddresses) -> tuple[dict[str, list[Event]], Left]:
    """A gateway from start to stop, with all the mail."""
    task = asyncio.current_task()
    assert task is not None
    task.set_name("story")
    port = free_port()
    text = GROUND + OPEN_ACCOUNT + SOURCES + POOL + LIMITS
    for name, value in (("port", port), ("http", free_port()), ("dns", addresses.dns), ("smtp", addresses.smtp_port)):
        text = text.replace("{" + name + "}", str(value))
    file = folder / "mailwright.toml"
    file.write_text(text)
    async with running(Configuration(file)) as gateway:
        resident = {each.get_name() for each in asyncio.all_tasks()}
        await asyncio.to_thread(send_all, port)
        until = time.monotonic() + PATIENCE
        while not ended(events := told(folder / "data")) and time.monotonic() < until:
            await asyncio.sleep(0.1)
        # A connection is kept for its idle time, and one that was closed politely ends within seconds.
        while (found := left(gateway, addresses.smtp_port, resident)) != Left() and time.monotonic() < until:
            await asyncio.sleep(0.05)
    return events, found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("tempers")
    uvloop.run(asyncio.sleep(0))  # libuv keeps a pipe of its own for the life of the process
    files_before = open_files()
    sandbox = Sandbox(Scenario(provider=providers(), keep=10_000))
    addresses = asyncio.run(sandbox.start())
    try:
        events, found = uvloop.run(story(folder, addresses))
    finally:
        asyncio.run(sandbox.stop())
    taken: dict[str, list[tuple[str, bool]]] = {case.name: [] for case in CASES}
    for message in sandbox.messages():
        taken[message.provider] += [(recipient, message.tls) for recipient in message.recipients]
    return Played(events, sandbox.counts(), taken, found, files_before, open_files())


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def failures(played: Played, case: Case) -> list[Event]:
    return [event for recipient in case.recipients for event in played.events[recipient] if event.kind is not EventKind.ACCEPTED]


def test_mail_ends_as_it_should(played: Played, case: Case) -> None:
    for recipient in case.recipients:
        events = played.events[recipient]
        assert [event.kind for event in events if event.kind in FINAL] == [case.end], [event.diagnostic for event in events]
        assert events[-1].kind in FINAL


def test_nothing_is_lost_and_nothing_arrives_twice_but_what_was_unsure(played: Played, case: Case) -> None:
    arrived = [recipient for recipient, _ in played.taken[case.name]]
    unsure = {event.recipient for event in failures(played, case) if event.duplicate_possible}
    if case.end is EventKind.DELIVERED:
        assert set(arrived) == set(case.recipients)
    twice = {recipient for recipient in arrived if arrived.count(recipient) > 1}
    assert twice <= unsure
    assert len(arrived) - len(set(arrived)) <= case.twice
    assert played.counts[case.name].duplicates <= case.twice


def says(event: Event, failure: Failure) -> bool:
    return (
        failure.phase in ("", event.phase)
        and event.category == failure.category
        and failure.fault in ("", event.fault)
        and failure.words in event.diagnostic
        and (event.duplicate_possible or not failure.unsure)
    )


def test_the_event_of_each_failure_says_what_happened(played: Played, case: Case) -> None:
    failed = [event for event in failures(played, case) if event.kind in (EventKind.DEFERRED, EventKind.BOUNCED)]
    unexplained = [event for event in failed if not any(says(event, failure) for failure in case.failures)]
    assert [(event.phase, event.category, event.fault, event.diagnostic) for event in unexplained] == []
    untold = [failure for failure in case.failures if not any(says(event, failure) for event in failed)]
    assert untold == [] or case.may_fail


def test_tls_is_used_where_it_works_and_given_up_where_it_does_not(played: Played, case: Case) -> None:
    if case.clear:
        assert {tls for _, tls in played.taken[case.name]} == {False}
    elif case.end is EventKind.DELIVERED:
        assert True in {tls for _, tls in played.taken[case.name]}


def test_no_connection_coroutine_or_deadline_is_left_when_all_mail_has_ended(played: Played) -> None:
    assert played.left == Left()


def test_no_file_or_socket_is_left_when_the_gateway_has_stopped(played: Played) -> None:
    assert {name.partition(" ")[2] for name in played.files_after} - {name.partition(" ")[2] for name in played.files_before} == set()
    assert len(played.files_after) <= len(played.files_before)  # what tests before this one left may be gone by now
