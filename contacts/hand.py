"""`python -m contacts.hand`: one import or export of a list for a gateway, in a process of its own, so that mail does not wait for it.

Standard input begins with a line of JSON that says what is wanted (`Wish`); what follows is the file of an import. An export goes to
standard output as it is made; an import answers there with one JSON object when it has ended. A refusal is one JSON object
`{"error": …}` on standard error and exit code 65; nothing has changed then. A file comes in pieces behind their lengths, so that one whose
sender is gone is not taken for a whole one.
"""

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from contacts import command
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Rules
from contacts.trouble import StoreError
from contacts.workers import processors

NICE = 5
REFUSED = 65
MOST_BAD = 1000
"""Bad lines that an answer names; the rest is counted."""
FRAME = 4
"""Octets of the length before each piece of a file; a piece of length 0 is its end."""


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wanted. `batch` is given for an import."""

    folder: str
    format: str
    batch: str = ""
    since: str = ""
    salt: str = ""
    scope: str = ""
    reason: str = ""
    node: str = ""
    dry_run: bool = False
    skip_bad: bool = False


class Framed(io.RawIOBase):
    """A file that comes in pieces, each behind its length. One that ends without its end raises StoreError: whoever sent it is gone."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._left = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left and not self._ended:
            head = self._source.read(FRAME)
            if len(head) < FRAME:
                raise StoreError("the file ended too early")
            self._left = int.from_bytes(head, "big")
            self._ended = not self._left
        if self._ended:
            return 0
        data = self._source.read(min(self._left, len(buffer)))
        if not data:
            raise StoreError("the file ended too early")
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def main() -> int:
    """Do what standard input says."""
    with contextlib.suppress(OSError):
        os.nice(NICE)  # the sandbox of a service (systemd's @resources) may forbid it, and it is no more than a courtesy
    try:
        wish = msgspec.json.decode(sys.stdin.buffer.readline(65_536), type=Wish)
        store = SuppressionStore(Path(wish.folder), Rules(Policy(), {}), time.time)
        try:
            _import(store, wish) if wish.batch else _export(store, wish)
        finally:
            store.close()
    except (command.Refused, StoreError, msgspec.DecodeError) as refusal:
        sys.stderr.write(msgspec.json.encode({"error": str(refusal)}).decode())
        return REFUSED
    except OSError:
        return REFUSED  # whoever asked is gone
    return 0


def _export(store: SuppressionStore, wish: Wish) -> None:
    shape = command.format_named(wish.format, wish.salt.encode() or None)
    command.export(store, shape, sys.stdout.buffer, time.time(), since=wish.since, processes=processors())
    sys.stdout.buffer.flush()


def _import(store: SuppressionStore, wish: Wish) -> None:
    bad = io.StringIO()
    done = command.import_file(
        store,
        io.BufferedReader(Framed(sys.stdin.buffer), 65_536),
        command.format_named(wish.format),
        wish.batch,
        time.time(),
        _Most(bad),
        scope=wish.scope,
        reason=wish.reason,
        node=wish.node,
        dry_run=wish.dry_run,
        skip_bad=wish.skip_bad,
        processes=processors(),
    )
    answer = msgspec.to_builtins(done) | {"bad": bad.getvalue().splitlines()}
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()


class _Most(io.StringIO):
    """Keeps the first lines."""

    def __init__(self, kept: io.StringIO) -> None:
        super().__init__()
        self._kept = kept
        self._count = 0

    def write(self, text: str) -> int:
        self._count += 1
        return self._kept.write(text) if self._count <= MOST_BAD else len(text)


if __name__ == "__main__":
    sys.exit(main())
