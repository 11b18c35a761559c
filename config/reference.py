"""docs/configuration.md and config/examples/mailwright.toml, written from the models; `python -m config.reference` writes both.

A test compares them, so that a key, a default or a sentence changes in one place only. Pure but for the last lines.
"""

import enum
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from config import units
from config.explain import model_in
from config.model import Model
from config.settings import Settings

PAGE = Path("docs/configuration.md")
SAMPLE = Path("config/examples/mailwright.toml")

_UNIT_NAMES = {units.parse_duration: "duration", units.parse_size: "size", units.parse_rate: "rate"}
_FORMATS = {"duration": units.format_duration, "size": units.format_size, "rate": units.format_rate}
_PLAIN = {str: "text", int: "number", float: "number", bool: "true or false", Path: "file"}

_HEAD = """# Configuration

One TOML file: the one given by `--config`, else `$MAILWRIGHT_CONFIG`, else `./mailwright.toml`; with none, every default below holds. This
page is written from the models in `config/` by `make docs`; do not edit it. `config/examples/mailwright.toml` has the same as a sample.

- `mailwright check` reads the file and says what it means and what looks unwise. Every error is told at once, with file, line and key.
- SIGHUP (`systemctl reload mailwright`) reads it again; when the new file is bad, the old one stays in force. `gateway.node`,
  `gateway.number`, `gateway.data`, `gateway.return_window`, `[spool]`, `[events]`, `[contacts]`, `[[webhook]]`, `[http]`, `[api]` and
  `sending.signing_processes` wait for a restart.
- A duration is `90s`, `5m`, `1h 30m`, `2d` or a number of seconds; a size `50MB`, `64KiB` or a number of octets; a rate `100/s`,
  `3600/h` or a number per second. Files are relative to the folder of the configuration file.
- Secrets: a text `"${NAME}"`, whole, is taken from the environment; an account's password hash may stand in a `password_file`, the
  address of the contact database in a `database_file`, the secret of a webhook in a `secret_file`.
- `[[table]]` is written once for each entry. The first `[[table]]` of a kind replaces the default entry of that kind.
"""


def page() -> str:
    """The reference page."""
    return _HEAD + "".join(_section(name, model, listed) for name, model, _, listed in sections(Settings))


def sections(model: type[Model], prefix: str = "") -> Iterator[tuple[str, type[Model], FieldInfo, bool]]:
    """Every table of the configuration: dotted name, its model, the field that holds it, and whether it is a list of tables."""
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is not None:
            yield prefix + name, inner, field, typing.get_origin(field.annotation) is list
            yield from sections(inner, f"{prefix}{name}.")


def _section(name: str, model: type[Model], listed: bool) -> str:
    title = f"[[{name}]]" if listed else f"[{name}]"
    about = (model.__doc__ or "").strip()
    rows = [
        f"| `{key}` | {kind(entry)} | {default_text(entry)} | {entry.description} |\n"
        for key, entry in model.model_fields.items()
        if model_in(entry.annotation) is None
    ]
    inner = [f"`{key}`" for key, entry in model.model_fields.items() if model_in(entry.annotation) is not None]
    more = f"\nTables inside: {', '.join(inner)}.\n" if inner else ""
    return f"\n## {title}\n\n{about}\n\n| key | kind | default | meaning |\n|---|---|---|---|\n{''.join(rows)}{more}"


def kind(field: FieldInfo) -> str:
    """What a value of `field` looks like, in a word or two."""
    for item in field.metadata:
        name = _UNIT_NAMES.get(getattr(item, "func", None))  # type: ignore[arg-type]
        if name is not None:
            return name
    return _kind_of(field.annotation)


def _kind_of(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        for item in arguments[1:]:
            name = _UNIT_NAMES.get(getattr(item, "func", None))  # type: ignore[arg-type]
            if name is not None:
                return name
        return _kind_of(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return _kind_of(next(part for part in arguments if part is not type(None)))
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_kind_of(arguments[0])}"
    if origin is dict:
        return f"table of {_kind_of(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{value.value}`" for value in annotation)
    return _PLAIN.get(annotation, "text")


def default_text(field: FieldInfo) -> str:
    """The default as a person writes it, in code marks; "required" or "none" where there is none."""
    if field.is_required():
        return "required"
    value = _default(field)
    return "none" if value is None else f"`{toml_value(value, kind(field))}`"


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else value


def toml_value(value: Any, kind_name: str = "") -> str:
    """`value` as TOML."""
    if kind_name in _FORMATS and not isinstance(value, str):
        value = _FORMATS[kind_name](value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return json.dumps(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(str(value), ensure_ascii=False)


_SAMPLE_HEAD = """# Every key with its default; written from the models by `make docs`. Take the # away where you want something else.
# With no file at all these defaults hold. What a key means in more words: docs/configuration.md.
"""


def sample() -> str:
    """The sample file: everything, commented out."""
    parts = [_SAMPLE_HEAD]
    for name, model, field, listed in sections(Settings):
        parts.append(f"\n# {field.description}\n# {f'[[{name}]]' if listed else f'[{name}]'}\n")
        for key, entry in model.model_fields.items():
            if model_in(entry.annotation) is None:
                value = None if entry.is_required() else _default(entry)
                shown = "…" if value is None else toml_value(value, kind(entry))
                parts.append(f"# {key} = {shown}".ljust(44) + f"  # {entry.description}\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SAMPLE.write_text(sample(), encoding="utf-8")
