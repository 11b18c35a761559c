"""Each conversation of dialogues/ runs against the server by steps, whole, and byte by byte, with the same result.

The language is in `tests/smtp/scripts.py`; `tests/doors/test_dialogues.py` plays the same files at a real listener.
"""

from pathlib import Path

import pytest

from gateway.smtp.events import NEED_DATA, Auth, Content, Mail, Recipient
from gateway.smtp.server import ServerConnection
from tests.smtp.scripts import DIALOGUES, Script, answer_of, check_said, name_of, octets_of, of, options_of, read, unescaped

TIMELESS = [file for file in DIALOGUES if not of(read(file), "W")]


class Stage:
    """One run of a dialogue: drives the server and keeps what it said and asked."""

    def __init__(self, script: Script) -> None:
        self.smtp = ServerConnection(options_of(" ".join(of(script, "O"))))
        self.answers = [answer_of(text) for text in of(script, "A")]
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


def play(script: Script, size: int) -> Stage:
    """Run the dialogue in segments of `size` octets, as long as the client may go on without an answer."""
    stage = Stage(script)
    waiting = b""
    for kind, text in script:
        if kind in ("C", "R"):
            waiting += octets_of(kind, text)
        elif kind in ("E", "T"):
            stage.send(waiting, size)
            waiting = b""
            if kind == "T":
                stage.smtp.tls_started(options_of(text))
            else:
                stage.smtp.receive(b"")
                stage.collect()
    stage.send(waiting, size)
    return stage


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000_000], ids=lambda size: f"by-{size}")
@pytest.mark.parametrize("file", TIMELESS, ids=name_of)
def test_dialogue_ends_the_same_in_every_segmentation(file: Path, size: int) -> None:
    script = read(file)
    stage = play(script, size)
    check_said(script, stage.said)
    assert stage.contents == [unescaped(text) for text in of(script, "D")]
    assert stage.smtp.closed == bool(of(script, "X"))
    assert not stage.answers


@pytest.mark.parametrize("file", TIMELESS, ids=name_of)
def test_dialogue_asks_the_door_what_the_client_said(file: Path) -> None:
    script = read(file)
    stage = play(script, 1_000_000)
    wanted = of(script, "Q")
    assert [subject for subject in wanted if subject not in stage.subjects] == []
