"""Nothing that arrives raises: prefixes, changed bytes, foreign bytes, and texts made to be slow, on this project's own samples."""

import datetime
import time

from hypothesis import given
from hypothesis import strategies as some

from bounce.classify import classify, reply_of
from bounce.dates import returning
from bounce.mine import shape_of
from bounce.notice import divide
from bounce.parse import parse
from bounce.reply import new_text
from bounce.report import Kind
from fbl.parse import parse as parse_complaint
from tests.fuzz.judgement import WORDS, seeds

SEEDS = [octets for octets in seeds() if len(octets) < 6_000][:150]


@given(some.sampled_from(SEEDS), some.floats(0, 1), some.floats(0, 1), some.integers(0, 255))
def test_a_cut_and_a_changed_byte_are_survived(octets: bytes, end: float, place: float, byte: int) -> None:
    cut = bytearray(octets[: int(len(octets) * end)])
    if cut:
        cut[int((len(cut) - 1) * place)] = byte
    report = parse(bytes(cut))
    parse_complaint(bytes(cut))
    assert report is None or report.kind is Kind.BOUNCE or not any(entry.suppress for entry in report.recipients)


@given(some.binary(max_size=500), some.lists(some.sampled_from(WORDS), max_size=12), some.binary(max_size=500))
def test_words_of_the_formats_in_any_order_are_survived(before: bytes, words: list[bytes], after: bytes) -> None:
    octets = before + b"".join(words) + after
    parse(octets)
    parse_complaint(octets)


@given(some.text(max_size=2_000))
def test_any_text_is_a_reply_a_date_a_shape_and_a_notice(text: str) -> None:
    classify(reply_of(text))
    returning(text, datetime.date(2026, 7, 6))
    shape_of(text)
    new_text(text)
    divide(text)


def test_texts_made_to_be_slow_are_not() -> None:
    pieces = (
        "a@",
        "@",
        "<",
        "5.1.1 ",
        "550 ",
        "on ",
        "a.b.",
        "(",
        "12.12.",
        "20 juillet ",
        "> ",
        "-",
        "user ",
        "a=b;",
        "\n ",
        "Final-Recipient: ",
    )
    for piece in pieces:
        text = piece * (200_000 // len(piece))
        raw = b"From: mailer-daemon@x.example\nSubject: failure notice\nX-Failed-Recipients: " + text[:5_000].replace("\n", "").encode()
        raw += b"\n\nuser unknown\n" + text.encode()
        before = time.process_time()
        parse(raw)
        parse_complaint(raw)
        classify(reply_of(text))
        returning(text, datetime.date(2026, 7, 6))
        new_text(text)
        assert time.process_time() - before < 1.0, piece
