"""How replies become bytes."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.replies import encode, encode_once
from mail.reply import Reply


def test_every_line_carries_code_and_enhanced_code() -> None:
    assert encode(Reply(550, "no\nnever", "5.7.1")) == b"550-5.7.1 no\r\n550 5.7.1 never\r\n"
    assert encode(Reply(354, "go")) == b"354 go\r\n"


def test_text_cannot_forge_another_reply() -> None:
    assert encode_once(Reply(250, "ok\r\n550 x\x00é")) == b"250-ok?\r\n250 550 x??\r\n"


@given(st.text(max_size=2000))
def test_any_text_becomes_short_lines_of_printable_ascii(text: str) -> None:
    lines = encode_once(Reply(250, text, "2.0.0")).split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 510 and line.decode("ascii").isprintable() for line in lines)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]
