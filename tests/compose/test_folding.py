"""Long header lines: folded at white space, and the same to everybody who unfolds."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.compose.folding import fitting
from mail.message import MAX_LINE, Field, read_header

words = st.sampled_from([b" ", b"\t", b"  ", b"word", b"x" * 500, b"y" * 998, b"z" * 1100, b'"quoted', b'text"', b"\r\n folded"])


def field(raw: bytes) -> Field:
    return Field(raw.partition(b":")[0].lower(), raw)


@given(st.lists(words, max_size=40).map(b"".join))
def test_a_fold_changes_nothing_but_line_ends_and_makes_every_line_short_that_has_white_space(text: bytes) -> None:
    given_field = field(b"Subject: hello " + text)
    (found,) = fitting([given_field])
    assert found.raw.replace(b"\r\n", b"") == given_field.raw.replace(b"\r\n", b"")
    lines = found.raw.split(b"\r\n")
    assert all(line[:1] in (b" ", b"\t") for line in lines[1:])
    if all(line.strip() for line in given_field.raw.split(b"\r\n")):
        assert all(line.strip() for line in lines)
    for line in lines:
        assert len(line) <= MAX_LINE or len(max(line.split(), key=len)) + 9 > MAX_LINE or not line[MAX_LINE:].strip(), line


def test_a_field_that_is_short_enough_is_not_touched() -> None:
    fields = [field(b"Subject: hello"), field(b"To: " + b"a" * 994), field(b"References: <1@a>\r\n" + b" <2@b>\r\n" * 400 + b" <3@c>")]
    assert fitting(fields[:2]) == fields[:2]
    assert fitting(fields) == fields


def test_a_line_without_white_space_stays_as_it_came() -> None:
    long = field(b"X-Data:" + b"x" * 5000)
    assert fitting([long]) == [long]


def test_a_folded_header_reads_the_same() -> None:
    text = b"Subject: " + b" ".join([b"word"] * 1000)
    (found,) = fitting([field(text)])
    header = read_header(found.raw + b"\r\n\r\nbody\r\n")
    assert header.value(b"subject") == text[9:]
    assert max(map(len, found.raw.split(b"\r\n"))) <= MAX_LINE
