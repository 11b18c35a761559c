"""Our own entries as NDJSON: one object a line, every field of an entry, nothing lost but the id, which an import gives anew.

Times are RFC 3339 UTC with milliseconds. Unknown fields are passed over, so that a newer program's export can be read.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

from contacts.formats.objects import Object, one_a_line, records
from contacts.formats.record import Bad, Line, Record, moment, reason_of, reply_code, subject, word, words
from contacts.formats.shape import Written
from contacts.suppression import Entry, Scope
from mail.event import timestamp

PAGE = 1000
_NEEDED = {Scope.GLOBAL: "", Scope.ACCOUNT: "account", Scope.STREAM: "stream", Scope.LIST: "list"}
_encoder = msgspec.json.Encoder()


def read(file: BinaryIO) -> Iterator[Line]:
    """Lines as `write` gives them; `email` and `reason` are needed."""
    return records(one_a_line(file), _record)


def _record(line: int, value: Object) -> Record:
    try:
        scope = Scope(value.get("scope", "global"))
    except ValueError:
        raise Bad("unknown scope") from None
    needed = _NEEDED[scope]
    if needed and not value.get(needed):
        raise Bad(f"scope {scope.value} needs {needed}")
    return Record(
        line,
        subject(value.get("email")),
        reason_of(value.get("reason")),
        scope,
        word(value.get("account")),
        word(value.get("stream")),
        word(value.get("list")),
        word(value.get("source")),
        moment(value.get("created_at")),
        moment(value.get("expires_at")),
        reply_code(value.get("smtp_code")),
        word(value.get("enhanced_code")),
        words(value.get("diagnostic")),
        word(value.get("campaign_id")),
        word(value.get("message_id")),
    )


def write(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    """One object a line. Entries of forgotten people have no address to write and are left out."""
    piece: list[bytes] = []
    for entry in entries:
        if not entry.address:
            written.left_out += 1
            continue
        written.entries += 1
        piece.append(_encoder.encode(object_of(entry)))
        if len(piece) == PAGE:
            yield b"\n".join(piece) + b"\n"
            piece.clear()
    if piece:
        yield b"\n".join(piece) + b"\n"


def object_of(entry: Entry) -> dict[str, Any]:
    """An entry for people and programs: the fields that it has."""
    every = {
        "id": entry.id,
        "email": entry.address,
        "reason": entry.reason.value,
        "scope": entry.scope.value,
        "account": entry.account,
        "stream": entry.stream,
        "list": entry.list,
        "source": entry.origin,
        "created_at": timestamp(entry.created),
        "expires_at": timestamp(entry.expires) if entry.expires else "",
        "smtp_code": entry.code,
        "enhanced_code": entry.enhanced,
        "diagnostic": entry.diagnostic,
        "campaign_id": entry.campaign,
        "message_id": entry.message_id,
        "evidence": entry.evidence,
        "batch": entry.batch,
    }
    return {name: value for name, value in every.items() if value}
