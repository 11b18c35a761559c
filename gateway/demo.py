"""`mailwright demo`: a campaign through a real gateway to a fake Internet, and the books of both compared.

Starts the sandbox and a gateway as processes of their own on free ports, in a temporary folder, hands the gateway a campaign by
aiosmtplib, reads its event file until every accepted delivery has ended, and asks the sandbox's providers what they counted. Nothing
leaves the machine: recipients are under .test, and the gateway asks only the sandbox's name server. Both processes end with this one,
whatever happens.

Not a measurement: the sandbox's providers cost several times what the gateway does (`make bench` measures).
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import sandbox.demo as campaign
from config.sending import DkimAlgorithm
from gateway.compose.generate import generate
from mail.event import FINAL, EventKind, unseal
from sandbox.scenario import Scenario, shipped
from sandbox.snippet import dns_tables, toml
from sandbox.tally import Counts
from sandbox.world import SandboxAddresses

SCENARIO = "demo"
CONNECTIONS = 8
SENDING_TIME = 8.0
"""Seconds in which each provider's share should leave: the demo's rates follow from it."""
PATIENCE = 90.0
"""Seconds without any event after which the demo gives up."""
NOBODY = "(no provider)"

ROOT = Path(__file__).parents[1]


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Figures(msgspec.Struct):
    """What became of one provider's deliveries, by the gateway's events; `counted` and `agrees` come from the provider's own books."""

    accepted: int = 0
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    deferrals: int = 0
    counted: dict[str, int] = {}
    agrees: bool = True


class Result(msgspec.Struct):
    """The JSON object of `--json`."""

    accepted: int
    delivered: int
    bounced: int
    expired: int
    deferrals: int
    seconds: float
    agrees: bool
    providers: dict[str, Figures]


def run(messages: int, json_output: bool, keep: bool) -> int:
    """Run the demo and print its result. 0: every number agrees; 1: it does not, or the demo could not run."""
    folder = Path(tempfile.mkdtemp(prefix="mailwright-demo-"))
    console = Console(stderr=json_output, quiet=json_output)
    try:
        result = asyncio.run(_demo(messages, folder, console))
    except (DemoError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        keep = True
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if json_output:
        print(msgspec.json.encode(result).decode())
    else:
        _show(result, console)
    return 0 if result.agrees else 1


async def _demo(messages: int, folder: Path, console: Console) -> Result:
    scenario = shipped(SCENARIO)
    to = campaign.recipients(scenario, messages)
    provider_of = {domain: mailboxes.name for mailboxes in scenario.provider for domain in mailboxes.domains}
    ledger = Ledger(provider_of)
    began = time.monotonic()
    async with _sandbox(folder) as internet:
        port = _free_port()
        config = _configure(folder, port, internet.addresses, scenario, to, provider_of)
        async with _gateway(folder, config, port):
            await _campaign(port, to, ledger, folder / "data" / "events.ndjson", console)
            seconds = time.monotonic() - began
            counts = await internet.counts()
    return _result(ledger, counts, seconds)


class Ledger:
    """The gateway's events added up, by the provider of the recipient's domain. Each delivery ends once."""

    def __init__(self, provider_of: dict[str, str]) -> None:
        self._provider_of = provider_of
        self.figures: dict[str, Figures] = {}
        self._ended: set[str] = set()

    @property
    def accepted(self) -> int:
        """Deliveries the gateway has accepted."""
        return sum(figures.accepted for figures in self.figures.values())

    @property
    def ended(self) -> int:
        """Deliveries that have ended."""
        return len(self._ended)

    def read(self, line: bytes) -> None:
        """Take one event. Raises DemoError when a delivery ends twice."""
        event = unseal(line)
        name = self._provider_of.get(event.recipient.rpartition("@")[2], NOBODY)
        figures = self.figures.setdefault(name, Figures())
        match event.kind:
            case EventKind.ACCEPTED:
                figures.accepted += 1
            case EventKind.DELIVERED:
                figures.delivered += 1
            case EventKind.BOUNCED:
                figures.bounced += 1
            case EventKind.EXPIRED:
                figures.expired += 1
                figures.deferrals += event.code > 0  # its last attempt was deferred too, and this event tells of both
            case EventKind.DEFERRED:
                figures.deferrals += 1
            case _:
                pass
        if event.kind in FINAL:
            if event.delivery in self._ended:
                raise DemoError(f"delivery {event.delivery} to {event.recipient} ended twice")
            self._ended.add(event.delivery)


async def _campaign(port: int, to: list[str], ledger: Ledger, events: Path, console: Console) -> None:
    """Hand in the campaign and follow the events until every accepted delivery has ended. Raises DemoError when nothing moves."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        handed, ended = progress.add_task("handed in", total=len(to)), progress.add_task("ended", total=len(to))
        sending = asyncio.create_task(campaign.send("127.0.0.1", port, to, CONNECTIONS, lambda: progress.advance(handed)))
        try:
            async for line in _lines(events, lambda: sending.done() and ledger.ended >= len(sending.result().accepted)):
                ledger.read(line)
                progress.update(ended, completed=ledger.ended)
        finally:
            sending.cancel()
    sent = sending.result()
    for recipient, reply in sent.refused[:5]:
        console.print(f"not accepted: {recipient}: {reply}")
    if ledger.accepted != len(sent.accepted):
        raise DemoError(f"the gateway answered 250 for {len(sent.accepted)} messages and has events of {ledger.accepted}")


async def _lines(file: Path, done: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The lines of a file that grows, until `done`. Raises DemoError when it has not grown for PATIENCE seconds."""
    rest, position, grown = b"", 0, time.monotonic()
    while not done():
        chunk = _chunk(file, position)
        position += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if chunk:
            grown = time.monotonic()
        elif time.monotonic() - grown > PATIENCE:
            raise DemoError(f"nothing happened for {PATIENCE:.0f} s; see {file.parent.parent}")
        await asyncio.sleep(0.05)


def _chunk(file: Path, position: int) -> bytes:
    """What stands in `file` from `position` on, at most a megabyte; nothing while there is no file."""
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            return opened.read(1_000_000)
    except FileNotFoundError:
        return b""


def _result(ledger: Ledger, counts: dict[str, Counts], seconds: float) -> Result:
    """Both books side by side. They agree when a provider took what was delivered, refused what bounced, and left what expired waiting."""
    for name, figures in ledger.figures.items():
        if name in counts:
            figures.counted, figures.agrees = _compare(figures, counts[name])
        figures.agrees = figures.agrees and figures.accepted == figures.delivered + figures.bounced + figures.expired
    total = Counter({name: sum(getattr(each, name) for each in ledger.figures.values()) for name in Figures.__struct_fields__[:5]})
    return Result(
        **{name: total[name] for name in Figures.__struct_fields__[:5]},
        seconds=round(seconds, 1),
        agrees=all(figures.agrees for figures in ledger.figures.values()),
        providers=dict(sorted(ledger.figures.items())),
    )


def _compare(figures: Figures, counts: Counts) -> tuple[dict[str, int], bool]:
    """The provider's figures under the gateway's names, and whether they are the same."""
    waiting = sum(counts.deferred.values()) + counts.dropped
    counted = {
        "delivered": counts.accepted,
        "bounced": counts.refusals,
        "expired": waiting,
        "deferrals": sum(counts.deferrals.values()) + counts.drops,
        "duplicates": counts.duplicates,
    }
    same = all(getattr(figures, name) == counted[name] for name in ("delivered", "bounced", "expired", "deferrals"))
    return counted, same


def _show(result: Result, console: Console) -> None:
    """The table for people."""
    table = Table(title=f"{result.accepted} deliveries ended in {result.seconds:.0f} s", box=SIMPLE, padding=(0, 0))
    table.add_column("provider", no_wrap=True)
    for heading in ("accepted", "delivered", "bounced", "expired", "deferrals"):
        table.add_column(heading, justify="right")
    table.add_column("its count")
    for name, each in result.providers.items():
        said = "agrees" if each.agrees else json.dumps(each.counted)
        row = [str(getattr(each, field)) for field in Figures.__struct_fields__[:5]]
        table.add_row(name, *row, said if each.counted or not each.agrees else "", style=None if each.agrees else "red")
    table.add_section()
    table.add_row(
        "all", *(str(getattr(result, field)) for field in Figures.__struct_fields__[:5]), "agrees" if result.agrees else "does not agree"
    )
    console.print(table)


def _configure(
    folder: Path, port: int, addresses: SandboxAddresses, scenario: Scenario, to: list[str], provider_of: dict[str, str]
) -> Path:
    """Write the gateway's configuration: shipped defaults, but short retries, and rates by which every share leaves in SENDING_TIME."""
    key = generate(campaign.SENDER_DOMAIN, "demo", DkimAlgorithm.RSA_SHA256, 2048, folder / "keys")
    shares = Counter(provider_of.get(recipient.rpartition("@")[2], NOBODY) for recipient in to)
    rates = {name: max(10.0, round(count / SENDING_TIME, 1)) for name, count in shares.items() if name != NOBODY}
    retry = {"first": "2s", "growth": 1.5, "longest": "5s", "lifetime": "20s", "greylisted": "2s", "unsure": "2s", "rest": "2s"}
    tables: dict[str, Any] = {
        "gateway": {"hostname": "gateway.test", "domain": "gateway.test", "data": "data"},
        "listener": [{"address": f"127.0.0.1:{port}"}],
        "account": [{"name": "default", "notify": "events"}],
        "domain": [{"name": campaign.SENDER_DOMAIN, "dkim": [{"selector": "demo", "file": str(key.file)}]}],
        "stream": [{"name": "default", "retry": retry}],
        "provider": [{"name": name, "rate": rate, "pause": "1s"} for name, rate in rates.items()],
        "events": {"rotate_size": 100_000_000_000},
        "http": {"address": f"127.0.0.1:{_free_port()}"},
        **dns_tables(addresses),
    }
    file = folder / "mailwright.toml"
    file.write_text(toml(tables), "utf-8")
    return file


class _Internet:
    """The sandbox's process."""

    def __init__(self, process: asyncio.subprocess.Process, addresses: SandboxAddresses) -> None:
        self._process = process
        self.addresses = addresses

    async def counts(self) -> dict[str, Counts]:
        """What every provider has counted."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"counts\n")
        return msgspec.json.decode(await self._process.stdout.readline(), type=dict[str, Counts])


@contextlib.asynccontextmanager
async def _sandbox(folder: Path) -> AsyncIterator[_Internet]:
    """The sandbox as a process, until the block ends."""
    with (folder / "sandbox.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox", "--scenario", SCENARIO),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=_environment(),
            limit=10_000_000,
        )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise DemoError(f"the sandbox did not start; see {folder}/sandbox.log")
        ready = json.loads(line)
        yield _Internet(process, SandboxAddresses(ready["dns"], ready["smtp_port"], ready["providers"]))
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def _gateway(folder: Path, config: Path, port: int) -> AsyncIterator[None]:
    """The gateway as a process, from its first greeting until the block ends."""
    with (folder / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
        )
    try:
        await _greeting(process, port, folder)
        yield
    finally:
        await _end(process)


async def _greeting(process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
    """Wait until the gateway greets. Raises DemoError when it ended or took over 30 s."""
    deadline = time.monotonic() + 30
    while process.returncode is None and time.monotonic() < deadline:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        greeting = await reader.readline()
        writer.close()
        if greeting.startswith(b"220"):
            return
    raise DemoError(f"the gateway did not start; see {folder}/gateway.log")


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL ten seconds later."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _environment() -> dict[str, str]:
    """Our environment, with this house importable where it runs from its folder, not installed; a person's own configuration left out."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**{name: value for name, value in os.environ.items() if name != "MAILWRIGHT_CONFIG"}, "PYTHONPATH": path}


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
