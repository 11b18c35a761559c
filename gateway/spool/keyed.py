"""Idempotency in the spool: which recipients of an acceptance with a key were accepted under that key before.

Part of a transaction that somebody else begins and commits, so a key and the deliveries it stands for are on disk together or not at all.
A key belongs to the day on which it was first used; every mailbox accepted under it is a row in the table of that day, and (key, mailbox)
is unique there. A day goes whole, as in the sent ledger, and takes whole keys with it. No address is kept, only what stands for it under
its key, so nobody need be forgotten here. Acceptances of one transaction see those before them. Only acceptances with a key cost anything:
one look-up a day, and one statement for up to 128 recipients.
"""

import hashlib
from collections.abc import Iterable
from itertools import chain

import apsw
import msgspec

from gateway.spool.port import Acceptance, NewDelivery, Repeated
from gateway.spool.queries import pieces, statement

DAY = 86_400.0

Pair = tuple[bytes, bytes]
"""Key and mailbox."""
Row = tuple[bytes, bytes, int, int]
"""Key, mailbox, message, body."""


class Sifted(msgspec.Struct, frozen=True, gc=False):
    """What is left of acceptances, what was known before, and the rows of new (key, mailbox) pairs by day."""

    acceptances: list[Acceptance]
    repeated: list[Repeated]
    rows: dict[int, list[Row]]


def sift(connection: apsw.Connection, acceptances: list[Acceptance], days: Iterable[int]) -> Sifted:
    """Take from `acceptances` what is known under their keys; `days` have a table. Reads only: the caller writes the rows."""
    keyed = [one for one in acceptances if one.key]
    day_of = _days_of(connection, {one.key for one in keyed}, days)
    pairs = {one.message.id: [(one.key, mailbox(one.key, delivery)) for delivery in one.deliveries] for one in keyed}
    known = _known(connection, pairs.values(), day_of)
    sifted = Sifted([], [], {})
    for acceptance in acceptances:
        if not acceptance.key:
            sifted.acceptances.append(acceptance)
            continue
        day = day_of.setdefault(acceptance.key, int(acceptance.message.received_at // DAY))
        _sift_one(acceptance, pairs[acceptance.message.id], known, sifted, sifted.rows.setdefault(day, []))
    return sifted


def _sift_one(acceptance: Acceptance, pairs: list[Pair], known: dict[Pair, tuple[int, int]], sifted: Sifted, rows: list[Row]) -> None:
    message, body = acceptance.message.id, acceptance.body
    others = len(acceptance.events) - len(acceptance.deliveries)
    events = acceptance.events[:others]
    fresh: list[NewDelivery] = []
    dropped: list[int] = []
    before: list[tuple[int, int]] = []
    for delivery, event, pair in zip(acceptance.deliveries, acceptance.events[others:], pairs, strict=True):
        found = known.get(pair)
        if found is None:
            known[pair] = (message, body)
            rows.append((*pair, message, body))
            fresh.append(delivery)
            events.append(event)
        else:
            dropped.append(delivery.id)
            before.append(found)
    if dropped:
        sifted.repeated.append(Repeated(message, min(before)[0], dropped, any(one[1] != body for one in before)))
        acceptance = msgspec.structs.replace(acceptance, deliveries=fresh, events=events)
    sifted.acceptances.append(acceptance)


def mailbox(key: bytes, delivery: NewDelivery) -> bytes:
    """16 octets for the recipient under `key`, its domain in normal form: one mailbox, however its domain was written."""
    address = f"{delivery.recipient.rpartition('@')[0]}@{delivery.domain}"
    return hashlib.blake2b(address.encode(), key=key, digest_size=16).digest()


def _days_of(connection: apsw.Connection, keys: set[bytes], days: Iterable[int]) -> dict[bytes, int]:
    """The day of each key that is known."""
    found: dict[bytes, int] = {}
    for day in days:
        wanted = apsw.carray(tuple(keys))
        found.update((key, day) for (key,) in connection.execute(statement("keyed.keys", day=day), (wanted,)))
    return found


def _known(connection: apsw.Connection, asked: Iterable[list[Pair]], day_of: dict[bytes, int]) -> dict[Pair, tuple[int, int]]:
    """Message and body under which each of these (key, mailbox) was first accepted; those of one list have one key."""
    wanted: dict[int, set[Pair]] = {}
    for of_one in asked:
        day = day_of.get(of_one[0][0]) if of_one else None
        if day is not None:
            wanted.setdefault(day, set()).update(of_one)
    found: dict[Pair, tuple[int, int]] = {}
    for day, pairs in wanted.items():
        rows = sorted(pairs)
        for start, end in pieces(len(rows)):
            bindings = tuple(chain.from_iterable(rows[start:end]))
            for key, box, message, body in connection.execute(statement("keyed.find", end - start, day), bindings):
                found[key, box] = (message, body)
    return found
