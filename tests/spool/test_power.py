"""Power cuts at random instants on a disk that loses what was not synced, full disks, and syncs that fail."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec
import pytest

from gateway.spool.connection import open_reader
from gateway.spool.integrity import findings
from gateway.spool.lifecycle import State
from gateway.spool.port import Acceptance, Change, LeaseRequest, NewFlow, Release, Selection, SpoolBroken, SpoolFull, Transaction
from gateway.spool.reader import SqliteReader
from gateway.spool.store import Store
from tests.spool.contract import FLOW, KEY, NOW, accept
from tests.spool.lying_vfs import LyingDisk

CACHE = 2_000_000
WAL_LIMIT = 150_000
"""So small that passive and RESTART checkpoints happen under load."""

ENDS = (State.DELIVERED, State.FAILED, State.QUEUED)


class Load:
    """Random work on a store, and what it was told is on disk."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0
        self.accepted: dict[int, bytes] = {}
        self.keys: dict[int, bytes] = {}
        self.ended: dict[int, State] = {}
        self.queued: set[int] = set()
        self.leased: set[int] = set()
        self.attempts: dict[int, int] = {}
        self.under_way: Transaction | None = None

    def run(self, store: Store, transactions: int) -> None:
        """Until an error of the store."""
        store.write(Transaction(flows=[NewFlow(FLOW, KEY)]))
        for _ in range(transactions):
            transaction = self._transaction()
            self.under_way = transaction
            written = store.write(transaction)
            self._note(transaction, [one.id for leased in written.leased for one in leased.deliveries])
            self.under_way = None

    def _transaction(self) -> Transaction:
        chance = self._chance
        acceptances = []
        for _ in range(chance.randrange(5)):
            self._number += 10
            one = accept(self._number, leased=chance.random() < 0.6)
            content = chance.randbytes(chance.choice((200, 3000, 11_000)))
            key = b"%016d" % self._number if chance.random() < 0.5 else b""
            acceptances.append(Acceptance(one.message, content, one.expires, one.deliveries, one.events, key))
        changes = []
        releases = []
        for delivery in sorted(self.leased)[: chance.randrange(6)]:
            if chance.random() < 0.1:
                releases.append(Release(delivery, NOW))
                continue
            state = chance.choice(ENDS)
            attempts = self.attempts.get(delivery, 0) + 1
            changes.append(Change(delivery, state, NOW, [b"%d %d" % (delivery, state)], due=NOW, attempts=attempts))
        leases = [LeaseRequest(FLOW, NOW, 3, NOW + 60)] if chance.random() < 0.5 else []
        return Transaction(acceptances=acceptances, changes=changes, releases=releases, leases=leases)

    def _note(self, transaction: Transaction, leased: list[int]) -> None:
        for one in transaction.acceptances:
            new = one.deliveries[0]
            self.accepted[new.id] = one.content
            if one.key:
                self.keys[new.id] = one.key
            (self.leased if new.leased else self.queued).add(new.id)
        for change in transaction.changes:
            self.leased.discard(change.delivery)
            if change.state is State.QUEUED:
                self.queued.add(change.delivery)
                self.attempts[change.delivery] = change.attempts
            else:
                self.ended[change.delivery] = change.state
        for release in transaction.releases:
            self.leased.discard(release.delivery)
            self.queued.add(release.delivery)
        self.queued.difference_update(leased)
        self.leased.update(leased)


def known_keys(store: Store, keys: dict[int, bytes]) -> set[int]:
    """The deliveries whose recipient is known under their key: which are not written again when their message comes again."""
    again = {2_000_000 + 10 * index: delivery for index, delivery in enumerate(keys)}
    acceptances = [msgspec.structs.replace(accept(number), key=keys[delivery]) for number, delivery in again.items()]
    return {again[one.message] for one in store.write(Transaction(acceptances=acceptances)).repeated}


def check(folder: Path, load: Load) -> None:
    """Everything that was reported is there; what was under way is there whole or not at all."""
    store = Store(folder, CACHE, WAL_LIMIT)
    recovered = store.recover(1)
    reader = SqliteReader(folder)
    try:
        assert findings(open_reader(folder)) == []
        there = {one.id: one for one in reader.find(Selection(), 0, 1000)}
        assert all(one.state is State.QUEUED for one in there.values())
        assert recovered.returned <= len(there)
        unknown = load.under_way or Transaction()
        unsure = {change.delivery for change in unknown.changes}
        for delivery, content in load.accepted.items():
            if delivery in unsure:
                continue
            if delivery in load.ended:
                entry = reader.sent(delivery)
                assert entry is not None
                assert (entry.state, delivery in there) == (load.ended[delivery], False)
            else:
                assert reader.content(there[delivery].message.id) == content
                assert there[delivery].attempts == load.attempts.get(delivery, 0)
        new = [one.deliveries[0].id for one in unknown.acceptances]
        assert len({identity in there for identity in new}) <= 1
        assert set(there) <= set(load.accepted) | set(new)
        events = {event for _, event in reader.events(0, 1000)}
        assert events >= {b"%d %d" % (delivery, state) for delivery, state in load.ended.items()}
        store.write(Transaction(acceptances=[accept(1_000_000)]))
        keys = load.keys | {one.deliveries[0].id: one.key for one in unknown.acceptances if one.key}
        assert known_keys(store, keys) == {delivery for delivery in keys if delivery in load.accepted or delivery in there}
    finally:
        reader.close()
        store.close()


_numbers = iter(range(1_000_000))


@pytest.fixture
def disk() -> Iterator[LyingDisk]:
    made = LyingDisk(f"lying-{next(_numbers)}")
    yield made
    made.unregister()


def cut(folder: Path, number: int, operations: int) -> int:
    """One run with a cut at a random operation. The number of operations of the run."""
    chance = random.Random(number)
    disk = LyingDisk(f"cut-{number}")
    disk.cut_at = chance.randrange(1, operations) if operations else -1
    load = Load(chance)
    with contextlib.suppress(SpoolBroken):
        store = Store(folder / "before", CACHE, WAL_LIMIT, lease=1 << 32 | 1, vfs=disk.disk_name)
        try:
            load.run(store, 40)
        finally:
            store.close()
    disk.unregister()
    if disk.image is not None:
        disk.lay(folder / "after")
        check(folder / "after", load)
    return disk.operations


@pytest.mark.parametrize("block", range(4))
def test_nothing_that_was_reported_is_lost_at_fifty_power_cuts(block: int, tmp_path: Path) -> None:
    (tmp_path / "whole" / "before").mkdir(parents=True)
    operations = cut(tmp_path / "whole", -1 - block, 0)
    for number in range(50):
        folder = tmp_path / str(number)
        (folder / "before").mkdir(parents=True)
        cut(folder, block * 1000 + number, operations)


def test_a_full_disk_refuses_the_transaction_and_the_spool_goes_on(disk: LyingDisk, tmp_path: Path) -> None:
    store = Store(tmp_path, CACHE, 1_000_000, lease=1 << 32 | 1, vfs=disk.disk_name)
    reader = SqliteReader(tmp_path, disk.disk_name)
    store.write(Transaction(acceptances=[accept(10, leased=True)]))

    def full(operation: str, file: str) -> None:
        if operation == "write":
            raise apsw.FullError("no space")

    disk.fault = full
    for _ in range(2):
        with pytest.raises(SpoolFull):
            store.write(Transaction(acceptances=[accept(20)], events=[b"lost"]))
    assert reader.count(Selection()) == 1
    disk.fault = lambda operation, file: None
    written = store.write(Transaction(acceptances=[accept(20)], changes=[Change(11, State.DELIVERED, NOW, [b"delivered"])]))
    assert written.stale == []
    assert [event for _, event in reader.events(0, 9)] == [b"accepted 11", b"accepted 21", b"delivered"]
    reader.close()
    store.close()


def test_a_sync_that_fails_breaks_the_spool_and_is_not_tried_again(disk: LyingDisk, tmp_path: Path) -> None:
    store = Store(tmp_path, CACHE, 1_000_000, lease=1 << 32 | 1, vfs=disk.disk_name)
    store.write(Transaction(acceptances=[accept(10)]))
    syncs = []

    def failing(operation: str, file: str) -> None:
        if operation == "sync":
            syncs.append(file)
            raise apsw.IOError("sync failed")

    disk.fault = failing
    with pytest.raises(SpoolBroken):
        store.write(Transaction(acceptances=[accept(20)]))
    assert len(syncs) == 1
    disk.fault = lambda operation, file: None
    with pytest.raises(SpoolBroken):
        store.write(Transaction(acceptances=[accept(30)]))
    assert len(syncs) == 1
    store.close()


def test_a_checkpoint_that_fails_breaks_the_spool(disk: LyingDisk, tmp_path: Path) -> None:
    store = Store(tmp_path, CACHE, 100_000, lease=1 << 32 | 1, vfs=disk.disk_name)

    def failing(operation: str, file: str) -> None:
        if not file.endswith("-wal"):
            raise apsw.IOError("bad block")

    disk.fault = failing
    with pytest.raises(SpoolBroken):
        _write_many(store)
    store.close()


def _write_many(store: Store) -> None:
    for number in range(10, 2000, 10):
        store.write(Transaction(acceptances=[accept(number)]))
