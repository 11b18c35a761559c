"""The load and its referee: Postfix's smtp-source and smtp-sink, and the message they carry.

Twenty smtp-source processes hold one session each, one for each of twenty recipient domains, as fast as the other end answers.
smtp-sink takes everything and counts on its standard output, which goes to a file: what is read there is what the far end acknowledged.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

SENDER = "news@example.test"
SESSIONS = 20
DOMAINS = tuple(f"d{number:02}.test" for number in range(1, SESSIONS + 1))

_PARAGRAPH = (
    '<tr><td style="padding:12px 24px;font-family:Arial,sans-serif;font-size:15px;line-height:22px">\r\n'
    "Dear reader, the autumn collection has arrived in our shops; we have\r\n"
    "chosen twelve pieces for you, made to last and delivered free of charge.\r\n"
    '<a href="https://shop.example.test/autumn/{number}?c=2026-10">See piece number {number}</a>\r\n'
    "</td></tr>\r\n"
)


def message(size: int) -> bytes:
    """An HTML newsletter of `size` octets with CRLF line ends."""
    header = (
        f"From: Example News <{SENDER}>\r\nTo: Reader <reader@d01.test>\r\nSubject: The autumn collection is here\r\n"
        "Date: Mon, 05 Oct 2026 08:00:00 +0000\r\nMessage-ID: <autumn-2026@example.test>\r\nX-Campaign: autumn-2026\r\n"
        "List-Unsubscribe: <https://example.test/u/1>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=us-ascii\r\n"
        "Content-Transfer-Encoding: 7bit\r\n\r\n<html><body><table>\r\n"
    )
    parts, length, number = [header], len(header), 0
    while length < size - 400:
        number += 1
        parts.append(_PARAGRAPH.format(number=number))
        length += len(parts[-1])
    closing = "</table></body></html>\r\n"
    padding = size - length - len(closing) - len("<!--  -->\r\n")
    lines = ["<!-- " + "x" * min(70, max(0, padding)) + " -->\r\n"]
    left = padding - min(70, max(0, padding))
    while left > 0:
        take = min(72, left) if left != 1 and left - min(72, left) not in (1,) else min(60, left)
        lines.append("x" * max(0, take - 2) + "\r\n")
        left -= take
    return ("".join(parts) + "".join(lines) + closing).encode("ascii")


class Sink:
    """smtp-sink on 127.0.0.1:`port`; with `dump`, it keeps every message in a file of that folder. Use as a context manager."""

    def __init__(self, port: int, folder: Path, dump: Path | None = None) -> None:
        self._count = folder / f"sink-{port}.count"
        command = ["smtp-sink", "-4", "-c"]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        if dump is not None:
            dump.mkdir(mode=0o777)
            dump.chmod(0o777)
            command += ["-d", f"{dump}/m."]
        self._output = self._count.open("wb")
        self._process = subprocess.Popen([*command, f"127.0.0.1:{port}", "1000"], stdout=self._output, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def messages(self) -> int:
        """Messages the sink has acknowledged."""
        with self._count.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200))
            tail = file.read().decode("ascii", "replace")
        fields = [word for word in tail.replace("\r", " ").split() if word.startswith("mesg=")]
        return int(fields[-1].removeprefix("mesg=")) if fields else 0

    def wait_for(self, count: int, patience: float) -> float:
        """The monotonic time at which `count` messages were seen. Raises TimeoutError when none arrived for `patience` seconds."""
        seen, moved = -1, time.monotonic()
        while True:
            now, messages = time.monotonic(), self.messages()
            if messages >= count:
                return now
            if messages != seen:
                seen, moved = messages, now
            if now - moved > patience:
                raise TimeoutError(f"the sink has {messages} of {count} messages and none came for {patience:.0f} s")
            time.sleep(0.02)


class Sources:
    """Twenty smtp-source processes that together send `count` messages (a multiple of 20) to 127.0.0.1:`port`."""

    def __init__(self, port: int, count: int, content: bytes) -> None:
        # smtp-source reads lines and writes each with CRLF itself.
        with tempfile.NamedTemporaryFile(suffix=".eml", delete=False) as file:
            file.write(content.replace(b"\r\n", b"\n"))
        self._file = Path(file.name)
        command = ["smtp-source", "-4", "-d", "-s", "1", "-m", str(count // SESSIONS), "-f", SENDER, "-M", "source.example.test"]
        command += ["-F", file.name]
        self._processes = [
            subprocess.Popen(
                [*command, "-t", f"reader@{domain}", f"127.0.0.1:{port}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for domain in DOMAINS
        ]

    def wait(self, timeout: float) -> float:
        """The monotonic time at which the last one had its last 250. Raises RuntimeError when one failed or time was up."""
        deadline = time.monotonic() + timeout
        try:
            for process in self._processes:
                process.wait(max(0.1, deadline - time.monotonic()))
            ended = time.monotonic()
            for process in self._processes:
                if process.returncode:
                    words = process.stderr.read().decode(errors="replace") if process.stderr else ""
                    raise RuntimeError(f"smtp-source ended with {process.returncode}: {words.strip()}")
            return ended
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"smtp-source was not finished after {timeout:.0f} s") from None
        finally:
            for process in self._processes:
                with contextlib.suppress(OSError):
                    process.kill()
                process.wait()
                if process.stderr:
                    process.stderr.close()
            self._file.unlink(missing_ok=True)
