"""Conversations as files: each of dialogues/*.txt runs against the server by steps, whole, and byte by byte, with the same result.

The language: `C:` a line the client sends (CRLF is added; Python escapes hold), `R:` octets as they are, `E:` the client's end, `S:` a line
the server says (a last `*` stands for anything), `A:` the door's next answer (accept where there is none left), `Q:` what the last question
was about, `D:` the content of a message the door got, `T:` the handshake is done and these options hold, `X:` the server has closed,
`O:` options, `#` comment.
"""

from pathlib import Path

import msgspec
import pytest

from gateway.smtp.events import NEED_DATA, Auth, Content, Mail, Recipient, ServerOptions
from gateway.smtp.server import ServerConnection
from mail.reply import Reply, reply_from_lines

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))


def unescaped(text: str) -> bytes:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def escaped_lines(file: Path) -> list[tuple[str, str]]:
    lines = [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(line[0], line[3:]) for line in lines]


def options_of(text: str, **defaults: object) -> ServerOptions:
    given = dict(word.split("=", 1) for word in text.split())
    return msgspec.convert({"hostname": "mx.example.com", "message_size": 1000, **defaults, **given}, ServerOptions, strict=False)


def answer_of(text: str) -> Reply:
    return reply_from_lines(int(text[:3]), [text[4:]])


class Stage:
    """One run of a dialogue: drives the server and keeps what it said and asked."""

    def __init__(self, script: list[tuple[str, str]]) -> None:
        self.smtp = ServerConnection(options_of(" ".join(text for kind, text in script if kind == "O")))
        self.answers = [answer_of(text) for kind, text in script if kind == "A"]
        self.said = b""
        self.contents: list[bytes] = []
        self.subjects: list[str] = []
        self.smtp.greet()
        self.collect()

    def collect(self) -> None:
        while (event := self.smtp.next_event()) is not NEED_DATA:
            match event:
                case Mail(command):
                    self.subjects.append(command.sender.text)
                case Recipient(address):
                    self.subjects.append(address.text)
                case Auth(_, credentials):
                    self.subjects.append(f"{credentials.name} {credentials.password}")
                case Content(data):
                    self.contents.append(data)
                    self.smtp.accept()
                    continue
                case _:
                    continue
            self.respond()
        self.said += self.smtp.data_to_send()

    def respond(self) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is None or answer.code < 400:
            self.smtp.accept(answer)
        else:
            self.smtp.refuse(answer)

    def send(self, octets: bytes, size: int) -> None:
        for at in range(0, len(octets), size):
            self.smtp.receive(octets[at : at + size])
            self.collect()


def play(script: list[tuple[str, str]], size: int) -> Stage:
    """Run the dialogue in segments of `size` octets, as long as the client may go on without an answer."""
    stage = Stage(script)
    waiting = b""
    for kind, text in script:
        if kind in "CR":
            waiting += unescaped(text) + (b"\r\n" if kind == "C" else b"")
        elif kind in "ET":
            stage.send(waiting, size)
            waiting = b""
            if kind == "T":
                stage.smtp.tls_started(options_of(text))
            else:
                stage.smtp.receive(b"")
                stage.collect()
    stage.send(waiting, size)
    return stage


def check_said(script: list[tuple[str, str]], said: bytes) -> None:
    expected = [text for kind, text in script if kind == "S"]
    lines = said.decode("ascii").split("\r\n")
    assert lines.pop() == ""
    for number, wanted in enumerate(expected):
        got = lines[number] if number < len(lines) else "(nothing)"
        matches = got.startswith(wanted[:-1]) if wanted.endswith("*") else got.rstrip() == wanted.rstrip()
        assert matches, f"line {number}: expected {wanted!r}, got {got!r}"
    assert len(lines) == len(expected), lines[len(expected) :]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000_000], ids=lambda size: f"by-{size}")
@pytest.mark.parametrize("file", DIALOGUES, ids=lambda file: file.stem)
def test_dialogue_ends_the_same_in_every_segmentation(file: Path, size: int) -> None:
    script = escaped_lines(file)
    stage = play(script, size)
    check_said(script, stage.said)
    assert stage.contents == [unescaped(text) for kind, text in script if kind == "D"]
    assert stage.smtp.closed == any(kind == "X" for kind, _ in script)
    assert not stage.answers


@pytest.mark.parametrize("file", DIALOGUES, ids=lambda file: file.stem)
def test_dialogue_asks_the_door_what_the_client_said(file: Path) -> None:
    script = escaped_lines(file)
    stage = play(script, 1_000_000)
    wanted = [text for kind, text in script if kind == "Q"]
    assert [subject for subject in wanted if subject not in stage.subjects] == []
