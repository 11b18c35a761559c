"""`python -m sandbox`: the sandbox as a process for programs. People use `mailwright sandbox`.

Writes one JSON line when it listens: `{"ready": true, "dns", "smtp_port", "providers"}`. Then it answers each line on standard input with
one line: `counts` with every provider's books, anything else with `{"error": …}`. The end of its input ends it, so it never outlives its
parent.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec

from sandbox.scenario import load, shipped
from sandbox.world import Sandbox


async def serve(arguments: argparse.Namespace) -> None:
    """Run until standard input ends."""
    scenario = load(Path(arguments.scenario)) if arguments.scenario.endswith(".toml") else shipped(arguments.scenario)
    sandbox = Sandbox(scenario)
    addresses = await sandbox.start(arguments.dns_port, arguments.smtp_port)
    try:
        _write({"ready": True, "dns": addresses.dns, "smtp_port": addresses.smtp_port, "providers": addresses.providers})
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "counts":
                _write({name: msgspec.to_builtins(counts) for name, counts in sandbox.counts().items()})
            else:
                _write({"error": "unknown command"})
    finally:
        await sandbox.stop()


def _write(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenario", default="demo", help="a shipped scenario's name, or a file that ends with .toml")
    parser.add_argument("--dns-port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
