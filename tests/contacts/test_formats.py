"""Every format: round trip in what it can carry, files as the services show them, bad lines by number, and any bytes at all."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.formats import objects, table
from contacts.formats.catalogue import FORMATS
from contacts.formats.hashed import salted
from contacts.formats.record import BadLine, Record
from contacts.formats.shape import Written
from contacts.suppression import Entry, Reason, Scope
from tests.contacts.material import NOW


def entry(number: int, reason: Reason = Reason.HARD_BOUNCE, scope: Scope = Scope.GLOBAL, **more) -> Entry:
    return Entry(f"e{number}", f"p{number}@example.org", reason, scope, NOW + number, **more)


EVERYTHING = [
    entry(1, code=550, enhanced="5.1.1", diagnostic='550 5.1.1 unknown, "really"\r\nsecond line', origin="smtp", campaign="spring"),
    entry(2, Reason.COMPLAINT, message_id="<1@x.example>"),
    entry(3, Reason.UNSUBSCRIBE, Scope.ACCOUNT, account="shop"),
    entry(4, Reason.UNSUBSCRIBE, Scope.STREAM, stream="news"),
    entry(5, Reason.UNSUBSCRIBE, Scope.LIST, account="shop", list="weekly/best.example"),
    entry(6, Reason.SOFT_BOUNCE_LIMIT, expires=NOW + 1000),
    entry(7, Reason.MANUAL, diagnostic='=HYPERLINK("http://evil.example")'),
    entry(8, Reason.INVALID, diagnostic="'=already"),
    entry(9, Reason.IMPORTED),
    entry(10, Reason.UNSUBSCRIBE),
    Entry("e11", "sha256:" + "ab" * 32, Reason.IMPORTED, Scope.GLOBAL, NOW),
    Entry("e12", "", Reason.COMPLAINT, Scope.GLOBAL, NOW),
]


def export(name, entries):
    written, shape = Written(), FORMATS[name]
    assert shape.write is not None
    return b"".join(shape.write(iter(entries), written)), written


def read(name, data):
    shape = FORMATS[name]
    assert shape.read is not None
    return list(shape.read(io.BytesIO(data)))


def facts(record, *names):
    return tuple(getattr(record, name) for name in names)


ALL = (
    "address",
    "reason",
    "scope",
    "account",
    "stream",
    "list",
    "created",
    "expires",
    "code",
    "enhanced",
    "diagnostic",
    "campaign",
    "message_id",
)
CARRIES = {
    "csv": (ALL, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    "ndjson": (ALL, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    "ses": (("address",), [1, 2, 8]),
    "mailgun-bounces": (("address", "created", "diagnostic"), [1, 8]),
    "mailgun-complaints": (("address", "reason", "created"), [2]),
    "mailgun-unsubscribes": (("address", "reason", "created"), [10]),
    "postmark": (("address", "created"), [1, 2, 7, 8, 10]),
    "sendgrid-bounces": (("address", "reason", "created", "enhanced", "diagnostic"), [1]),
    "sendgrid-spam-reports": (("address", "reason", "created"), [2]),
    "sendgrid-unsubscribes": (("address", "reason", "created"), [10]),
    "sendgrid-invalid": (("address", "reason", "created", "diagnostic"), [8]),
    "sha256": ((), [1, 2, 7, 8, 9, 10, 11]),
}


@pytest.mark.parametrize("name", CARRIES)
def test_a_round_trip_gives_back_what_the_format_can_carry(name):
    names, numbers = CARRIES[name]
    data, written = export(name, EVERYTHING)
    assert (written.entries, written.left_out) == (len(numbers), len(EVERYTHING) - len(numbers))
    records = read(name, data)
    assert [facts(record, *names) for record in records] == [facts(EVERYTHING[number - 1], *names) for number in numbers]


def test_every_format_that_writes_is_in_the_round_trip():
    assert set(CARRIES) == {name for name, shape in FORMATS.items() if shape.write is not None}


def test_our_csv_has_the_documented_header_and_guards_formulas():
    data, _ = export("csv", EVERYTHING)
    lines = data.decode().split("\n")
    assert lines[0] == "email,reason,scope,source,created_at,expires_at,smtp_code,enhanced_code,diagnostic,campaign_id,message_id"
    assert "'=HYPERLINK" in data.decode()
    assert "''=already" in data.decode()
    assert "2027-01-15T08:00:02.000Z" in lines[3] or "2027-01-15T08:00:02.000Z" in data.decode()


@given(st.text(alphabet="'=+-@ab\t\r\n", max_size=8))
def test_guarding_is_exact_and_leaves_no_formula(text):
    assert table.unguarded(table.guarded(text)) == text
    assert not table.guarded(text).startswith(table.FORMULA)


FROM_SERVICES = [
    ("ses", b"recipient1@example.com,BOUNCE\nrecipient2@example.com,COMPLAINT\n", [Reason.HARD_BOUNCE, Reason.COMPLAINT]),
    (
        "ses",
        b'{"emailAddress":"recipient1@example.com","reason":"BOUNCE"}\n{"emailAddress":"b@example.com","reason":"COMPLAINT"}\n',
        [Reason.HARD_BOUNCE, Reason.COMPLAINT],
    ),
    (
        "ses",
        b'{\n    "SuppressedDestinationSummaries": [\n        {\n            "EmailAddress": "recipient2@example.com",\n'
        b'            "Reason": "COMPLAINT",\n            "LastUpdateTime": "2020-04-10T21:03:05Z"\n        },\n        {\n'
        b'            "EmailAddress": "recipient0@example.com",\n            "Reason": "COMPLAINT",\n'
        b'            "LastUpdateTime": 1586551844.183\n        }\n    ]\n}\n',
        [Reason.COMPLAINT, Reason.COMPLAINT],
    ),
    (
        "mailgun",
        b'address,code,error,created_at\r\nbob@example.com,550,"No such mailbox, sorry","Fri, 21 Oct 2011 11:02:55 UTC"\r\n',
        [Reason.HARD_BOUNCE],
    ),
    ("mailgun", b'address,tag,created_at\nbob@example.com,*,"Fri, 21 Oct 2011 11:02:55 GMT"\n', [Reason.UNSUBSCRIBE]),
    ("mailgun", b'\xef\xbb\xbfaddress,created_at\nbob@example.com,"Fri, 21 Oct 2011 11:02:55 GMT"\n', [Reason.COMPLAINT]),
    (
        "postmark",
        b'{"Suppressions": [\n  {"EmailAddress": "a@example.com", "SuppressionReason": "ManualSuppression", "Origin": "Recipient",'
        b' "CreatedAt": "2019-12-10T08:58:33-05:00"},\n {"EmailAddress":"b@example.com","SuppressionReason":"HardBounce",'
        b'"Origin":"Recipient","CreatedAt":"2019-12-11T08:58:33-05:00"}]}',
        [Reason.UNSUBSCRIBE, Reason.HARD_BOUNCE],
    ),
    (
        "sendgrid",
        b"status,reason,email,created\n5.1.1,550 unknown,a@example.com,1250337600\n4.0.0,busy,b@example.com,1250337600\n",
        [Reason.HARD_BOUNCE, Reason.IMPORTED],
    ),
    (
        "sendgrid",
        b'[{"created":1443651125,"email":"testemail1@test.com","reason":"550 5.1.1 gone","status":"5.1.1"},'
        b'{"created":1443651154,"email":"testemail2@testing.com","reason":"550","status":"5.1.1"}]',
        [Reason.HARD_BOUNCE, Reason.HARD_BOUNCE],
    ),
    ("sendgrid", b'[{"created":1443651141,"email":"user1@example.com","ip":"10.63.202.100"}]', [Reason.COMPLAINT]),
    ("sendgrid", b'[{"created":1443651141,"email":"user1@example.com"}]', [Reason.UNSUBSCRIBE]),
    ("sendgrid", b"email,created\nuser1@example.com,1443651141\n", [Reason.UNSUBSCRIBE]),
    ("sha256", b"SHA256\n" + b"AB" * 32 + b"\n", [Reason.IMPORTED]),
]


@pytest.mark.parametrize(("name", "data", "reasons"), FROM_SERVICES)
def test_files_as_the_services_write_them_are_read(name, data, reasons):
    records = read(name, data)
    assert all(isinstance(record, Record) for record in records), records
    assert [record.reason for record in records] == reasons


def test_times_and_words_of_services_are_understood():
    record = read("mailgun", FROM_SERVICES[3][1])[0]
    assert isinstance(record, Record)
    assert (record.created, record.code, record.diagnostic) == (1319194975.0, 550, "No such mailbox, sorry")
    records = read("postmark", FROM_SERVICES[6][1])
    assert [record.created for record in records] == [1575986313.0, 1576072713.0]
    assert [record.line for record in records] == [2, 3]


BAD = [
    ("csv", b"email,reason\na@example.org,manual\nnobody,manual\nb@example.org,because\n\nc@example.org,manual\n", [3, 4]),
    ("csv", b"email,reason\na@example.org,manual,more\n\xff@example.org,manual\nb@example.org,manual\n", [2, 3]),
    ("csv", b'email,reason\n"a@example.org"x,manual\nb@example.org,manual\n', [2]),
    ("csv", b"email,reason,created_at\na@example.org,manual,yesterday\na@example.org,manual,9999999999999999\n", [2, 3]),
    ("csv", b"email,reason,scope\na@example.org,manual,planet\na@example.org,manual,list:\n", [2, 3]),
    ("csv", b"address\na@example.org\n", [1]),
    ("csv", b"email,reason\n" + b"x" * 70_000 + b"\nb@example.org,manual\n", [2]),
    ("ndjson", b'{"email":"a@example.org","reason":"manual"}\n{"email":\n[]\n7\n{"email":"a@example.org"}\n', [2, 3, 4, 5]),
    ("ndjson", b'{"email":"a@example.org","reason":"manual","scope":"account"}\n' + b"[" * 60_000 + b"\n", [1, 2]),
    ("ndjson", b'{"email":{"a":1},"reason":["x"],"created_at":{}}\n{"email":"a@example.org","reason":"manual","smtp_code":true}\n', [1, 2]),
    ("ses", b"a@example.org,BOUNCE\na@example.org\nb@example.org,WHY\n", [2, 3]),
    ("mailgun", b"email\na@example.org\n", [1]),
    ("postmark", b"nothing here", [1]),
    ("postmark", b'{"Suppressions":[\n{"EmailAddress":"a@example.org","SuppressionReason":"HardBounce"},\n{"EmailAddress"', [3]),
    ("sha256", b"ab\n" + b"ab" * 32 + b"\nzz\n", [1, 3]),
]


@pytest.mark.parametrize(("name", "data", "numbers"), BAD, ids=range(len(BAD)))
def test_bad_lines_are_named_by_their_number_and_nothing_of_them_is_repeated(name, data, numbers):
    bad = [line for line in read(name, data) if isinstance(line, BadLine)]
    assert [line.line for line in bad] == numbers
    assert not any("example" in line.why or "xxx" in line.why for line in bad)


@pytest.mark.parametrize("name", sorted(name for name, shape in FORMATS.items() if shape.read is not None))
@given(data=st.binary(max_size=300) | st.text(alphabet='{}[]",:\n\r\\ae@.1é', max_size=120).map(str.encode))
def test_any_bytes_give_records_or_bad_lines(name, data):
    assert all(isinstance(line, Record | BadLine) for line in read(name, data))


@given(st.lists(st.fixed_dictionaries({"a": st.text(max_size=20)}), max_size=20), st.integers(1, 64), st.booleans())
def test_a_document_is_read_alike_in_pieces_of_any_size(values, size, indented):
    data = json.dumps({"x": values}, indent=2 if indented else None, ensure_ascii=False).encode("utf-8", "replace")

    class Slow(io.BytesIO):
        def read(self, wanted=-1):
            return super().read(size)

    if any("\ud800" <= letter <= "\udfff" for value in values for letter in value["a"]):
        return
    found = list(objects.elements(Slow(data)))
    assert [value for _, value in (pair for pair in found if not isinstance(pair, BadLine))] == values


def test_a_salted_export_leaves_out_what_is_known_by_its_hash_and_cannot_be_read():
    written = Written()
    shape = salted(b"pepper")
    assert shape.write is not None
    data = b"".join(shape.write(iter(EVERYTHING), written)).decode().split()
    assert (len(data), written.entries, shape.read) == (6, 6, None)
    assert len(set(data)) == 6


def test_an_entry_made_of_a_record_carries_its_batch():
    record = Record(7, "a@example.org", Reason.MANUAL)
    made = record.entry("b1", 3, NOW)
    assert (made.id, made.batch, made.created, made.origin) == ("b1.3", "b1", NOW, "import")
