"""Pydantic's errors in the words of this project: what is wrong at a key, and what would be right. Pure; shows no value of a secret key:
one that its model keeps out of repr."""

import difflib
import typing
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from config.model import Model
from config.names import Path
from config.settings import Settings

_LONGEST = 60


def explain(error: ValidationError) -> list[tuple[Path, str]]:
    """Place and sentence of each error."""
    return [_one(dict(item)) for item in error.errors(include_url=False, include_context=True)]


def _one(item: dict[str, Any]) -> tuple[Path, str]:
    place: Path = item["loc"]
    kind: str = item["type"]
    key = str(place[-1]) if place else ""
    secret = any(field is not None and not field.repr for field in map(_field, (place[:end] for end in range(1, len(place) + 1))))
    if kind == "extra_forbidden":
        return place, _unknown_key(key, model_at(place[:-1]))
    if kind == "missing":
        field = _field(place)
        return place, f"is required: {field.description}" if field is not None and field.description else "is required"
    if kind == "path_type":
        return place, f"must be the name of a file or folder, a text{'' if secret else _shown(item['input'])}"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if secret or (kind == "value_error" and not isinstance(item["input"], str)) else _shown(item["input"])
    return place, f"{message}{shown}"


def _unknown_key(key: str, model: type[Model] | None) -> str:
    if model is None:
        return "is not a key here"
    keys = list(model.model_fields)
    close = difflib.get_close_matches(key, keys, n=1)
    return f"is not a key here; did you mean {close[0]}?" if close else f"is not a key here; there are {', '.join(keys)}"


def _shown(value: object) -> str:
    text = repr(value)
    return f" (it is {text})" if len(text) <= _LONGEST else ""


def model_at(place: Path) -> type[Model] | None:
    """The model of the table at `place`."""
    model: type[Model] = Settings
    for step in place:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        inner = model_in(field.annotation) if field is not None else None
        if inner is None:
            return None
        model = inner
    return model


def _field(place: Path) -> FieldInfo | None:
    model = model_at(place[:-1])
    return model.model_fields.get(str(place[-1])) if model is not None and place else None


def model_in(annotation: Any) -> type[Model] | None:
    """The model that `annotation` is, or is a list of."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Model):
            return candidate
    return None
