"""`python -m bench.suppression [--entries N]`: import, export, lookups, acceptance, with the commands a person types. JSON at the end.

Memory is the resident memory of the command and its workers together, sampled; lookups during the import are made by this process, as a
gateway makes them, 500 a second. What must hold at 10 million on two cores: import under 300 s, export under 120 s, memory under 300 MB,
lookups under 1 ms (p99) during the import and under 50 us afterwards, acceptance at least 90 % of the rate without the check.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.suppression.acceptance import measure
from bench.suppression.lookups import Lookups
from bench.suppression.material import write
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Rules

ROOT = Path(__file__).parents[2]


class Command:
    """A `mailwright suppression` command, its time and its memory."""

    def __init__(self, config: Path, *arguments: str) -> None:
        line = [sys.executable, "-m", "gateway.cli", "suppression", *arguments, "--config", str(config)]
        self._begun = time.monotonic()
        self._process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.memory = 0

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def look(self) -> None:
        """Sample its memory."""
        try:
            parent = psutil.Process(self._process.pid)
            resident = sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
        except psutil.Error:
            return
        self.memory = max(self.memory, resident)

    def done(self) -> dict[str, Any]:
        """Wait for its end; what it took and said."""
        while self.running():
            self.look()
            time.sleep(0.05)
        seconds = time.monotonic() - self._begun
        assert self._process.stdout is not None
        said = self._process.stdout.read().decode().strip()
        assert self._process.returncode == 0, said
        return {"seconds": round(seconds, 1), "memory_mb": round(self.memory / 1e6), "said": said.splitlines()[-1]}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where there is room; else a temporary folder")
    parser.add_argument("--list", type=Path, help="a CSV made by an earlier run with as many entries, kept there when it is missing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-suppression-") as name:
        folder = Path(name)
        config, data, source = folder / "mailwright.toml", folder / "data", given.list or folder / "list.csv"
        config.write_text('[gateway]\ndata = "data"\nhostname = "bench.test"\n')
        if not source.exists():
            write(source, given.entries)
        data.mkdir()
        result: dict[str, Any] = {"entries": given.entries, "file_mb": round(source.stat().st_size / 1e6)}
        store = SuppressionStore(data, Rules(Policy(), {"news": "marketing"}), time.time)
        lookups = Lookups(store, given.entries)
        command = Command(config, "import", "csv", str(source))
        result["lookups_during_import_us"] = lookups.while_(command.running, command.look)
        result["import"] = command.done()
        print(json.dumps(result), flush=True)
        result["list_mb"] = round((data / "contacts.db").stat().st_size / 1e6)
        lookups.many(5_000)
        result["lookups_us"] = lookups.many(50_000)
        store.close()
        for form in ("csv", "ndjson"):
            out = folder / f"out.{form}"
            result[f"export_{form}"] = Command(config, "export", form, str(out)).done()
            out.unlink()
        result["acceptance"] = measure(folder, data)
        print(json.dumps(result))


if __name__ == "__main__":
    main()
