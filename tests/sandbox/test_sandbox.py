"""The whole sandbox, visited by aiosmtplib and by bare sockets."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from sandbox.scenario import SCENARIOS, Scenario, shipped
from sandbox.world import Sandbox, SandboxAddresses

MESSAGE = b"From: a@x.test\r\nTo: b@p.test\r\nMessage-ID: <1@x.test>\r\nSubject: hello\r\n\r\nHello\r\n"


class Clock:
    """A clock the test holds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _with(provider: dict[str, Any], test: Callable[[Sandbox, SandboxAddresses, Clock], Awaitable[None]]) -> Sandbox:
    """Run `test` against a sandbox with one provider `p` of p.test; the sandbox is returned stopped, for its books."""
    clock = Clock()
    sandbox = Sandbox(Scenario.model_validate({"provider": [{"name": "p", "domains": ["p.test"], **provider}]}), clock)

    async def run() -> None:
        addresses = await sandbox.start()
        try:
            async with asyncio.timeout(20):
                await test(sandbox, addresses, clock)
        finally:
            await sandbox.stop()

    asyncio.run(run())
    return sandbox


async def _send(addresses: SandboxAddresses, recipient: str = "b@p.test", sender: str = "a@x.test", **options: Any) -> int:
    """The code that decided: of the final reply, or of the refusal. 0 where the connection was closed."""
    client = aiosmtplib.SMTP(hostname=addresses.providers["p"], port=addresses.smtp_port, timeout=10, start_tls=False, **options)
    try:
        await client.connect()
        await client.sendmail(sender, recipient, MESSAGE)
        await client.quit()
    except aiosmtplib.SMTPRecipientsRefused as error:
        return error.recipients[0].code
    except aiosmtplib.SMTPResponseException as error:
        return error.code
    except aiosmtplib.SMTPException:
        return 0
    finally:
        client.close()
    return 250


async def _dialogue(addresses: SandboxAddresses, sent: bytes) -> bytes:
    """Everything the provider answers when all of `sent` is written at once."""
    reader, writer = await asyncio.open_connection(addresses.providers["p"], addresses.smtp_port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    return received


def test_a_message_is_taken_counted_once_and_kept_as_it_was_sent() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        assert [await _send(addresses) for _ in range(2)] == [250, 250]

    sandbox = _with({}, visit)
    counts = sandbox.counts()["p"]
    assert (counts.accepted, counts.duplicates, counts.attempts, counts.connections) == (1, 1, 2, 2)
    assert [message.content for message in sandbox.messages("p")] == [MESSAGE, MESSAGE]
    assert sandbox.standing("b@p.test") == ["accepted"]


def test_every_disposition_is_counted_under_its_category() -> None:
    tempers = [
        {"kind": "unknown-user", "recipients": ["nobody@*"]},
        {"kind": "mailbox-full", "recipients": ["full@*"]},
        {"kind": "trouble", "recipients": ["once@*"], "times": 1},
        {"kind": "drop", "recipients": ["cut@*"]},
        {"kind": "drop", "recipients": ["lost@*"], "taken": True},
        {"kind": "drop", "recipients": ["early@*"], "step": "data"},
        {"kind": "content", "recipients": ["spam@*"]},
    ]

    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        names = ("nobody", "full", "once", "once", "cut", "lost", "early", "spam", "fine")
        codes = [await _send(addresses, f"{name}@p.test", f"{name}@x.test") for name in names]
        assert codes == [550, 452, 451, 250, 0, 0, 0, 554, 250]
        assert await _send(addresses, "someone@elsewhere.test", "r@x.test") == 550

    counts = _with({"temper": tempers}, visit).counts()["p"]
    assert counts.accepted == 3  # once, lost, fine: but they share a Message-ID only with themselves
    assert counts.refused == {"bad-mailbox": 1, "content": 1, "relaying": 1}
    assert counts.deferred == {"mailbox-full": 1}
    assert counts.deferrals == {"mailbox-full": 1, "receiver-trouble": 1}
    assert (counts.dropped, counts.drops) == (2, 3)
    assert counts.deliveries == 9


def test_greylisting_goes_by_the_sandboxs_clock() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        codes = []
        for clock.now in (0.0, 29.0, 30.0):
            codes.append(await _send(addresses))
        assert codes == [451, 451, 250]

    assert _with({"temper": [{"kind": "greylist", "seconds": 30}]}, visit).counts()["p"].deferrals == {"greylisted": 2}


def test_a_refusal_at_mail_is_the_same_delivery_when_it_comes_again() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        assert [await _send(addresses) for _ in range(2)] == [421, 421]
        assert sandbox.counts()["p"].deferred == {"rate-limited": 1}
        clock.now += 10
        assert await _send(addresses) == 250

    counts = _with({"voice": "google", "temper": [{"kind": "rate", "messages": 0, "times": 2}]}, visit).counts()["p"]
    assert (counts.accepted, counts.deferred, counts.deferrals) == (1, {}, {"rate-limited": 2})


def test_one_connection_too_many_is_greeted_with_421_and_closed() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        held = [await asyncio.open_connection(addresses.providers["p"], addresses.smtp_port) for _ in range(2)]
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"220 ")
        assert (await _dialogue(addresses, b"")).startswith(b"421 4.7.0 [TS01] Too many concurrent connections from 127.0.0.1")
        for _, writer in held:
            writer.close()

    counts = _with({"voice": "yahoo", "temper": [{"kind": "connections", "messages": 2}]}, visit).counts()["p"]
    assert (counts.connections, counts.connections_refused) == (3, 1)


def test_pipelined_commands_are_offered_and_answered_in_order() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        greeted = await _dialogue(
            addresses,
            b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@p.test>\r\nDATA\r\n" + MESSAGE + b".\r\nMAIL FROM:<s@x.test> SIZE=100\r\n"
            b"RCPT TO:<c@p.test>\r\nDATA\r\n" + MESSAGE + b".\r\nQUIT\r\n",
        )
        lines = greeted.split(b"\r\n")
        assert b"250-PIPELINING" in lines
        assert b"250-8BITMIME" in lines
        codes = [line[:3] for line in lines if line[3:4] == b" "]
        assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]

    assert [message.sender for message in _with({}, visit).messages()] == ["", "s@x.test"]


def test_extensions_can_be_left_out_and_eight_bit_mail_is_then_refused() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        client = aiosmtplib.SMTP(hostname=addresses.providers["p"], port=addresses.smtp_port, start_tls=False)
        await client.connect()
        await client.ehlo()
        offered = [name for name in ("pipelining", "8bitmime", "smtputf8", "starttls") if client.supports_extension(name)]
        await client.quit()
        assert offered == []
        answer = await _dialogue(
            addresses, b"EHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@p.test>\r\nDATA\r\nA: b\r\n\r\n\xc3\xa9\r\n.\r\nQUIT\r\n"
        )
        assert b"\r\n554 5.6.1 " in answer
        assert b"\r\n555 5.5.4 " in await _dialogue(addresses, b"EHLO c\r\nMAIL FROM:<a@x.test> BODY=8BITMIME\r\nQUIT\r\n")

    _with({"pipelining": False, "eight_bit": False, "smtputf8": False, "starttls": False}, visit)


def test_starttls_is_offered_with_a_certificate_of_the_providers_names() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        client = aiosmtplib.SMTP(
            hostname=addresses.providers["p"], port=addresses.smtp_port, start_tls=True, validate_certs=False, timeout=10
        )
        await client.connect()
        await client.sendmail("a@x.test", "b@p.test", MESSAGE)
        await client.quit()

    sandbox = _with({"mx": ["mx.p.test"]}, visit)
    assert sandbox.counts()["p"].tls == 1
    assert [message.tls for message in sandbox.messages()] == [True]


def test_a_provider_that_does_not_listen_refuses_connections() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.12", addresses.smtp_port)

    scenario = {"provider": [{"name": "up", "domains": ["up.test"]}, {"name": "down", "domains": ["down.test"], "listening": False}]}
    sandbox = Sandbox(Scenario.model_validate(scenario))

    async def run() -> None:
        addresses = await sandbox.start()
        await visit(sandbox, addresses, Clock())
        await sandbox.stop()

    asyncio.run(run())


def test_messages_kept_are_bounded() -> None:
    async def visit(sandbox: Sandbox, addresses: SandboxAddresses, clock: Clock) -> None:
        for number in range(4):
            await _send(addresses, f"u{number}@p.test")

    clockless = Scenario.model_validate({"provider": [{"name": "p", "domains": ["p.test"]}], "keep": 2})
    sandbox = Sandbox(clockless)

    async def run() -> None:
        addresses = await sandbox.start()
        await visit(sandbox, addresses, Clock())
        await sandbox.stop()

    asyncio.run(run())
    assert [message.recipients for message in sandbox.messages()] == [("u2@p.test",), ("u3@p.test",)]


@pytest.mark.parametrize("name", sorted(path.stem for path in SCENARIOS.glob("*.toml")))
def test_shipped_scenarios_start_and_send_nothing_to_real_domains(name: str) -> None:
    scenario = shipped(name)
    assert all(domain.endswith(".test") for mailboxes in scenario.provider for domain in mailboxes.domains)

    async def run() -> None:
        sandbox = Sandbox(scenario)
        await sandbox.start()
        await sandbox.stop()

    asyncio.run(run())


def test_as_a_process_it_says_where_it_listens_answers_counts_and_ends_with_its_input() -> None:
    async def run() -> None:
        root = Path(__file__).parents[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sandbox", "--scenario", "accept", cwd=root, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        addresses = SandboxAddresses(ready["dns"], ready["smtp_port"], {"p": ready["providers"]["alpha"]})
        assert ready["ready"] is True
        assert await _send(addresses, "x@alpha.test") == 250
        process.stdin.write(b"counts\n")
        counts = json.loads(await process.stdout.readline())
        assert counts["alpha"]["accepted"] == 1
        process.stdin.close()
        assert await process.wait() == 0

    asyncio.run(run())
