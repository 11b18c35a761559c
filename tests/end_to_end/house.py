"""A gateway in a process of its own, between a real client and the sandbox's fake Internet; and its event file, read as it grows.

Everything is on loopback: sources are 127.7.N.1, each in a /24 of its own, so that a greylist tells them apart. Nothing here waits for a
time; it polls what is written, and gives up after `PATIENCE`.
"""

import asyncio
import contextlib
import json
import os
import smtplib
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mail.event import FINAL, Event, EventKind, unseal
from sandbox.scenario import Mailboxes, Name, Scenario
from sandbox.world import Sandbox, SandboxAddresses
from tests.durability.rig import GatewayProcess

T = TypeVar("T")

PATIENCE = 45.0
"""Seconds: the machine may be busy with other things."""

GROUND = """
[gateway]
hostname = "gateway.test"
domain = "gateway.test"
data = "data"
[http]
address = "127.0.0.1:{http}"
[[listener]]
address = "127.0.0.1:{port}"
[dns]
servers = ["{dns}"]
port = {smtp}
allow_private = true
timeout = "3s"
[spool]
minimum_free = 0
"""

OPEN_ACCOUNT = """
[[account]]
name = "default"
domains = ["any"]
"""

DELIVERING = FINAL | {EventKind.ACCEPTED, EventKind.DEFERRED}

ADDRESSES = {"one": "127.7.1.1", "two": "127.7.2.1", "three": "127.7.3.1"}

SOURCES = "".join(f'[[source]]\nname = "{name}"\naddress = "{address}"\n' for name, address in ADDRESSES.items())

POOL = """
[[pool]]
name = "default"
members = { one = 1, two = 1, three = 1 }
"""


class House(GatewayProcess):
    """`mailwright serve` with a configuration of the test's choice; `{port}`, `{http}`, `{dns}` and `{smtp}` are filled in."""

    def __init__(self, folder: Path, internet: SandboxAddresses, configuration: str) -> None:
        super().__init__(folder, internet.smtp_port)
        self._internet = internet
        self.configure(configuration)

    def configure(self, configuration: str) -> None:
        """Write the configuration file; a running gateway reads it at SIGHUP."""
        for name, value in (
            ("port", self.port),
            ("http", self.http),
            ("dns", self._internet.dns),
            ("smtp", self._internet.smtp_port),
        ):
            configuration = configuration.replace("{" + name + "}", str(value))
        self.config.write_text(configuration)

    def signal(self, number: int) -> None:
        """Send a signal to the process that serves."""
        os.kill(self.pid, number)

    def client(self, source: str = "127.0.0.1") -> smtplib.SMTP:
        """A connection to the gateway from `source`, greeted."""
        client = smtplib.SMTP("127.0.0.1", self.port, local_hostname="app.test", timeout=60, source_address=(source, 0))
        client.ehlo()
        return client

    def history(self, recipient: str) -> list[Event]:
        """What is told of deliveries to one recipient so far, in order, repeated lines once; suppressions are not among it."""
        found: dict[str, Event] = {}
        for file in sorted((self.folder / "data").glob("events.ndjson*"), reverse=True):
            for line in file.read_bytes().splitlines():
                if line.endswith(b"}"):
                    event = unseal(line)
                    if event.recipient == recipient and event.kind in DELIVERING:
                        found[event.id] = event
        return list(found.values())

    def ended(self, recipient: str) -> list[Event]:
        """All events of one recipient, once the last of them is final."""
        return self.until(
            lambda: [event for event in [self.history(recipient)] if event and event[-1].kind in FINAL], f"{recipient} to end"
        )[0]

    def seen(self, recipient: str, wanted: Callable[[list[Event]], object]) -> list[Event]:
        """All events of one recipient, once they are as wanted."""
        return self.until(lambda: [history for history in [self.history(recipient)] if wanted(history)], f"events of {recipient}")[0]

    def until(self, look: Callable[[], T], what: str) -> T:
        """The first answer that is not empty."""
        end = time.monotonic() + PATIENCE
        while not (answer := look()):
            if time.monotonic() > end:
                told = (self.folder / "log").read_text()[-3000:]
                raise AssertionError(f"waited in vain for {what}; the log ends with\n{told}")
            time.sleep(0.05)
        return answer

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines with this event."""
        return [line for line in self.log_lines() if line["event"] == event]

    def metrics(self) -> str:
        """The page of metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def complaints(self) -> list[str]:
        """Whatever in the log is not one of ours (a traceback), or speaks of a bug."""
        lines = (self.folder / "log").read_bytes().splitlines()
        return [line.decode() for line in lines if not line.startswith(b"{") or b'"bug"' in line or json.loads(line)["level"] == "critical"]


@contextlib.contextmanager
def internet(providers: list[Mailboxes], names: list[Name] | None = None) -> Iterator[tuple[Sandbox, SandboxAddresses]]:
    """The fake Internet of these providers, running."""
    with internet_of(Scenario(provider=providers, name=names or [])) as running:
        yield running


@contextlib.contextmanager
def internet_of(scenario: Scenario) -> Iterator[tuple[Sandbox, SandboxAddresses]]:
    """The fake Internet of a scenario, running."""
    sandbox = Sandbox(scenario)
    addresses = asyncio.run(sandbox.start())
    try:
        yield sandbox, addresses
    finally:
        asyncio.run(sandbox.stop())


@contextlib.contextmanager
def serving(house: House) -> Iterator[House]:
    """The gateway, running; killed at the end if the test has not stopped it."""
    house.start()
    try:
        yield house
    finally:
        with contextlib.suppress(ProcessLookupError):
            house.kill()


def letter(recipient: str, *, sender: str = "news@shop.test", stream: str = "", campaign: str = "", body: str = "Hello.") -> bytes:
    """A small message with our labels."""
    labels = (f"X-Stream: {stream}\r\n" if stream else "") + (f"X-Campaign: {campaign}\r\n" if campaign else "")
    return f"From: {sender}\r\nTo: {recipient}\r\nSubject: news\r\n{labels}\r\n{body}\r\n".encode()
