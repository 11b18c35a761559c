"""Phrases looked for in the words of replies and reports, many at once and in linear time.

Phrases and texts are compared in a normal form: lower case, accents removed, everything that is neither letter nor digit is a space, and
mail addresses are left out (a local part may say anything). `*` in a phrase stands for a gap of up to GAP characters. No regular
expression looks at a text: each phrase is found through its rarest word in a dictionary, then confirmed by a substring search. Phrases in
scripts without spaces (Japanese, Chinese) are tried one by one, on texts that are not ASCII only.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

GAP = 80
"""The most characters a `*` in a phrase stands for."""

UNTOLD = "~"
"""Stands for words that no phrase uses; never part of a normal form itself."""

_PUNCTUATION = {code: " " for code in range(128) if not chr(code).isalnum()}
_WITHOUT_DECOMPOSITION = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"})
"""Letters that Unicode does not take apart, and the ASCII that those write who cannot type them."""
_OTHER_PUNCTUATION = re.compile(r"[^\w]+|_+")


class Index:
    """A set of phrases, each with a number that the caller knows. Raises ValueError for a phrase without words."""

    def __init__(self, phrases: Iterable[tuple[int, str]]) -> None:
        parsed = [(place, parts_of(phrase)) for place, phrase in phrases]
        frequency: dict[str, int] = {}
        for _, parts in parsed:
            for word in {word for part in parts for word in part.split()}:
                frequency[word] = frequency.get(word, 0) + 1
        self.vocabulary = frozenset(frequency)
        self._by_anchor: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        self._spaceless: list[tuple[int, tuple[str, ...]]] = []
        for place, parts in parsed:
            if not "".join(parts).strip():
                raise ValueError(f"phrase number {place} has no words")
            if _spaceless(parts):
                self._spaceless.append((place, tuple(part.strip() for part in parts)))
                continue
            anchor = min((word for part in parts for word in part.split()), key=lambda word: (frequency[word], -len(word)))
            self._by_anchor.setdefault(anchor, []).append((place, parts))
        for group in self._by_anchor.values():
            group.sort(key=lambda entry: entry[0])

    def told(self, said: list[str]) -> list[str]:
        """The words that some phrase uses; `~` stands for every run of others. What differs in names and numbers only is the same here."""
        vocabulary, kept, gap = self.vocabulary, [], False
        for word in said:
            if word in vocabulary:
                kept.append(word)
                gap = False
            elif not gap:
                kept.append(UNTOLD)
                gap = True
        return kept

    def first(self, said: list[str], normal: str, limit: int, admits: Callable[[int], bool]) -> int:
        """The least number below `limit` of a phrase that occurs and that `admits` agrees to; `limit` when there is none."""
        anchors = self._by_anchor
        groups = [anchors[word] for word in set(said) if word in anchors]
        if self._spaceless and not normal.isascii():
            groups.append(self._spaceless)
        for group in groups:
            for place, parts in group:
                if place >= limit:
                    break
                if parts[0] in normal and (len(parts) == 1 or holds(parts, normal)) and admits(place):
                    limit = place
                    break
        return limit

    def find(self, said: list[str], normal: str) -> Iterator[int]:
        """The number of each phrase that occurs, in no order. `said` are the words of a text and `normal` its normal form."""
        for word in self._by_anchor.keys() & set(said):
            for place, parts in self._by_anchor[word]:
                if holds(parts, normal):
                    yield place
        if self._spaceless and not normal.isascii():
            for place, parts in self._spaceless:
                if holds(parts, normal):
                    yield place

    def found(self, text: str) -> set[int]:
        """The number of each phrase that occurs in `text`."""
        said = words(text)
        return set(self.find(said, normal_form(said)))


def normalise(text: str) -> str:
    """The normal form of a text or a phrase, with a space before and after."""
    return normal_form(words(text))


def normal_form(said: list[str]) -> str:
    """The normal form made of words already found."""
    return f" {' '.join(said)} "


def words(text: str) -> list[str]:
    """The words of the normal form, addresses left out."""
    text = text.lower()
    if "@" in text:
        text = _without_addresses(text)
    if text.isascii():
        return text.translate(_PUNCTUATION).split()
    decomposed = unicodedata.normalize("NFKD", text.translate(_WITHOUT_DECOMPOSITION))
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _OTHER_PUNCTUATION.sub(" ", plain).split()


def _without_addresses(text: str) -> str:
    """`text` without the words that hold an at sign; what follows a closing bracket or an ellipsis in such a word is kept."""
    return " ".join([word if "@" not in word else _around(word) for word in text.split()])


def _around(word: str) -> str:
    """What stands around the address in a word."""
    before, _, after = word.partition("@")
    kept = ""
    for mark in ("<", "[", "("):
        if mark in before:
            kept = before.rpartition(mark)[0]
            break
    for mark in (">", "...", "]", ")", "'", '"', ":", ";"):
        if mark in after:
            return f"{kept} {after.partition(mark)[2]}"
    return kept


def parts_of(phrase: str) -> tuple[str, ...]:
    """The normal form of each piece of a phrase between its gaps."""
    return tuple(normalise(part) for part in phrase.split("*") if part.strip())


def _spaceless(parts: tuple[str, ...]) -> bool:
    """Whether a phrase is in a script that writes no spaces, so that word boundaries mean nothing."""
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for part in parts for character in part)


def holds(parts: tuple[str, ...], normal: str) -> bool:
    """Whether the pieces occur in `normal` in their order, each within GAP characters of the one before."""
    if len(parts) == 1:
        return parts[0] in normal
    start = normal.find(parts[0])
    while start >= 0:
        place: int = start + len(parts[0])
        for part in parts[1:]:
            # The space between two pieces belongs to both.
            place = normal.find(part, place - 1, place + GAP + len(part))
            if place < 0:
                break
            place += len(part)
        else:
            return True
        start = normal.find(parts[0], start + 1)
    return False
