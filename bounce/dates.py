"""Dates in prose, in five languages: the day on which somebody is back.

`returning(text, written)` looks at every date in the text, asks the words around it whether it ends an absence, and gives the best as
YYYY-MM-DD. A missing year is the one that makes the date come next after the message was written. Pure; the day of writing is given.
"""

import datetime
import re

import msgspec

from bounce.answers import answers
from bounce.phrases import normalise

MAX_TEXT = 4_000
_NEAR = 28
"""Characters behind a date in which a word such as "zurück" still belongs to it."""

_ARTICLES = frozenset(
    {"the", "le", "el", "il", "lo", "l", "dem", "den", "am", "on", "dia", "giorno", "this", "next", "about", "inclusive", "inkl"}
)
_ARTICLES |= {
    "proximo",
    "prossimo",
    "prochain",
    "nachsten",
    "kommenden",
    "including",
    "einschliesslich",
    "approximately",
    "voraussichtlich",
}

_SENTENCE_END = re.compile(r"[.;!?]")
_NUMERIC = re.compile(
    r"(?<![\d.,/-])(?:(?P<y>20\d\d)-(?P<m>\d{1,2})-(?P<d>\d{1,2})"
    r"|(?P<a>\d{1,2})(?P<sep>[./-])\s?(?P<b>\d{1,2})(?:(?P=sep)\s?(?P<c>20\d\d|\d\d)?)?)(?![\d/-])"
)
_MONTHS = "|".join(sorted((name for names in answers().months for name in names), key=len, reverse=True))
_DAY_MONTH = re.compile(
    rf"(?<![\w])(?P<d>\d{{1,2}})(?:st|nd|rd|th|er|º|°|ª|\.)?\s{{0,3}}(?:of |de |d')?"
    rf"(?P<name>{_MONTHS})\b\.?,?\s{{0,3}}(?:de |del )?(?P<y>20\d\d)?",
    re.I,
)
_MONTH_DAY = re.compile(
    rf"(?<![\w])(?P<name>{_MONTHS})\b\.?\s{{1,3}}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?!\d|:)(?:,?\s{{1,3}}(?P<y>20\d\d))?", re.I
)
_MONTH_YEAR = re.compile(rf"(?<![\w])(?P<name>{_MONTHS})\b\s{{1,3}}(?:de |del )?(?P<y>20\d\d)", re.I)


class _Found(msgspec.Struct, frozen=True):
    start: int
    end: int
    day: datetime.date


def returning(text: str, written: datetime.date) -> str:
    """The end of the absence that `text` speaks of, or ""."""
    text = _plain(text[:MAX_TEXT])
    best: tuple[int, datetime.date] | None = None
    for found in _dates(text, written):
        weight = _weight(text, found)
        if weight > 0 and found.day >= written and (best is None or (weight, found.day) > best):
            best = (weight, found.day)
    return best[1].isoformat() if best else ""


def _plain(text: str) -> str:
    """Lower case without accents, of the same reading, so that month names of every language compare."""
    table = str.maketrans("äöüáàâéèêëíìîïóòôúùûñç’", "aouaaaeeeeiiiiooouuunc'")
    return " ".join(text.lower().replace("ß", "ss").translate(table).split())


def _dates(text: str, written: datetime.date) -> list[_Found]:
    """Every date in the text, in order, without overlaps."""
    found: list[_Found] = []
    taken: set[int] = set()
    for pattern in (_NUMERIC, _DAY_MONTH, _MONTH_DAY, _MONTH_YEAR):
        for match in pattern.finditer(text):
            if match.start() in taken or match.end() - 1 in taken:
                continue
            day = _numeric(match, text, written) if pattern is _NUMERIC else _named(match, written)
            if day is not None:
                found.append(_Found(match.start(), match.end(), day))
                taken.update(range(match.start(), match.end()))
    return sorted(found, key=lambda entry: entry.start)


def _numeric(match: re.Match[str], text: str, written: datetime.date) -> datetime.date | None:
    if match["y"]:
        return _date(int(match["y"]), int(match["m"]), int(match["d"]))
    first, second = int(match["a"]), int(match["b"])
    year = (2000 + int(match["c"]) if len(match["c"]) == 2 else int(match["c"])) if match["c"] else 0
    if match["sep"] == "/" and first <= 12 and (second > 12 or _month_first(text)):
        first, second = second, first
    return _date(year, second, first) if year else _next(written, second, first)


def _month_first(text: str) -> bool:
    """Whether some date of the text can only be read with the month in front."""
    return any(
        match["sep"] == "/" and int(match["b"]) > 12 >= int(match["a"]) for match in _NUMERIC.finditer(text) if match["a"] and match["c"]
    )


def _named(match: re.Match[str], written: datetime.date) -> datetime.date | None:
    month = answers().month_of[match["name"].lower()]
    day = int(match["d"]) if "d" in match.groupdict() else 1
    return _date(int(match["y"]), month, day) if match["y"] else _next(written, month, day)


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _next(written: datetime.date, month: int, day: int) -> datetime.date | None:
    """The first such day that is not long before `written`."""
    this_year = _date(written.year, month, day)
    if this_year is not None and (written - this_year).days > 60:
        return _date(written.year + 1, month, day)
    return this_year


def _weight(text: str, found: _Found) -> int:
    """3: back on that day; 2: away until that day; 0: something else."""
    table = answers()
    before = _without_decoration(normalise(text[max(0, found.start - 60) : found.start]))
    if text[: found.start].rstrip().endswith(("-", "–")):
        return 2  # the end of a range
    after = normalise(_SENTENCE_END.split(text[found.end : found.end + _NEAR], maxsplit=1)[0])
    if any(before.endswith(word) for word in table.until):
        return 2
    if any(before.endswith(word) for word in table.back) or any(word in before[-40:] for word in table.back_words):
        return 3
    if any(word in after for word in table.back_words) and not any(word in after for word in table.until):
        return 3
    return 0


def _without_decoration(before: str) -> str:
    """The words before a date without weekdays and articles at their end: `bis freitag den` is `bis`."""
    words = before.split()
    while words and (f" {words[-1]} " in answers().weekdays or words[-1] in _ARTICLES):
        words.pop()
    return f" {' '.join(words)} "
