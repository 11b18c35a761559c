"""The first octet of a file that can be read only once, to tell its shape, and the file whole behind it."""

from typing import BinaryIO


def first_byte(file: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first octet that is no white space, and the file from its start."""
    start = file.read(4096)
    rest = Joined(start, file)
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1], rest  # type: ignore[return-value]


class Joined:
    """Octets that were read already, then the rest of the file."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start, self._file = start, file

    def read(self, size: int) -> bytes:
        if self._start:
            piece, self._start = self._start[:size], self._start[size:]
            return piece
        return self._file.read(size)

    def readline(self, size: int) -> bytes:
        if not self._start:
            return self._file.readline(size)
        end = self._start.find(b"\n") + 1 or len(self._start)
        piece, self._start = self._start[: min(end, size)], self._start[min(end, size) :]
        if piece.endswith(b"\n") or len(piece) == size:
            return piece
        return piece + self._file.readline(size - len(piece))
