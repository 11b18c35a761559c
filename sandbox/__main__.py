"""`python -m sandbox`: the sandbox as a process, for programs; and `mailwright sandbox`, for people, as a staging target.

For programs standard input is a pipe. One JSON line says when it listens: `{"ready": true, "dns", "smtp_port", "providers",
"policy_port", "authority"}`. Then each line of input is answered by one line: `counts` by every provider's books, anything else by
`{"error": …}`. The end of the input ends it, so it never outlives its parent. Without a pipe it prints where it listens and what a
gateway's configuration needs, and runs until SIGINT or SIGTERM, then prints what the providers counted.
"""

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import msgspec

from sandbox.scenario import Mailboxes, load, shipped
from sandbox.snippet import dns_tables, toml
from sandbox.world import Sandbox, SandboxAddresses


async def serve(arguments: argparse.Namespace) -> None:
    """Run until told to end. Raises OSError when a port or the scenario's file cannot be had, ValueError for a scenario that is wrong."""
    named = str(arguments.scenario)
    scenario = load(Path(named)) if named.endswith(".toml") else shipped(named)
    sandbox = Sandbox(scenario)
    addresses = await sandbox.start(arguments.dns_port, arguments.smtp_port)
    try:
        if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
            await _answer(sandbox, addresses)
        else:
            await _stage(sandbox, addresses)
    finally:
        await sandbox.stop()


async def _answer(sandbox: Sandbox, addresses: SandboxAddresses) -> None:
    """Speak to the program at the other end of the pipe."""
    ready = {"ready": True, "dns": addresses.dns, "smtp_port": addresses.smtp_port, "providers": addresses.providers}
    _write(ready | {"policy_port": addresses.policy_port, "authority": addresses.authority})
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "counts":
            _write({name: msgspec.to_builtins(counts) for name, counts in sandbox.counts().items()})
        else:
            _write({"error": "unknown command"})


async def _stage(sandbox: Sandbox, addresses: SandboxAddresses) -> None:
    """Tell a person what there is, and wait for a signal."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    print(f"{sandbox.scenario.title or 'A fake Internet'}. Name server on {addresses.dns}, SMTP on port {addresses.smtp_port} of:\n")
    for mailboxes in sandbox.scenario.provider:
        print(f"  {addresses.providers[mailboxes.name]:12} {mailboxes.name:20} {', '.join(mailboxes.domains)}: {_habits(mailboxes)}")
    print(f"\nA gateway reaches it with these lines in its configuration:\n\n{toml(dns_tables(addresses))}", flush=True)
    await ended.wait()
    for name, counts in sandbox.counts().items():
        deferred = sum(counts.deferred.values())
        print(f"{name:20} {counts.accepted} accepted, {counts.refusals} refused, {deferred} deferred, {counts.dropped} dropped")


def _habits(mailboxes: Mailboxes) -> str:
    """What a provider does, in a line."""
    if not mailboxes.listening:
        return "refuses connections"
    habits: list[str] = list(dict.fromkeys(temper.kind for temper in mailboxes.temper))
    habits += [f"{host} {word}" for hosts, word in ((mailboxes.dead, "is dead"), (mailboxes.silent, "is silent")) for host in hosts]
    return ", ".join(habits) or "takes everything"


def _write(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A fake Internet on loopback.")
    parser.add_argument("--scenario", default="demo", help="a shipped scenario's name, or a file that ends with .toml")
    parser.add_argument("--dns-port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
