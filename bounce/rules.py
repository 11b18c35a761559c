"""Classification rules: loaded from TOML, checked, and compiled into one pass over a reply's words.

A rule asks for any of: an enhanced status code, a reply code, a phase, a provider, a phrase of the text. All that it asks for must hold.
The first rule in file order that holds decides, so `rules.toml` can be read from top to bottom like a table.

Phrases are compared in a normal form: lower case, accents removed, everything that is neither letter nor digit is a space, and mail
addresses are left out (a local part may say anything). `*` in a phrase stands for a gap of up to 80 characters. No regular expression
looks at a reply: each phrase is found through its rarest word in a dictionary, then confirmed by a substring search, so the cost is
linear in the reply whatever the number of rules. Phrases in scripts without spaces (Japanese, Chinese) are tried one by one, on replies
that are not ASCII only.

`Rules.load` raises ValueError with the rule's name when the file contradicts itself; nothing else here raises.
"""

import functools
import importlib.resources
import re
import tomllib
import unicodedata
from pathlib import Path

import msgspec

from mail.outcome import Category, Fault, Phase

MAX_TEXT = 2_000
"""Characters of a reply that are looked at. What comes after repeats or decorates."""
GAP = 80
"""The most characters a `*` in a phrase stands for."""

_PUNCTUATION = {code: " " for code in range(128) if not chr(code).isalnum()}
_OTHER_PUNCTUATION = re.compile(r"[^\w]+|_+")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table. Empty fields ask for nothing.

    `enhanced` entries are `5.1.1`, `x.1.1` (any class), `5.1` or `x.1` (whole subject); `codes` entries are prefixes of the reply code.
    """

    name: str
    category: Category
    fault: Fault
    providers: list[str] = []
    enhanced: list[str] = []
    codes: list[str] = []
    phases: list[Phase] = []
    texts: list[str] = []
    examples: list[str] = []


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: list[Rule]


class _Phrase(msgspec.Struct, frozen=True, gc=False):
    place: int  # of the rule
    parts: tuple[str, ...]


def normalise(text: str) -> str:
    """The normal form of a reply's or a phrase's text, with a space before and after."""
    return f" {' '.join(words(text))} "


def words(text: str) -> list[str]:
    """The words of the normal form, addresses left out."""
    text = text[:MAX_TEXT].lower()
    if "@" in text:
        text = _without_addresses(text)
    if text.isascii():
        return text.translate(_PUNCTUATION).split()
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _OTHER_PUNCTUATION.sub(" ", plain).split()


def _without_addresses(text: str) -> str:
    """`text` without the words that hold an at sign; what follows a closing bracket or an ellipsis in such a word is kept."""
    kept = []
    for word in text.split():
        if "@" not in word:
            kept.append(word)
            continue
        before, _, after = word.partition("@")
        for mark in (">", "...", "]", ")", "'", '"', ":", ";"):
            if mark in after:
                kept.append(after.partition(mark)[2])
                break
        for mark in ("<", "[", "("):
            if mark in before:
                kept.append(before.rpartition(mark)[0])
                break
    return " ".join(kept)


class Rules:
    """A compiled set of rules. Immutable once built; safe to share between threads."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_anchor: dict[str, list[_Phrase]] = {}
        self._unanchored: list[_Phrase] = []
        self._by_enhanced: dict[str, list[int]] = {}
        self._by_code: dict[str, list[int]] = {}
        self._always: list[int] = []
        self._enhanced = tuple(frozenset(rule.enhanced) for rule in rules)
        self._codes = tuple(tuple(rule.codes) for rule in rules)
        self._simple = tuple(not (rule.providers or rule.phases or rule.enhanced or rule.codes) for rule in rules)
        self._compile()

    @classmethod
    def load(cls, text: str) -> "Rules":
        """Rules from TOML. Raises ValueError naming what is wrong."""
        try:
            found = msgspec.convert(tomllib.loads(text), _File)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"classification rules: {error}") from error
        names = [rule.name for rule in found.rule]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"classification rules: two rules are named {name}")
        return cls(found.rule)

    def _compile(self) -> None:
        phrases = [_Phrase(place, parts_of(text)) for place, rule in enumerate(self.rules) for text in rule.texts]
        frequency: dict[str, int] = {}
        for phrase in phrases:
            for word in {word for part in phrase.parts for word in part.split()}:
                frequency[word] = frequency.get(word, 0) + 1
        for phrase in phrases:
            if not "".join(phrase.parts).strip():
                raise ValueError(f"classification rules: {self.rules[phrase.place].name} has an empty phrase")
            if _spaceless(phrase.parts):
                self._unanchored.append(msgspec.structs.replace(phrase, parts=tuple(part.strip() for part in phrase.parts)))
                continue
            anchor = min((word for part in phrase.parts for word in part.split()), key=lambda word: (frequency[word], -len(word)))
            self._by_anchor.setdefault(anchor, []).append(phrase)
        for place, rule in enumerate(self.rules):
            if rule.texts:
                continue
            table, keys = (self._by_enhanced, rule.enhanced) if rule.enhanced else (self._by_code, rule.codes)
            for key in keys:
                table.setdefault(key, []).append(place)
            if not keys:
                self._always.append(place)

    def decide(self, code: int, enhanced: str, text: str, provider: str, phase: Phase) -> Rule | None:
        """The first rule that holds, or None."""
        keys = _enhanced_keys(enhanced)
        best = len(self.rules)
        said = words(text)
        normal = f" {' '.join(said)} "
        for word in self._by_anchor.keys() & set(said):
            for phrase in self._by_anchor[word]:
                if phrase.place < best and _holds(phrase.parts, normal) and self._admits(phrase.place, code, keys, provider, phase):
                    best = phrase.place
        if self._unanchored and not normal.isascii():
            for phrase in self._unanchored:
                if phrase.place < best and _holds(phrase.parts, normal) and self._admits(phrase.place, code, keys, provider, phase):
                    best = phrase.place
        for place in self._codes_only(code, keys):
            if place < best and self._admits(place, code, keys, provider, phase):
                best = place
        return self.rules[best] if best < len(self.rules) else None

    def _codes_only(self, code: int, keys: frozenset[str]) -> list[int]:
        """Places of the rules without phrases that could hold."""
        places = list(self._always)
        for key in keys:
            places += self._by_enhanced.get(key, ())
        digits = str(code)
        for length in (1, 2, 3):
            places += self._by_code.get(digits[:length], ())
        return places

    def _admits(self, place: int, code: int, keys: frozenset[str], provider: str, phase: Phase) -> bool:
        """Whether what the rule asks for beside its phrases holds."""
        if self._simple[place]:
            return True
        rule = self.rules[place]
        if rule.providers and provider not in rule.providers:
            return False
        if rule.phases and phase not in rule.phases:
            return False
        if self._enhanced[place] and not self._enhanced[place] & keys:
            return False
        return not self._codes[place] or str(code).startswith(self._codes[place])


def parts_of(phrase: str) -> tuple[str, ...]:
    """The normal form of each piece of a phrase between its gaps."""
    return tuple(normalise(part) for part in phrase.split("*") if part.strip())


def _spaceless(parts: tuple[str, ...]) -> bool:
    """Whether a phrase is in a script that writes no spaces, so that word boundaries mean nothing."""
    return any("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for part in parts for character in part)


def _holds(parts: tuple[str, ...], normal: str) -> bool:
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


@functools.lru_cache(maxsize=256)
def _enhanced_keys(enhanced: str) -> frozenset[str]:
    """Every way a rule may name this status code (RFC 3463 section 2: class.subject.detail)."""
    pieces = enhanced.split(".")
    if len(pieces) != 3:
        return frozenset()
    status, subject, detail = pieces
    return frozenset({enhanced, f"x.{subject}.{detail}", f"{status}.{subject}", f"x.{subject}"})


@functools.lru_cache(maxsize=1)
def shipped() -> Rules:
    """The rules that come with the program."""
    return Rules.load(importlib.resources.files("bounce").joinpath("rules.toml").read_text("utf-8"))


def from_file(path: Path) -> Rules:
    """The rules of an operator's own file placed before the shipped ones. Raises OSError or ValueError."""
    return Rules([*Rules.load(path.read_text("utf-8")).rules, *shipped().rules])
