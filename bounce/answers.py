"""The table of automatic answers (`autoreply.toml`), loaded once and made ready for searching.

Raises ValueError when the shipped file is broken; a test sees that it is not.
"""

import functools
import importlib.resources
import tomllib

import msgspec

from bounce.phrases import Index, normalise


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subjects: list[str]
    perhaps: list[str]
    challenge: list[str]
    left: list[str]
    changed: list[str]
    contact: list[str]
    back: list[str]
    until: list[str]
    since: list[str]
    months: dict[str, list[str]]


_WEEKDAYS = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag"),
    *("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    *("lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo"),
    *("lunedi", "martedi", "mercoledi", "giovedi", "venerdi", "sabato", "domenica"),
)


class Answers:
    """Everything `autoreply.toml` says, ready for use. Immutable."""

    def __init__(self, file: _File) -> None:
        self.subjects = tuple(normalise(phrase) for phrase in file.subjects)
        self.perhaps = tuple(normalise(phrase) for phrase in file.perhaps)
        self.challenge = Index([(0, phrase) for phrase in file.challenge])
        self.left = Index([(0, phrase) for phrase in file.left])
        self.changed = Index([(0, phrase) for phrase in file.changed])
        self.contact = Index([(0, phrase) for phrase in file.contact])
        self.back = tuple(normalise(word) for word in file.back)
        self.back_words = tuple(word for word in self.back if word not in (" ab ", " ab dem "))
        self.until = tuple(normalise(word) for word in file.until)
        self.months = tuple(tuple(file.months[str(number)]) for number in range(1, 13))
        self.month_of = {name: number for number, names in enumerate(self.months, 1) for name in names}
        self.weekdays = tuple(f" {day} " for day in _WEEKDAYS)


@functools.lru_cache(maxsize=1)
def answers() -> Answers:
    """The table that comes with the program."""
    text = importlib.resources.files("bounce").joinpath("autoreply.toml").read_text("utf-8")
    try:
        return Answers(msgspec.convert(tomllib.loads(text), _File))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"automatic answers: {error}") from error
