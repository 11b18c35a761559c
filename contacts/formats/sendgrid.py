"""SendGrid's lists: a CSV or a JSON array per list, told apart by their columns.

`status,reason,email,created` bounces; `ip,email,created` spam reports; `reason,email,created` invalid addresses; `email,created`
unsubscribes; created in Unix seconds. Its `blocks` are refusals of an IP or a text and no fact about an address. They have the columns of
bounces, so nothing here can tell: do not import that list.

A bounce with a 4.x.x status was a temporary refusal that the service gave up on: it becomes `imported`, which keeps mail back and does not
say that the address is dead.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from contacts.formats import objects, table
from contacts.formats.peek import first_byte
from contacts.formats.record import Bad, Line, Record, moment, subject, word, words
from contacts.formats.shape import Written, portable
from contacts.suppression import Entry, Reason


def read(file: BinaryIO) -> Iterator[Line]:
    """One list, CSV or JSON."""
    first, file = first_byte(file)
    if first == b"[":
        return objects.records(objects.elements(file), lambda line, value: _record(line, value, _list_of(set(value))))
    return table.records(file, _accept)


def _accept(header: list[str]) -> Callable[[int, table.Row], Record]:
    if "email" not in header:
        raise Bad("the header has no column email")
    reason = _list_of(set(header))
    return lambda line, row: _record(line, row, reason)


def _list_of(columns: set[str]) -> Reason:
    if "status" in columns:
        return Reason.HARD_BOUNCE
    if "reason" in columns:
        return Reason.INVALID
    return Reason.COMPLAINT if "ip" in columns else Reason.UNSUBSCRIBE


def _record(line: int, row: dict[str, Any], reason: Reason) -> Record:
    status = word(row.get("status"))
    if reason is Reason.HARD_BOUNCE and status.startswith("4"):
        reason = Reason.IMPORTED
    return Record(
        line,
        subject(row.get("email")),
        reason,
        origin="sendgrid",
        created=moment(row.get("created")),
        enhanced=status,
        diagnostic=words(table.unguarded(word(row.get("reason"), 2000))),
    )


def write_bounces(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`status,reason,email,created`."""
    return _write(
        ("status", "reason", "email", "created"),
        Reason.HARD_BOUNCE,
        lambda e: (e.enhanced or "5.0.0", table.guarded(e.diagnostic), e.address, int(e.created)),
        entries,
        written,
    )


def write_spam_reports(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`ip,email,created`; the IP is not known and empty."""
    return _write(("ip", "email", "created"), Reason.COMPLAINT, lambda e: ("", e.address, int(e.created)), entries, written)


def write_unsubscribes(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`email,created`."""
    return _write(("email", "created"), Reason.UNSUBSCRIBE, lambda e: (e.address, int(e.created)), entries, written)


def write_invalid(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """`reason,email,created`."""
    return _write(
        ("reason", "email", "created"),
        Reason.INVALID,
        lambda e: (table.guarded(e.diagnostic), e.address, int(e.created)),
        entries,
        written,
    )


def _write(
    header: tuple[str, ...],
    reason: Reason,
    row: Callable[[Entry], tuple[str | int, ...]],
    entries: Iterable[Entry],
    written: Written,
) -> Iterator[bytes]:
    values = (row(entry) if entry.reason is reason and portable(entry) else None for entry in entries)
    return table.written_rows(header, values, written)
