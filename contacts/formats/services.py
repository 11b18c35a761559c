"""The shapes of sending services: what their exports look like, and what they take back.

Each carries addresses and a reason in its own words, some a time and a text; none carries our scopes, so what is scoped to an account, a
stream or a list is left out of their exports rather than made to hold for everybody there. Their words, one table each:

- Amazon SES: `address,BOUNCE|COMPLAINT` without a header, or NDJSON with emailAddress and reason, or the answer of
  ListSuppressedDestinations.
- Mailgun: a file per list, told apart by its header: bounces, complaints, unsubscribes. RFC 5322 times.
- Postmark: `{"Suppressions": [{EmailAddress, SuppressionReason, Origin, CreatedAt}]}`.
- SendGrid: CSV or a JSON array per list: bounces, spam reports, unsubscribes, invalid. Its `blocks` are refusals of an IP or a text and no
  fact about an address: they look like bounces, so ask that list apart, and do not import it.
"""

import datetime
import email.utils
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec

from contacts.formats import objects, table
from contacts.formats.objects import Object
from contacts.formats.peek import Joined, first_byte
from contacts.formats.record import MAX_LINE, Bad, BadLine, Line, Record, moment, reply_code, subject, word, words
from contacts.formats.shape import Written, portable
from contacts.suppression import Entry, Reason, Scope
from mail.event import timestamp

SES = {Reason.HARD_BOUNCE: "BOUNCE", Reason.INVALID: "BOUNCE", Reason.COMPLAINT: "COMPLAINT"}
POSTMARK = {
    Reason.HARD_BOUNCE: "HardBounce",
    Reason.INVALID: "HardBounce",
    Reason.COMPLAINT: "SpamComplaint",
    Reason.MANUAL: "ManualSuppression",
    Reason.UNSUBSCRIBE: "ManualSuppression",
}
_FROM_SES = {"BOUNCE": Reason.HARD_BOUNCE, "COMPLAINT": Reason.COMPLAINT}
_FROM_POSTMARK = {"HardBounce": Reason.HARD_BOUNCE, "SpamComplaint": Reason.COMPLAINT, "ManualSuppression": Reason.MANUAL}
_encoder = msgspec.json.Encoder()


def _reason(words_of: dict[str, Reason], value: object) -> Reason:
    found = words_of.get(word(value).strip())
    if found is None:
        raise Bad("unknown reason")
    return found


# -- Amazon SES


def read_ses(file: BinaryIO) -> Iterator[Line]:
    """CSV without a header, NDJSON, or an answer of the API."""
    first, file = first_byte(file)
    if first == b"{":
        return objects.records(_ses_objects(file), _ses_object)
    return _ses_rows(file)


def _ses_objects(file: BinaryIO) -> Iterator[tuple[int, object] | BadLine]:
    """One object a line, unless the document opens over several lines: then it is an answer of the API, with an array."""
    start = file.readline(MAX_LINE)
    joined: BinaryIO = Joined(start, file)  # type: ignore[assignment]
    opens = start.strip()
    if opens == b"{" or b'"SuppressedDestinationSummaries"' in opens:
        return objects.elements(joined)
    return objects.one_a_line(joined)


def _ses_object(line: int, value: Object) -> Record:
    address = value.get("emailAddress", value.get("EmailAddress"))
    reason = _reason(_FROM_SES, value.get("reason", value.get("Reason")))
    return Record(line, subject(address), reason, origin="ses", created=moment(value.get("LastUpdateTime")))


def _ses_rows(file: BinaryIO) -> Iterator[Line]:
    for row in table.rows(file):
        if isinstance(row, BadLine):
            yield row
            continue
        number, values = row
        try:
            if len(values) != 2:
                raise Bad("not address,reason")
            yield Record(number, subject(values[0]), _reason(_FROM_SES, values[1]), origin="ses")
        except Bad as error:
            yield BadLine(number, str(error))


def write_ses(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`address,BOUNCE|COMPLAINT`."""
    return table.written_rows((), (_plain(entry, SES) for entry in entries), written)


def _plain(entry: Entry, words_of: dict[Reason, str]) -> tuple[str, str] | None:
    name = words_of.get(entry.reason)
    return (entry.address, name) if name is not None and portable(entry) else None


# -- Mailgun


def read_mailgun(file: BinaryIO) -> Iterator[Line]:
    """One of the three files, by its header."""
    return table.records(file, _mailgun)


def _mailgun(header: list[str]) -> Callable[[int, table.Row], Record]:
    if "address" not in header:
        raise Bad("the header has no column address")
    if "code" in header or "error" in header:
        return _mailgun_bounce
    if "tag" in header or "tags" in header:
        return lambda line, row: _mailgun_record(line, row, Reason.UNSUBSCRIBE)
    return lambda line, row: _mailgun_record(line, row, Reason.COMPLAINT)


def _mailgun_record(line: int, row: table.Row, reason: Reason) -> Record:
    tag = (row.get("tag") or row.get("tags") or "*").strip(' []"')
    scoped = {} if tag in ("*", "") else {"scope": Scope.LIST, "list": word(tag)}
    created = moment(row.get("created_at"))
    return Record(line, subject(row.get("address")), reason, origin="mailgun", created=created, **scoped)  # type: ignore[arg-type]


def _mailgun_bounce(line: int, row: table.Row) -> Record:
    record = _mailgun_record(line, row, Reason.HARD_BOUNCE)
    return msgspec.structs.replace(record, code=reply_code(row.get("code")), diagnostic=words(table.unguarded(row.get("error") or "")))


def write_mailgun_bounces(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`address,code,error,created_at`."""
    reasons = (Reason.HARD_BOUNCE, Reason.INVALID)
    values = (
        (e.address, e.code or 550, table.guarded(e.diagnostic), _date(e)) if e.reason in reasons and portable(e) else None for e in entries
    )
    return table.written_rows(("address", "code", "error", "created_at"), values, written)


def write_mailgun_complaints(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`address,created_at`."""
    values = ((e.address, _date(e)) if e.reason is Reason.COMPLAINT and portable(e) else None for e in entries)
    return table.written_rows(("address", "created_at"), values, written)


def write_mailgun_unsubscribes(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`address,tag,created_at`; a list is a tag."""
    return table.written_rows(("address", "tag", "created_at"), map(_mailgun_unsubscribe, entries), written)


def _mailgun_unsubscribe(entry: Entry) -> tuple[str, str, str] | None:
    on_a_list = entry.scope is Scope.LIST and not entry.account and not entry.expires and "@" in entry.address
    if entry.reason is not Reason.UNSUBSCRIBE or not (on_a_list or portable(entry)):
        return None
    return entry.address, entry.list if on_a_list else "*", _date(entry)


def _date(entry: Entry) -> str:
    return email.utils.format_datetime(datetime.datetime.fromtimestamp(entry.created, datetime.UTC), usegmt=True)


# -- Postmark


def read_postmark(file: BinaryIO) -> Iterator[Line]:
    """The answer of the suppressions dump."""
    return objects.records(objects.elements(file), _postmark)


def _postmark(line: int, value: Object) -> Record:
    reason = _reason(_FROM_POSTMARK, value.get("SuppressionReason"))
    if reason is Reason.MANUAL and value.get("Origin") == "Recipient":
        reason = Reason.UNSUBSCRIBE  # a recipient who suppresses himself has unsubscribed
    return Record(line, subject(value.get("EmailAddress")), reason, origin="postmark", created=moment(value.get("CreatedAt")))


def write_postmark(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """One document, one suppression a line."""
    yield b'{"Suppressions":['
    between = b"\n"
    source = iter(entries)
    while page := list(itertools.islice(source, table.PAGE)):
        pieces = []
        for entry in page:
            reason = POSTMARK.get(entry.reason)
            if reason is None or not portable(entry):
                written.left_out += 1
                continue
            pieces.append(between + _encoder.encode(_postmark_object(entry, reason)))
            between = b",\n"
            written.entries += 1
        yield b"".join(pieces)
    yield b"\n]}\n"


def _postmark_object(entry: Entry, reason: str) -> dict[str, str]:
    origin = "Customer" if entry.reason is Reason.MANUAL else "Recipient"
    return {"EmailAddress": entry.address, "SuppressionReason": reason, "Origin": origin, "CreatedAt": timestamp(entry.created)}
