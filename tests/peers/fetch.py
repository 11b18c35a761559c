"""`make peers`: unpack the Debian packages that the tests of peers use and that are not to be installed.

OpenSMTPD and Exim cannot be installed beside Postfix; the mail libraries of PHP and Node.js need not be installed to be used. For each, apt
says which packages are missing here, fetches them (as any user; its lists must be there: `apt-get update`), and dpkg unpacks them into
`var/peers/PACKAGE`, where no maintainer script runs and nothing of the system changes.

It never fails: what cannot be fetched is said, and its tests skip. What is there is not fetched again.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.peers.programs import UNPACKED

PACKAGES = ("opensmtpd", "exim4-daemon-light", "libphp-phpmailer", "node-nodemailer")

PATIENCE = 120
"""Seconds for one call of apt."""


def fetch(package: str, into: Path) -> str:
    """Unpack `package`, with what it needs and this machine lacks, into the new folder `into`. Returns what went wrong, or ""."""
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=into.parent) as scratch:
            _run(["apt-get", "download", "-q", *_missing(package)], Path(scratch))
            root = Path(scratch) / "root"
            root.mkdir()
            for archive in sorted(Path(scratch).glob("*.deb")):
                _run(["dpkg", "--extract", str(archive), str(root)], Path(scratch))
            root.rename(into)
    except (OSError, subprocess.SubprocessError) as error:
        return str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
    return ""


def _missing(package: str) -> list[str]:
    """`package` and the packages that would be installed with it; nothing is installed or removed by asking."""
    told = _run(["apt-get", "install", "--simulate", "--no-install-recommends", package], Path.cwd())
    return [package, *sorted({line.split()[1] for line in told.splitlines() if line.startswith("Inst ")} - {package})]


def _run(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def main(folder: Path) -> None:
    """Fetch what is not in `folder`."""
    for package in PACKAGES:
        if not (folder / package).exists() and (trouble := fetch(package, folder / package)):
            print(f"{package} could not be fetched, its tests skip: {trouble}", file=sys.stderr)


if __name__ == "__main__":
    main(UNPACKED)
