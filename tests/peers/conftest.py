"""One gateway for all clients: each sends to recipients of its own. One Postfix that relays through it, with settings that tests change."""

from collections.abc import Iterator

import pytest

from tests.peers.postfix import Postfix
from tests.peers.programs import public_folder
from tests.peers.stage import Door, Stage, staged


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("clients")) as stage:
        yield stage


@pytest.fixture(params=["plain", "password", "starttls", "implicit"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Door:
    """Every way in."""
    return stage.doors[request.param]


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    with public_folder() as folder:
        postfix = Postfix(folder, "")
        postfix.start()
        try:
            yield postfix
        finally:
            postfix.stop()
