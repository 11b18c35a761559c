"""One gateway for all clients: each sends to recipients of its own."""

from collections.abc import Iterator

import pytest

from tests.peers.stage import Door, Stage, staged


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("clients")) as stage:
        yield stage


@pytest.fixture(params=["plain", "password", "starttls", "implicit"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Door:
    """Every way in."""
    return stage.doors[request.param]
