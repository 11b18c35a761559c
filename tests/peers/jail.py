"""A server that cannot be installed here, run from its unpacked package: chroot into a folder that has what it needs and nothing else.

Paths and user names that are compiled into it then hold, and the system has neither its users nor its spool. The folder has the package,
the shared libraries that `ldd` names, the users, /dev/null, and what the test writes. chroot needs root; so do these servers.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.peers.programs import UNPACKED, installed, needs_root

_USERS = {"root": 0, "server": 64801, "queue": 64802, "reader": 64803}


class Jail:
    """The folder of one package. `names` gives the roles in _USERS the user names the server knows."""

    def __init__(self, root: Path, package: str, programs: list[str], names: dict[str, str]) -> None:
        needs_root("chroot")
        if not (UNPACKED / package).exists():
            pytest.skip(f"{package} is not unpacked (make peers)")
        for program in programs:
            if not (UNPACKED / package / program.lstrip("/")).exists():
                pytest.skip(f"the package {package} of this system has no {program}")
        self.root = root
        shutil.copytree(UNPACKED / package, root, symlinks=True, dirs_exist_ok=True)
        self.copy(shutil.which("dash") or "/bin/sh", "/bin/sh")
        for program in [*programs, "/bin/sh"]:
            self._libraries(program)
        users = {names.get(role, role): number for role, number in _USERS.items()}
        self.write("/etc/passwd", "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in users.items()))
        self.write("/etc/group", "".join(f"{name}:x:{number}:\n" for name, number in users.items()))
        self._devices()
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, inside: str) -> Path:
        """Where a path of the jail is outside."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str | bytes, mode: int = 0o644) -> None:
        """A file of root's."""
        file = self.path(inside)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(mode)

    def folder(self, inside: str, role: str, mode: int) -> None:
        """A folder that belongs to a role of _USERS."""
        self.path(inside).mkdir(parents=True, exist_ok=True)
        self.path(inside).chmod(mode)
        os.chown(self.path(inside), _USERS[role], _USERS[role])

    def copy(self, outside: str, inside: str) -> None:
        """A file of the system."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(outside, self.path(inside))

    def start(self, command: list[str]) -> None:
        """Run it in the jail, its words in the file `told`."""
        with (self.root / "told").open("ab") as told:
            self._process = subprocess.Popen(
                [installed("chroot", "coreutils"), str(self.root), *command],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it and its children."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def told(self) -> str:
        """What it said so far."""
        return (self.root / "told").read_text(errors="replace")

    def _libraries(self, program: str) -> None:
        folders = {str(file.parent) for file in self.root.rglob("*.so*")}
        environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(sorted(folders))}
        said = subprocess.run(["ldd", str(self.path(program))], capture_output=True, text=True, env=environment, check=False).stdout
        if "not found" in said:
            pytest.skip(f"{program} lacks shared libraries: {said}")
        for library in re.findall(r"(/\S+) \(0x", said):
            if not Path(library).is_relative_to(self.root) and not self.path(library).exists():
                self.copy(library, library)

    def _devices(self) -> None:
        null = self.path("/dev/null")
        null.parent.mkdir(exist_ok=True)
        try:
            os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            null.chmod(0o666)
            null.write_bytes(b"")
        except OSError as error:
            pytest.skip(f"no devices in a folder here: {error}")
