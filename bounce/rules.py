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
import tomllib

import msgspec

from bounce.phrases import Index, normal_form, words
from mail.outcome import Category, Fault, Phase

MAX_TEXT = 2_000
"""Characters of a reply that are looked at. What comes after repeats or decorates."""


CACHE = 16_384
"""Wordings whose rule is remembered."""


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


class Rules:
    """A compiled set of rules. Immutable once built; safe to share between threads."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = tuple(rules)
        try:
            self._phrases = Index([(place, text) for place, rule in enumerate(rules) for text in rule.texts])
        except ValueError as error:
            raise ValueError(f"classification rules: {error}") from error
        self._by_enhanced: dict[str, list[int]] = {}
        self._by_code: dict[str, list[int]] = {}
        self._always: list[int] = []
        self._enhanced = tuple(frozenset(rule.enhanced) for rule in rules)
        self._codes = tuple(tuple(rule.codes) for rule in rules)
        self._simple = tuple(not (rule.providers or rule.phases or rule.enhanced or rule.codes) for rule in rules)
        self._decided = functools.lru_cache(maxsize=CACHE)(self._decide)
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

    def before(self, others: "Rules") -> "Rules":
        """These rules, an operator's own, in front of others."""
        return Rules([*self.rules, *others.rules])

    def _compile(self) -> None:
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
        said = words(text[:MAX_TEXT])
        if text.isascii():
            said = self._phrases.told(said)
        return self._decided(" ".join(said), code, enhanced, provider, phase)

    def _decide(self, normal: str, code: int, enhanced: str, provider: str, phase: Phase) -> Rule | None:
        """The decision over words in normal form. Cached: providers say few things, and differ in names and numbers."""
        keys = _enhanced_keys(enhanced)
        best = len(self.rules)
        for place in self._codes_only(code, keys):
            if place < best and self._admits(place, code, keys, provider, phase):
                best = place
        said = normal.split()
        best = self._phrases.first(said, normal_form(said), best, lambda place: self._admits(place, code, keys, provider, phase))
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
