"""Our side: `mailwright serve` with the shipped example sink.toml, its ports changed and a DKIM key for the sender's domain added.

Everything else is as shipped: events file, metrics, log (to a file), a return path for each delivery, the spool's durability.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from bench.relay.accounting import Group
from bench.relay.postfix import STRACE, greets, until
from sandbox.snippet import toml

ROOT = Path(__file__).parents[2]


class Mailwright:
    """One gateway process on loopback `port`, relaying to `sink_port`. `key` is the PEM text of the RSA key."""

    name = "mailwright"
    title = "Mailwright"

    def __init__(self, folder: Path, port: int, sink_port: int, key: bytes, profile: Path | None = None) -> None:
        folder.mkdir(mode=0o755)
        self._folder = folder
        self._profile = profile
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.config = folder / "mailwright.toml"
        tables = tomllib.loads((ROOT / "config" / "examples" / "sink.toml").read_text("utf-8"))
        tables["gateway"]["data"] = "data"
        tables["listener"] = [{"address": f"127.0.0.1:{port}"}]
        tables["http"] = {"address": f"127.0.0.1:{port + 1}"}
        tables["domain"] = [{"name": "example.test", "dkim": [{"selector": "bench", "file": "bench.private"}]}]
        for route in tables["route"]:
            route["port"] = sink_port
        (folder / "bench.private").write_bytes(key)
        (folder / "bench.private").chmod(0o600)
        self.config.write_text(toml(tables), "utf-8")

    def start(self, group: Group, trace: Path | None = None) -> None:
        """Start it and wait until it greets. With `trace`, under strace that notes syncs in that file."""
        tracing = [*STRACE, "-o", str(trace)] if trace else []
        python = [sys.executable]
        if self._profile is not None and not shutil.which("py-spy"):
            python += ["-m", "cProfile", "-o", str(self._profile)]
        with (self._folder / "start.log").open("ab") as log:
            command = [*tracing, *python, "-m", "gateway.cli", "serve", "--config", str(self.config)]
            self._process = group.start(command, stdout=log, stderr=log, cwd=ROOT)
            until(lambda: greets(self.port), "Mailwright", self._folder)
            if self._profile is not None and shutil.which("py-spy"):
                spy = ["py-spy", "record", "-r", "250", "-t", "-f", "speedscope", "-o", str(self._profile), "-p", str(self._process.pid)]
                subprocess.Popen(spy, stdout=log, stderr=log)

    def stop(self) -> None:
        """Ask it to end, as systemd would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
