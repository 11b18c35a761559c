"""A disk that lies: what was not synced may be lost at a power cut, in any subset and torn at sectors; and a disk that fills or breaks.

Writes go through to real files, which play the page cache that every connection sees. Beside them this keeps, for each file, the bytes that
are durable and the writes since the last sync. At the cut an image of what a restarted machine would find is laid into another folder:
durable bytes, and of the rest what chance decides. From the cut on every write fails. Shared memory is passed through; it is lost as well.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

SECTOR = 512


class _Durable:
    """One file: the bytes that are safe, and the writes and truncations that are not."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.safe, offset, data)
        self.pending.clear()

    def image(self, chance: random.Random) -> bytes:
        """What is found after the cut."""
        found = bytearray(self.safe)
        keep = chance.choice((0.0, 0.3, 0.7, 0.95, 1.0))
        prefix = chance.randrange(len(self.pending) + 1) if chance.random() < 0.5 else len(self.pending)
        for offset, data in self.pending[:prefix]:
            if chance.random() >= keep:
                continue
            if data is None or chance.random() < 0.7:
                _apply(found, offset, data)
                continue
            for start in range(0, len(data), SECTOR):  # torn
                if chance.random() < 0.5:
                    _apply(found, offset + start, data[start : start + SECTOR])
        return bytes(found)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """A write of `data` at `offset`, or, without data, a truncation to `offset`."""
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class LyingDisk(apsw.VFS):
    """A file layer by `name`. `fault` is asked before every write ("write") and sync ("sync") of a file and may raise an apsw error."""

    def __init__(self, name: str) -> None:
        self.disk_name = name
        self.operations = 0
        self.cut_at = -1
        """Number of the operation at which the power is cut; -1 for never."""
        self.image: dict[str, bytes] | None = None
        self.fault: Callable[[str, str], None] = lambda operation, file: None
        self._chance = random.Random(name)
        self._files: dict[str, _Durable] = {}
        self._lock = threading.Lock()
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        with self._lock:
            durable = self._files.setdefault(Path(path).name, _Durable())
        return _LyingFile(self, Path(path).name, durable, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        with self._lock:
            self._files.pop(Path(filename).name, None)

    def operate(self, operation: str, file: str, durable: _Durable, offset: int = 0, data: bytes | None = None) -> None:
        """Account for one write, truncation or sync before it happens. Raises when there is no power, or what `fault` raises."""
        with self._lock:
            self.operations += 1
            if self.image is None and self.operations == self.cut_at:
                if operation != "sync":
                    durable.pending.append((offset, data))
                self.image = {name: kept.image(self._chance) for name, kept in self._files.items()}
            if self.image is not None:
                raise apsw.IOError("no power")
            self.fault(operation, file)
            if operation == "sync":
                durable.sync()
            else:
                durable.pending.append((offset, data))

    def lay(self, folder: Path) -> None:
        """What a restarted machine finds, into `folder`."""
        assert self.image is not None
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.image.items():
            if not name.endswith("-shm"):
                (folder / name).write_bytes(content)


class _LyingFile(apsw.VFSFile):
    def __init__(self, disk: LyingDisk, file: str, durable: _Durable, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self._disk, self._file, self._durable = disk, file, durable
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.operate("write", self._file, self._durable, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.operate("truncate", self._file, self._durable, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # the real sync is left out: it proves nothing here and takes time
        self._disk.operate("sync", self._file, self._durable)

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE
