"""Which stream and campaign a message belongs to: from the application's labels, else from what the message shows (DESIGN section 4).

Pure. Promises: a name that comes out is printable, on one line and bounded; an unknown stream is the account's own, and the caller is told.
"""

import datetime
import functools
import re

import msgspec

from config.sending import Stream
from config.settings import Settings
from mail.message import Header

LONGEST_NAME = 200
"""Characters of a campaign's name."""
_SECONDS_A_DAY = 86_400

_REPLY_MARK = re.compile(r"(?:(?:re|fwd?|aw|tr|wg)\s*:\s*)+")
_NUMBERS = re.compile(r"\d+")


class Labelled(msgspec.Struct, frozen=True, gc=False):
    """`unknown` is the stream that was asked for and does not exist, else ""."""

    stream: str
    campaign: str
    unknown: str = ""


class Labeller:
    """Reads labels as one configuration says."""

    def __init__(self, settings: Settings) -> None:
        self._streams: dict[str, Stream] = {stream.name: stream for stream in settings.stream}
        self._stream_fields = [name.lower().encode("ascii", "replace") for name in settings.labels.stream]
        self._campaign_fields = [name.lower().encode("ascii", "replace") for name in settings.labels.campaign]

    def read(self, header: Header, account_stream: str, now: float) -> Labelled:
        """Stream and campaign of a message of an account whose stream is `account_stream`, received at `now`."""
        asked = _first(header, self._stream_fields)
        stream = self._streams.get(asked) if asked else None
        unknown = asked if asked and stream is None else ""
        if stream is None:
            stream = self._streams.get(account_stream)
        name = stream.name if stream is not None else account_stream
        if stream is not None and stream.kind == "transactional":
            return Labelled(name, "", unknown)
        return Labelled(name, _first(header, self._campaign_fields) or _fallback(header, now), unknown)


def _first(header: Header, names: list[bytes]) -> str:
    """The first of these fields that is there and not empty."""
    for name in names:
        if name in header.first:
            value = header.text(name)
            if value:
                return value[:LONGEST_NAME]
    return ""


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
