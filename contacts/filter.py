"""Who is surely not in the list, known without asking the file: a Bloom filter in memory that all processes on the list share.

Nearly every lookup is of somebody who is not there. Asking SQLite costs ten microseconds and, worse, gives the interpreter to other threads
in the middle of accepting a message; four bits in a mapped file cost half a microsecond. `contacts.filter` is 16 MiB: at 10 million entries
one lookup in two hundred goes to the file for nothing, at 30 million one in eight.

It may say "perhaps" too often and must never say "no" wrongly. So whoever adds entries sets their bits before the commit that makes them
count, bits are never cleared, and the filter is only believed when it was built in this boot of the machine (memory that is mapped survives
a killed process, not a power cut) for this very database (`mark`, also in the database: a restored or foreign one has another). Else every
lookup asks the file until `SuppressionStore.build_filter` has read all keys. On a bad day (no room for the file) there is no filter.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from contacts.key import KEY_LENGTH

FILE = "contacts.filter"
BITS = 1 << 27
MASK = BITS - 1
HEAD = 4096
"""Octets before the bits: 32 for the boot and 32 for the mark, written when all is built."""
IDENTITY = 32
_words = struct.Struct("<4I")
assert _words.size == KEY_LENGTH


class Filter:
    """The mapped file."""

    def __init__(self, folder: Path) -> None:
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # two that come at once must not both make it
            size = HEAD + BITS // 8
            self._inode = os.fstat(handle).st_ino
            if os.fstat(handle).st_size != size:
                os.ftruncate(handle, 0)
                os.posix_fallocate(handle, 0, size)  # a full disk now is better than a signal later
            self._map = mmap.mmap(handle, size)
            fcntl.flock(handle, fcntl.LOCK_UN)  # the mapping keeps the file open, and would keep the lock
        finally:
            os.close(handle)
        self._bits = memoryview(self._map)[HEAD:]
        self.believed = False

    def believe(self, mark: bytes) -> bool:
        """Whether what is there was built in this boot for the database with this mark; from now on `surely_absent` may say so."""
        boot = _boot()
        self.believed = bool(boot and mark) and self._map[:IDENTITY] == boot and self._map[IDENTITY : 2 * IDENTITY] == mark
        return self.believed

    def still_there(self, folder: Path) -> bool:
        """Whether the file that others open now is this one."""
        try:
            return os.stat(folder / FILE).st_ino == self._inode
        except OSError:
            return False

    def built(self, mark: bytes) -> None:
        """Every key of the database with this mark is in."""
        self._map[: 2 * IDENTITY] = _boot().ljust(IDENTITY, b"\0") + mark
        self.believed = True

    def surely_absent(self, key: bytes) -> bool:
        """Whether no entry has this key. Only while `believed`."""
        bits = self._bits
        for word in _words.unpack(key):
            place = word & MASK
            if not bits[place >> 3] & (1 << (place & 7)):
                return True
        return False

    def add(self, keys: Iterable[bytes]) -> None:
        """Set the bits of keys; before the commit that makes their entries count."""
        bits, unpack = self._bits, _words.unpack
        for key in keys:
            a, b, c, d = unpack(key)
            bits[(a & MASK) >> 3] |= 1 << (a & 7)
            bits[(b & MASK) >> 3] |= 1 << (b & 7)
            bits[(c & MASK) >> 3] |= 1 << (c & 7)
            bits[(d & MASK) >> 3] |= 1 << (d & 7)

    def close(self) -> None:
        """Unmap."""
        self._bits.release()
        self._map.close()


def opened_filter(folder: Path) -> Filter | None:
    """The filter, or None where there can be none."""
    try:
        return Filter(folder)
    except (OSError, ValueError):
        return None


def _boot() -> bytes:
    """What is the same until the machine starts again; nothing where that is not known, and then no filter is believed after a restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:IDENTITY].ljust(IDENTITY, b"\0")
    except OSError:
        return b""
