"""The table of free formats (`freeform.toml`), loaded once and made ready for searching.

Raises ValueError when the shipped file is broken; a test sees that it is not.
"""

import functools
import importlib.resources
import tomllib

import msgspec

from bounce.phrases import Index, normalise


class _Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    signs: list[str]
    sufficient: list[str] = []


class _Delays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signs: list[str]
    failures: list[str]


class _Delivered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signs: list[str]


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    phrases: list[str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    senders: list[str]
    subjects: list[str]
    ends: list[str]
    format: list[_Format]
    delays: _Delays
    delivered: _Delivered
    inline: list[_Words]
    verdicts: list[_Words]
    bystanders: list[_Words]


class Patterns:
    """Everything `freeform.toml` says, ready for use. Immutable."""

    def __init__(self, file: _File) -> None:
        self.formats = tuple(entry.name for entry in file.format)
        self.signs = Index([(place, sign) for place, entry in enumerate(file.format) for sign in entry.signs])
        self.sufficient = Index([(place, sign) for place, entry in enumerate(file.format) for sign in entry.sufficient])
        self.senders = Index([(0, sender) for sender in file.senders])
        self.subjects = Index([(0, subject) for subject in file.subjects])
        self.delays = Index([(0, sign) for sign in file.delays.signs])
        self.delivered = Index([(0, sign) for sign in file.delivered.signs])
        self.failures = Index([(0, sign) for sign in file.delays.failures])
        self.ends = _by_first_word(file.ends)
        self.inline = _endings(file.inline)
        self.bystanders = _endings(file.bystanders)
        self.verdicts = _endings(file.verdicts)


def _by_first_word(phrases: list[str]) -> dict[str, tuple[str, ...]]:
    """The phrases in normal form, longest first, by the word they begin with."""
    found: dict[str, list[str]] = {}
    for phrase in sorted((normalise(phrase) for phrase in phrases), key=len, reverse=True):
        found.setdefault(phrase.split()[0], []).append(phrase)
    return {word: tuple(group) for word, group in found.items()}


def _endings(words: list[_Words]) -> tuple[str, ...]:
    return tuple(sorted((normalise(phrase) for entry in words for phrase in entry.phrases), key=len, reverse=True))


@functools.lru_cache(maxsize=1)
def patterns() -> Patterns:
    """The table that comes with the program."""
    text = importlib.resources.files("bounce").joinpath("freeform.toml").read_text("utf-8")
    try:
        return Patterns(msgspec.convert(tomllib.loads(text), _File))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"free formats: {error}") from error
