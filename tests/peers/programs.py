"""Where the programs of others are found: installed on this machine, or unpacked beside the tests by `make peers`.

A test that needs one that is in neither place is skipped, and the reason says how to get it. Nothing here downloads anything.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

UNPACKED = Path(os.environ.get("MAILWRIGHT_PEERS", ROOT / "var" / "peers"))
"""Packages that cannot be installed beside Postfix, or need not be installed, each in a folder of its name."""

_SYSTEM = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def installed(program: str, package: str) -> str:
    """The path of a program of the system; skips the test where there is none."""
    found = shutil.which(program, path=_SYSTEM)
    if found is None:
        pytest.skip(f"{program} is not installed (apt-get install {package})")
    return found


def swaks(tls: bool) -> str:
    """swaks, with what it needs for TLS."""
    found = installed("swaks", "swaks")
    if tls and subprocess.run(["perl", "-MNet::SSLeay", "-e", "1"], capture_output=True, check=False).returncode != 0:
        pytest.skip("swaks has no TLS here (apt-get install libnet-ssleay-perl)")
    return found


def needs_sasl_plain() -> None:
    """Skip the test where Postfix cannot log in anywhere: the mechanisms are in a package of their own."""
    if not any(any(Path("/usr").glob(f"{folder}/sasl2/libplain.so*")) for folder in ("lib", "lib/*", "lib64")):
        pytest.skip("Cyrus SASL has no PLAIN here (apt-get install libsasl2-modules)")


def unpacked(package: str, *places: str) -> Path:
    """The first of `places` (relative to the root of a file system) in an unpacked or installed package; skips where there is none."""
    for root in (UNPACKED / package, Path("/")):
        for place in places:
            if (root / place).exists():
                return root / place
    pytest.skip(f"{package} is neither installed nor unpacked (make peers)")


def needs_root(why: str) -> None:
    """Skip the test for anybody but root."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that servers can reach which give up root; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="mailwright-peer-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def greets(port: int) -> bool:
    """Whether 127.0.0.1:`port` greets with 220."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            greeting = connection.recv(100)
            connection.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str, told: Callable[[], str] = str, patience: float = 30.0) -> None:
    """Wait until it holds, at most `patience` seconds; then fail with `told()`, what the program said."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}:\n{told()[-3000:]}"
        time.sleep(0.05)
