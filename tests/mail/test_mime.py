"""MIME as it should not be: found anyway, in bounded time."""

import resource
import time

import pytest

from mail.charset import decode, text_of_html
from mail.mime import MAX_DEPTH, MAX_PARTS, content_type, parse


def test_a_plain_message() -> None:
    root = parse(b"Subject: a\r\n b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nh\xe9\r\n")
    assert root.value("subject") == "a b"
    assert root.text() == "hé\n"


def test_a_part_that_was_cut_off_still_counts() -> None:
    root = parse(b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>two')
    assert [part.type for part in root.parts] == ["text/plain", "text/html"]


def test_a_boundary_that_begins_another_is_not_confused_with_it() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=b2\n\n--b2\n\nx\n--b2--\n"
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + inner + b"--b\n\ny\n--b--\n"
    assert [len(part.parts) for part in parse(raw).parts] == [1, 0]


@pytest.mark.parametrize(
    ("value", "kind", "boundary"),
    [
        ("Multipart/Report; boundary=abc; report-type=x", "multipart/report", "abc"),
        ('multipart/mixed; boundary="a b"', "multipart/mixed", "a b"),
        ("multipart/mixed boundary=abc", "multipart/mixed", "abc"),
        ("nonsense", "text/plain", ""),
        ("", "text/plain", ""),
    ],
)
def test_content_types_however_they_are_written(value: str, kind: str, boundary: str) -> None:
    found, parameters = content_type(value)
    assert (found, parameters.get("boundary", "")) == (kind, boundary)


@pytest.mark.parametrize(
    "charset", ["", "x-unknown", "uft-8", "punycode", "unicode_escape", "zlib", "utf-16", "iso-2022-jp", "unicode-1-1-utf-7"]
)
def test_no_charset_raises(charset: str) -> None:
    assert isinstance(decode(bytes(range(256)), charset), str)


def test_the_words_of_a_page() -> None:
    assert text_of_html("<style>p{}</style><p>One&amp;<b>two</b><br>three</p><script>x</script>").split() == ["One&two", "three"]


def nested(levels: int) -> bytes:
    return b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (level, level) for level in range(levels)) + b"x" * 100


HOSTILE = {
    "deep": lambda: nested(50_000) + b"y" * 8_000_000,
    "wide": lambda: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1_400_000,
    "header": lambda: b"A: " + b"b" * 10_000_000,
    "many fields": lambda: b"A: b\n" * 2_000_000,
    "folds": lambda: b"A: b\n" + b" c\n" * 3_000_000,
    "tags": lambda: b"Content-Type: text/html\n\n" + b"<" * 10_000_000,
    "ats": lambda: b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nuser unknown\n" + b"a@" * 5_000_000,
    "lines": lambda: b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nuser unknown\n" + b"a@b.example\n" * 900_000,
    "one line": lambda: b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nuser unknown " + b"a" * 10_000_000,
    "digits": lambda: b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nuser unknown " + b"5.1." * 2_500_000,
    "parameters": lambda: b"Content-Type: multipart/mixed" + b"; a=b" * 2_000_000 + b"\n\nx",
    "recipients": lambda: (
        b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nfailed:\n" + b"".join(b"u%d@b.example\n" % n for n in range(600_000))
    ),
    "base64": lambda: b"Content-Transfer-Encoding: base64\n\n" + b"!" * 10_000_000,
    "encoded words": lambda: b"Subject: " + b"=?utf-8?q?a?= " * 700_000 + b"\n\nx",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_ten_megabytes_of_malice_cost_less_than_half_a_second_and_a_hundred_megabytes(name: str) -> None:
    from bounce.parse import parse as parse_bounce
    from fbl.parse import parse as parse_complaint

    raw = HOSTILE[name]()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (parse_bounce, parse_complaint):
        before = time.process_time()
        read(raw)
        assert time.process_time() - before < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000


def test_depth_and_parts_are_bounded() -> None:
    assert len(parse(nested(1_000)).walk()) <= MAX_DEPTH + 1
    assert len(parse(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 10_000).walk()) <= MAX_PARTS + 1
