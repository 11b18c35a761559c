"""What a group of processes costs: CPU seconds and memory, children and short-lived processes included.

With a writable cgroup v2 hierarchy every side runs in a group of its own and the kernel counts. Without one, /proc is read: the CPU time of
a process tree, and of every child its members have waited for; a daemon that leaves the tree would be missed, so Postfix is started in the
foreground there. Promises: `cpu()` never counts less than was used by processes that still live or were waited for. Memory is sampled, so
a short peak may be missed.
"""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cgroup_root() -> Path | None:
    """Where a cgroup v2 hierarchy is mounted and groups can be made, or None."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if kind == "cgroup2" and os.access(place, os.W_OK):
                return Path(place)
    return None


class Group:
    """A group of processes that starts empty. Use as a context manager: leaving it kills what is left and removes the group."""

    def __init__(self, name: str) -> None:
        root = cgroup_root()
        self._folder = root / f"mailwright-bench-{os.getpid()}-{name}" if root is not None else None
        self._roots: list[int] = []

    def __enter__(self) -> Self:
        if self._folder is not None:
            try:
                self._folder.mkdir()
            except OSError:
                self._folder = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            (self._folder / "cgroup.kill").write_text("1")
        for _attempt in range(50):
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            if not self._folder.exists():
                return
            time.sleep(0.1)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Run `command` in the group; the shell that enters it is replaced by the command."""
        if self._folder is not None:
            shell = shutil.which("sh") or "/bin/sh"
            command = [shell, "-c", f'echo $$ > {self._folder}/cgroup.procs; exec "$@"', "sh", *command]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        self._roots.append(process.pid)
        return process

    def adopt(self, pid: int) -> None:
        """Count the tree of `pid` too (a daemon that has left the tree of its starter); with a cgroup it is there already."""
        self._roots.append(pid)

    def processes(self) -> list[int]:
        """The process ids in the group now."""
        if self._folder is not None:
            return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]
        return _tree(self._roots)

    def cpu(self) -> tuple[float, float]:
        """User and system seconds used by the group since it was made."""
        if self._folder is not None:
            fields = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
            return int(fields["user_usec"]) / 1e6, int(fields["system_usec"]) / 1e6
        user = system = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                fields_of = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                user += int(fields_of[11]) + int(fields_of[13])
                system += int(fields_of[12]) + int(fields_of[14])
        return user / _TICK, system / _TICK

    def resident(self) -> float:
        """Megabytes of resident memory: the sum over the processes (pages they share are counted in each)."""
        pages = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * _PAGE / 1e6

    def proportional(self) -> float:
        """Megabytes of memory in which a shared page is divided among those who share it (PSS)."""
        kilobytes = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes * 1024 / 1e6


def _tree(roots: list[int]) -> list[int]:
    """The ids of the processes under `roots`, themselves included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid for pid in roots if Path(f"/proc/{pid}").exists()]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, []))
    return found


class MemoryWatch:
    """Samples a group's memory beside a run: `rss` each second and `pss` each third second, peaks in megabytes."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rss = 0.0
        self.pss = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        turn = 0
        while not self._stop.wait(1.0):
            turn += 1
            self.rss = max(self.rss, self._group.resident())
            if turn % 3 == 0:
                self.pss = max(self.pss, self._group.proportional())
