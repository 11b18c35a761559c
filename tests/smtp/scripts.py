"""Conversations as files: their language, read here and played by `tests/smtp/test_dialogues.py` and `tests/doors/test_dialogues.py`.

`C:` a line the client sends (CRLF is added; Python escapes hold), `R:` octets as they are, `E:` the client's end, `S:` a line the server
says (a last `*` stands for anything), `S+:` a whole reply of any number of lines, `S?:` a line that comes or not, as the segments fall,
`A:` the door's next answer (accept where there is none left), `Q:` what the last question was about, `D:` the content of a message the
door got, `T:` the handshake is done and these options hold, `X:` the server has closed, `W:` so many seconds pass (at a real listener
only), `O:` options, `#` comment. `C*300:` is said 300 times, with `{n}` counting from 0.
"""

import re
from pathlib import Path

import msgspec

from gateway.smtp.events import ServerOptions
from mail.reply import Reply, reply_from_lines

FOLDER = Path(__file__).parent / "dialogues"
DIALOGUES = sorted(FOLDER.rglob("*.txt"))
_LINE = re.compile(r"([A-Z][+?]?)(?:\*(\d+))?: ?(.*)")

Script = list[tuple[str, str]]


def name_of(file: Path) -> str:
    return str(file.relative_to(FOLDER).with_suffix(""))


def unescaped(text: str) -> bytes:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def read(file: Path) -> Script:
    script: Script = []
    for line in file.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, f"{file}: {line}"
        kind, times, text = match.groups()
        script += [(kind, text.replace("{n}", str(number)) if times else text) for number in range(int(times or 1))]
    return script


def of(script: Script, kind: str) -> list[str]:
    return [text for each, text in script if each == kind]


def options_of(text: str) -> ServerOptions:
    given = dict(word.split("=", 1) for word in text.split())
    return msgspec.convert({"hostname": "mx.example.com", "message_size": 1000, **given}, ServerOptions, strict=False)


def answer_of(text: str) -> Reply:
    return reply_from_lines(int(text[:3]), [text[4:]])


def octets_of(kind: str, text: str) -> bytes:
    """What the client sends for a `C` or an `R`."""
    return unescaped(text) + (b"\r\n" if kind == "C" else b"")


def check_said(script: Script, said: bytes) -> None:
    lines = said.decode("ascii").split("\r\n")
    assert lines.pop() == "", f"half a line: {said[-100:]!r}"
    at = 0
    for kind, wanted in ((kind, text) for kind, text in script if kind[0] == "S"):
        while kind == "S+" and at < len(lines) and lines[at][3:4] == "-":
            at += 1
        got = lines[at] if at < len(lines) else "(nothing)"
        matches = got.startswith(wanted[:-1]) if wanted.endswith("*") else got.rstrip() == wanted.rstrip()
        if kind == "S?" and not matches:
            continue
        assert matches, f"line {at}: expected {wanted!r}, got {got!r}"
        at += 1
    assert lines[at:] == []
