"""The lock of a spool's folder: one process at a time.

The kernel drops the lock with the process, however that ends, so a lock file that lies about means nothing. It says nothing about network
file systems: the spool belongs on a local disk.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from gateway.spool.port import SpoolLocked

NAME = "spool.lock"


class FolderLock:
    """Held from construction to `release`. Raises SpoolLocked when somebody else has it (this process included)."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise SpoolLocked(f"{folder} is used by another process ({holder or 'unknown'})") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the folder back. Again does nothing."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1
