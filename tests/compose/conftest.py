"""Fixtures of the compose tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from gateway.compose.composer import Composer
from gateway.compose.keyring import load_keyring
from tests.compose.material import NOW, SETTINGS, Keys


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(SETTINGS)


@pytest.fixture
def composer(settings: Settings, keys: Keys, tmp_path: Path) -> Iterator[Composer]:
    keys.write(tmp_path)
    made = Composer(settings, load_keyring(settings, tmp_path, "host.example"), "mx.gateway.example", lambda: NOW)
    yield made
    made.close()
