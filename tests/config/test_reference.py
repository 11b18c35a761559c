"""The reference page and the sample are what the models say, and the sample is a configuration."""

import re
import tomllib
from pathlib import Path

from config.load import load
from config.reference import page, sample, sections
from config.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_the_configuration_page_is_what_the_models_say() -> None:
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == page(), "run: make docs"


def test_the_sample_is_what_the_models_say() -> None:
    assert (ROOT / "config/examples/mailwright.toml").read_text(encoding="utf-8") == sample(), "run: make docs"


def test_the_sample_as_shipped_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mailwright.toml"
    file.write_text(sample(), encoding="utf-8")
    assert load(file, {}) == load(None, {}).model_copy(update={"gateway": load(file, {}).gateway})


def test_the_sample_without_its_marks_is_toml_with_the_defaults() -> None:
    lines = [line.removeprefix("# ") for line in sample().splitlines() if re.match(r"# (\[|[a-z_0-9]+ = [^…])", line)]
    data = tomllib.loads("\n".join(lines))
    for name in ("listener", "gateway", "spool", "dns", "sending", "log", "http", "events", "labels"):
        row = data[name][0] if isinstance(data[name], list) else data[name]
        model = next(model for section, model, _, _ in sections(Settings) if section == name)
        given = model.model_validate({key: value for key, value in row.items() if key not in ("limits", "dkim", "field")})
        assert given == model()


def test_every_key_has_a_sentence() -> None:
    for name, model, _, _ in sections(Settings):
        for key, field in model.model_fields.items():
            assert field.description, f"{name}.{key}"
