"""The lock of a spool's folder: one process at a time.

The kernel drops the lock with the process, however that ends, so a lock file that lies about means nothing. It says nothing about network
file systems: the spool belongs on a local disk.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from gateway.spool.port import SpoolLocked

NAME = "spool.lock"


class FolderLock:
    """Held from construction to `release`. Raises SpoolLocked when somebody else (this process included) has it for `patience` seconds:
    the writing process of a gateway that was killed may still be finishing its last transaction."""

    def __init__(self, folder: Path, patience: float = 1.0) -> None:
        self.descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        """Whoever inherits it has the lock too."""
        if not self._taken(time.monotonic() + patience):
            holder = os.pread(self.descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self.descriptor)
            raise SpoolLocked(f"{folder} is used by another process ({holder or 'unknown'})")
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    def _taken(self, until: float) -> bool:
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.02)

    def release(self) -> None:
        """Give the folder back. Again does nothing."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        self.descriptor = -1
