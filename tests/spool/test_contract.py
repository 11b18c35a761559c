"""Every rule of the port's contract, against every engine that runs here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import Spool as SpoolSettings
from gateway.spool.port import Recovered, Spool
from gateway.spool.sqlite import SqliteSpool
from tests.spool.contract import CONTRACT, NOW, Storage


class SqliteStorage:
    """One folder. A crash is a close that says nothing and settles nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = SqliteSpool(folder, SpoolSettings(), 30 * 86_400.0)

    def as_owner(self, owner: int) -> tuple[Spool, Recovered]:
        return self._spool, self._spool.recover(owner, NOW)

    def reopened(self, owner: int) -> tuple[Spool, Recovered]:
        self._spool.close(clean=False)
        self._spool = SqliteSpool(self._folder, SpoolSettings(), 30 * 86_400.0)
        return self.as_owner(owner)

    def close(self) -> None:
        self._spool.close(clean=False)


@pytest.fixture(params=[SqliteStorage], ids=["sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    engine = request.param(tmp_path / "spool")
    yield engine
    engine.close()


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_contract(rule: Callable[[Storage], None], storage: Storage) -> None:
    rule(storage)
