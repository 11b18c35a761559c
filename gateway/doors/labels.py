"""Which stream and campaign a message belongs to, and every other label: from what the application wrote, else from what the message shows
(DESIGN section 4). The table of fields is configuration (config/labels.py), the form of values `gateway.doors.label_values`.

Pure but for the names it remembers. Promises: what comes out is printable, on one line and bounded; an unknown stream is the account's own,
and the caller is told. On bad days: a label that cannot be read never refuses mail; it counts as not there and is named in `ignored`. A
message without any label field costs one comparison of its field names with those known to be none.
"""

import datetime
import functools
import re

import msgspec

from config.labels import Feeds, LabelField, Reads
from config.settings import Settings
from gateway.calls import MessageLabels
from gateway.doors.label_values import FAR, LONG, MALFORMED, MANY, Unread, Value, engagement, moment, read
from mail.message import Field, Header

LONGEST_NAME = 200
"""Characters of the name of a campaign, a contact, a tag or a metadata entry."""
LONGEST_KEY = 1024
"""Octets of an idempotency key. A longer one is ignored: cut, two could become one, and mail would be lost."""
MOST_FIELDS = 64
"""Label fields of one message among which tags and metadata are read. What has one value is read wherever it stands."""
MOST_OCTETS = 65_536
"""Octets of these fields: 256 KiB of encoded words would hold the loop for tens of milliseconds."""
MOST_TAGS = 20
MOST_METADATA = 30
METADATA_SIZE = 4096
"""Characters of all metadata of a message, names included."""
_ADD_UP = (Feeds.TAGS, Feeds.METADATA)
_MOST_ORDINARY = 4096
_SECONDS_A_DAY = 86_400

_REPLY_MARK = re.compile(r"(?:(?:re|fwd?|aw|tr|wg)\s*:\s*)+")
_NUMBERS = re.compile(r"\d+")


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A label that was not taken, wholly or in part: its row's header and label, and why (a word of `label_values`)."""

    header: str
    label: str
    why: str


class Labelled(msgspec.Struct, frozen=True, gc=False):
    """`unknown` is the stream that was asked for and does not exist, else ""."""

    stream: str
    campaign: str
    unknown: str = ""
    labels: MessageLabels | None = None
    deadline: float = 0.0
    """Unix seconds; 0 for none."""
    key: bytes = b""
    """The idempotency key as written; empty for none."""
    ignored: tuple[Ignored, ...] = ()


class Labeller:
    """Reads labels as one configuration says."""

    def __init__(self, settings: Settings) -> None:
        self._streams = frozenset(stream.name for stream in settings.stream)
        self._transactional = frozenset(stream.name for stream in settings.stream if stream.kind == "transactional")
        self._unlabelled = {name: Labelled(name, "") for name in self._transactional}
        """What a message without labels is, where that does not depend on what it shows."""
        self._longest_wait = settings.labels.longest_wait
        self._rows: dict[bytes, list[tuple[int, LabelField]]] = {}
        beginnings: dict[bytes, list[tuple[int, LabelField]]] = {}
        for rank, row in enumerate(settings.labels.rows):
            name = row.header.lower().encode("ascii")
            (beginnings if name.endswith(b"*") else self._rows).setdefault(name.rstrip(b"*"), []).append((rank, row))
        self._beginnings = sorted(beginnings.items(), key=lambda item: -len(item[0]))
        """The longest first: it says the most."""
        self._ordinary: set[bytes] = set()
        """Field names that are no labels, learned as they come, bounded."""
        self._all_ordinary = self._ordinary.issuperset
        self._plain_fields: dict[Feeds, list[bytes]] = {Feeds.STREAM: [], Feeds.CAMPAIGN: []}
        for name, rows in self._rows.items():
            if len(rows) == 1 and rows[0][1].feeds in self._plain_fields and rows[0][1].reads is Reads.TEXT:
                self._plain_fields[rows[0][1].feeds].append(name)
        self._plain = frozenset(name for names in self._plain_fields.values() for name in names)
        """Fields that only name a stream or a campaign: the usual labels, read without ceremony."""

    def read(self, header: Header, account_stream: str, now: float) -> Labelled:
        """The labels of a message of an account whose stream is `account_stream`, received at `now`."""
        if self._all_ordinary(header.first):
            return self._unlabelled.get(account_stream) or Labelled(account_stream, _fallback(header, now))
        names = [name for name in header.first if name not in self._ordinary]
        if self._plain.issuperset(names):
            asked, campaign = _first(header, self._plain_fields[Feeds.STREAM]), _first(header, self._plain_fields[Feeds.CAMPAIGN])
            stream, unknown = self._stream(asked, account_stream)
            return Labelled(stream, "" if stream in self._transactional else campaign or _fallback(header, now), unknown)
        return self._read_all(header, names, account_stream, now)

    def _read_all(self, header: Header, names: list[bytes], account_stream: str, now: float) -> Labelled:
        """Every field whose name is among `names` and has rows."""
        rows_by_name = {name: rows for name in names if (rows := self._rows_of(name))}
        found = _Found(now, self._longest_wait)
        count = octets = 0
        for field in header.fields:
            if field.name in rows_by_name:
                count += 1
                octets += len(field.raw)
                repeated = header.first[field.name] is not field
                unread = MANY if count > MOST_FIELDS or octets > MOST_OCTETS else None
                found.take(field, rows_by_name[field.name], repeated, unread)
        stream, unknown = self._stream(found.single(Feeds.STREAM), account_stream)
        campaign = "" if stream in self._transactional else found.single(Feeds.CAMPAIGN) or _fallback(header, now)
        return Labelled(stream, campaign, unknown, found.labels(), found.deadline, found.key, tuple(found.ignored))

    def _stream(self, asked: str, account_stream: str) -> tuple[str, str]:
        """The stream, and the one that was asked for when there is none of that name."""
        return (asked, "") if asked in self._streams else (account_stream, asked)

    def _rows_of(self, name: bytes) -> list[tuple[int, LabelField]]:
        """The rows that a field of this name feeds, with their ranks."""
        rows = self._rows.get(name)
        if rows is not None:
            return rows
        for beginning, of_beginning in self._beginnings:
            if name.startswith(beginning):
                return of_beginning
        if len(self._ordinary) < _MOST_ORDINARY and len(name) <= LONGEST_NAME:
            self._ordinary.add(name)
        return []


class _Found:
    """What the label fields of one message say."""

    def __init__(self, now: float, longest_wait: float) -> None:
        self._now = now
        self._latest = now + longest_wait
        self._singles: dict[Feeds, tuple[int, str]] = {}
        self._tags: dict[str, None] = {}
        self._metadata: dict[str, str] = {}
        self._metadata_size = 0
        self.key = b""
        self._key_rank = 0
        self.ignored: list[Ignored] = []

    def take(self, field: Field, rows: list[tuple[int, LabelField]], repeated: bool, unread: Unread | None) -> None:
        """One field. Where it is repeated, later ones add tags and metadata only; `unread` says that it is over the bound of these."""
        for rank, row in rows:
            adds_up = row.feeds in _ADD_UP
            if row.feeds is Feeds.NOTHING or (repeated and not adds_up):
                continue
            trouble = unread if unread is not None and adds_up else self._take_row(field, rank, row)
            if trouble is not None and len(self.ignored) < MOST_FIELDS:
                self.ignored.append(Ignored(row.header, row.feeds.value, trouble.why))

    def _take_row(self, field: Field, rank: int, row: LabelField) -> Unread | None:
        if row.feeds is Feeds.IDEMPOTENCY_KEY:
            return self._take_key(field.value, rank)
        value = read(row, field)
        if value is None:
            return None
        if isinstance(value, Unread):
            return value
        if row.feeds is Feeds.TAGS:
            return self._add_tags(_texts(value))
        if row.feeds is Feeds.METADATA:
            return self._add_metadata(value if isinstance(value, dict) else {row.header: ", ".join(_texts(value))})
        return self._take_single(row.feeds, rank, value)

    def _take_single(self, feeds: Feeds, rank: int, value: Value) -> Unread | None:
        if isinstance(value, dict):
            return MALFORMED
        shown = value if isinstance(value, str) else value[0]
        if feeds is Feeds.ENGAGEMENT:
            shown = engagement(shown) or ""
        elif feeds in (Feeds.SEND_AT, Feeds.DEADLINE):
            at = moment(shown, self._now)
            shown = "" if at is None else str(at)
        if not shown:
            return MALFORMED
        if feeds not in self._singles or rank < self._singles[feeds][0]:
            self._singles[feeds] = (rank, shown[:LONGEST_NAME])
        if feeds is Feeds.SEND_AT and float(shown) > self._latest:
            return FAR
        return None

    def _take_key(self, key: bytes, rank: int) -> Unread | None:
        if len(key) > LONGEST_KEY:
            return LONG
        if key and (not self.key or rank < self._key_rank):
            self.key, self._key_rank = key, rank
        return None

    def _add_tags(self, tags: list[str]) -> Unread | None:
        for tag in tags:
            if len(self._tags) >= MOST_TAGS and tag[:LONGEST_NAME] not in self._tags:
                return MANY
            self._tags[tag[:LONGEST_NAME]] = None
        return None

    def _add_metadata(self, entries: dict[str, str]) -> Unread | None:
        for name, value in entries.items():
            name = name[:LONGEST_NAME]
            if name in self._metadata or not name:
                continue
            size = self._metadata_size + len(name) + len(value)
            if len(self._metadata) >= MOST_METADATA or size > METADATA_SIZE:
                return MANY
            self._metadata[name] = value
            self._metadata_size = size
        return None

    def single(self, feeds: Feeds) -> str:
        """The value of a label that has one, or ""."""
        return self._singles[feeds][1] if feeds in self._singles else ""

    @property
    def deadline(self) -> float:
        """Unix seconds, 0 for none. One before 1970 has passed like any other of the past."""
        written = self.single(Feeds.DEADLINE)
        return max(float(written), 1.0) if written else 0.0

    def labels(self) -> MessageLabels | None:
        """What is kept with the message, or None when there is nothing."""
        send_at = min(float(self.single(Feeds.SEND_AT) or 0.0), self._latest)
        if send_at <= self._now:
            send_at = 0.0
        contact, engaged = self.single(Feeds.CONTACT), self.single(Feeds.ENGAGEMENT)
        if not (contact or engaged or self._tags or self._metadata or send_at):
            return None
        return MessageLabels(contact, engaged, tuple(self._tags), self._metadata, send_at)


def _first(header: Header, names: list[bytes]) -> str:
    """The first of these fields that is there and not empty, as text."""
    for name in names:
        if name in header.first:
            value = header.text(name)
            if value:
                return value[:LONGEST_NAME]
    return ""


def _texts(value: Value) -> list[str]:
    """Items; pairs as they were written."""
    match value:
        case str():
            return [value]
        case list():
            return value
        case dict():
            return [f"{name}={text}" for name, text in value.items()]


def _fallback(header: Header, now: float) -> str:
    """The List-Id (RFC 2919 section 3: what stands in its angle brackets), else Subject, From and day."""
    if b"list-id" in header.first:
        value = header.text(b"list-id")
        inside = value.rpartition("<")[2].partition(">")[0] if "<" in value else value
        if inside.strip():
            return inside.strip().lower()[:LONGEST_NAME]
    subject, sender = header.first.get(b"subject"), header.first.get(b"from")
    return _similar(subject.raw if subject else b"", sender.raw if sender else b"", int(now // _SECONDS_A_DAY), header)


_recent: dict[tuple[bytes, bytes, int], str] = {}
_MOST_RECENT = 4096


def _similar(subject: bytes, sender: bytes, day: int, header: Header) -> str:
    """One name for messages that are alike; remembered, because a campaign's messages say the same."""
    key = (subject[:1000], sender[:1000], day)
    name = _recent.get(key)
    if name is None:
        if len(_recent) >= _MOST_RECENT:
            _recent.clear()
        shown = _NUMBERS.sub("#", _REPLY_MARK.sub("", header.text(b"subject").casefold(), count=1))
        parts = (" ".join(shown.split())[:100], _address_in(header.text(b"from"))[:80], _day(day))
        name = _recent[key] = " | ".join(part for part in parts if part)
    return name


def _address_in(sender: str) -> str:
    inside = sender.rpartition("<")[2].partition(">")[0] if "<" in sender else sender
    return inside.strip().casefold()


@functools.lru_cache(maxsize=8)
def _day(day: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()
