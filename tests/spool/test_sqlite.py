"""What is special to the engine in SQLite: its file, its lock, damage, housekeeping, copies, and statements that can be read."""

import os
import stat
from pathlib import Path

import apsw
import pytest

from config.settings import Spool as SpoolSettings
from gateway.spool.connection import FILE, PAGE_SIZE
from gateway.spool.integrity import findings
from gateway.spool.lifecycle import FINAL, State
from gateway.spool.lock import FolderLock
from gateway.spool.port import (
    Change,
    LeaseRequest,
    NewFlow,
    Selection,
    SpoolBroken,
    SpoolError,
    SpoolLocked,
    SpoolUnusable,
    Sweep,
    Transaction,
)
from gateway.spool.queries import LARGEST, STATEMENTS, pieces, statement
from gateway.spool.sqlite import SqliteSpool, free_space
from gateway.spool.tidy import PAGES_KEPT
from tests.spool.contract import CONTENT, FLOW, KEY, NOW, accept, keyed

DAY = 86_400.0
WINDOW = 30 * DAY


def opened(folder: Path) -> SqliteSpool:
    spool = SqliteSpool(folder, SpoolSettings(), WINDOW)
    spool.recover(1, NOW)
    return spool


def meddle(folder: Path, text: str) -> None:
    """Somebody else changes the file."""
    connection = apsw.Connection(str(folder / FILE))
    connection.execute(text)
    connection.close()


def test_the_file_has_the_durability_it_promises(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    connection = spool.store._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2  # FULL
    assert connection.pragma("auto_vacuum") == 2  # INCREMENTAL
    assert stat.S_IMODE(os.stat(tmp_path / FILE).st_mode) == 0o600
    spool.close(clean=True)


def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(SpoolLocked, match=str(os.getpid())):
        FolderLock(tmp_path, patience=0.0)
    spool.close(clean=True)
    FolderLock(tmp_path, patience=0.0).release()


def test_an_orderly_stop_is_remembered_and_a_crash_is_noticed(tmp_path: Path) -> None:
    for clean in (True, False):
        opened(tmp_path).close(clean=clean)
        spool = SqliteSpool(tmp_path, SpoolSettings(), WINDOW)
        assert spool.recover(1, NOW).clean is clean
        spool.close(clean=True)


@pytest.mark.parametrize("content", [b"this is no database at all", b""])
def test_a_file_that_is_not_ours_is_refused_and_an_empty_one_is_made(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content * 1000)
    if content:
        with pytest.raises(SpoolError):
            opened(tmp_path)
    else:
        opened(tmp_path).close(clean=True)
    FolderLock(tmp_path, patience=0.0).release()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close(clean=True)
    meddle(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match="99"):
        opened(tmp_path)


def test_rows_that_do_not_decode_are_reported_and_stay(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(flows=[NewFlow(FLOW, KEY)], acceptances=[accept(10), accept(20), accept(30)]))
    meddle(tmp_path, "UPDATE message SET facts = x'c1ff' WHERE id = 20")
    assert [one.id for one in spool.find(Selection(), 0, 9)] == [11, 31]
    assert spool.damaged == [21]
    written = spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 9, NOW + 60)]))
    assert [one.id for one in written.leased[0].deliveries] == [11, 31]
    assert written.damaged == [21]
    assert spool.count(Selection(ids=[21])) == 1
    assert spool.content(20) == CONTENT
    assert findings(spool.reader().connection) == ["message 20 has facts that do not decode"]
    assert spool.write(Transaction(changes=[Change(21, State.CANCELLED, NOW)])).stale == []  # an operator can end it
    spool.close(clean=True)


def test_damage_of_our_own_rules_is_found(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(acceptances=[accept(10, 2), accept(20), accept(30)]))
    reader = spool.reader()
    assert findings(reader.connection) == []
    meddle(tmp_path, "DELETE FROM message WHERE id = 20; DELETE FROM body WHERE message = 30; DELETE FROM delivery WHERE id = 12")
    assert findings(reader.connection) == [
        "delivery 21 has no message",
        "message 30 has no bytes",
        "message 10 counts its deliveries wrong",
    ]
    spool.close(clean=True)


def test_a_page_that_is_corrupt_breaks_the_spool_and_is_not_skipped(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(acceptances=[accept(number, flow=0) for number in range(10, 9000, 10)]))
    spool.close(clean=True)
    size = os.path.getsize(tmp_path / FILE)
    with open(tmp_path / FILE, "r+b") as file:
        file.seek(PAGE_SIZE * 6)
        file.write(os.urandom(size - PAGE_SIZE * 6))
    with pytest.raises(SpoolBroken):
        opened(tmp_path).write(Transaction(acceptances=[accept(5, flow=0)]))


ILLEGAL = [
    "UPDATE delivery SET state = 2",
    "UPDATE delivery SET state = 1",
    "UPDATE delivery SET lease = 5",
    "UPDATE delivery SET flow = -1",
    "UPDATE delivery SET recipient = ''",
    "UPDATE delivery SET due = 'soon'",
    "UPDATE message SET remaining = 0",
    "UPDATE node SET epoch = 0",
    "UPDATE flow SET without = 'not json'",
    "INSERT INTO flow SELECT 8, provider, route, pool, account, stream, campaign, priority, only, without FROM flow",
]


@pytest.mark.parametrize("text", ILLEGAL)
def test_illegal_states_are_refused_by_the_file_itself(tmp_path: Path, text: str) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(flows=[NewFlow(FLOW, KEY)], acceptances=[accept(10)]))
    with pytest.raises(apsw.ConstraintError):
        meddle(tmp_path, text)
    spool.close(clean=True)


def test_the_ledger_goes_by_days_when_the_return_window_is_over(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for index, age in enumerate((0, 1, 40)):
        number = 10 + 10 * index
        spool.write(Transaction(acceptances=[accept(number, leased=True)]))
        spool.write(Transaction(changes=[Change(number + 1, State.DELIVERED, NOW - age * DAY)]))
    while spool.tidy(NOW):
        pass
    assert [spool.sent(identity) is not None for identity in (11, 21, 31)] == [True, True, False]
    spool.write(Transaction(acceptances=[accept(40, leased=True)]))
    spool.write(Transaction(changes=[Change(41, State.DELIVERED, NOW - 40 * DAY)]))  # the day that went is made again
    assert spool.sent(41) is not None
    spool.close(clean=True)


def test_no_address_is_kept_with_a_key(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(acceptances=[keyed(10, "jean.martin@x.example")]))
    spool.write(Transaction(changes=[Change(11, State.CANCELLED, NOW)], sweeps=[Sweep("forget", Selection(ids=[11]), NOW)]))
    assert spool.write(Transaction(acceptances=[keyed(20, "jean.martin@X.example")])).repeated[0].first == 10
    with apsw.Connection(str(tmp_path / FILE), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    assert rows
    assert not any(b"jean.martin" in (value if isinstance(value, bytes) else str(value).encode()) for row in rows for value in row)
    spool.close(clean=True)


def test_keys_go_by_days_when_the_return_window_is_over(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    old, young = b"o" * 16, b"y" * 16
    spool.write(Transaction(acceptances=[keyed(10, "a@x.example", key=old, received=NOW - 40 * DAY), keyed(20, "a@x.example", key=young)]))
    spool.write(Transaction(acceptances=[keyed(30, "b@x.example", key=old)]))  # a later use does not keep the key
    while spool.tidy(NOW):
        pass
    assert [one.message for one in spool.write(Transaction(acceptances=[keyed(40, "a@x.example", key=young)])).repeated] == [40]
    again = Transaction(acceptances=[keyed(50, "a@x.example", "b@x.example", key=old, received=NOW - 40 * DAY)])  # the day is made again
    assert spool.write(again).repeated == []
    spool.close(clean=True)


def test_free_pages_are_given_back_in_slices(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    large = accept(10, leased=True)
    content = bytes(8000 * (PAGES_KEPT + 1200))
    spool.write(Transaction(acceptances=[type(large)(large.message, content, large.expires, large.deliveries, [])]))
    spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW)]))
    before = spool.store._connection.pragma("page_count")
    slices = 1
    while spool.tidy(NOW):
        slices += 1
    assert slices >= 3
    assert spool.store._connection.pragma("page_count") <= before - 1000
    spool.close(clean=True)


def test_a_copy_is_whole_while_the_original_goes_on(tmp_path: Path) -> None:
    spool = opened(tmp_path / "spool")
    spool.write(Transaction(acceptances=[accept(10, 2)]))
    (tmp_path / "copy").mkdir()
    spool.backup(tmp_path / "copy" / FILE)
    spool.write(Transaction(acceptances=[accept(20)]))
    copy = opened(tmp_path / "copy")
    assert [one.id for one in copy.find(Selection(), 0, 9)] == [11, 12]
    assert copy.content(10) == CONTENT
    copy.close(clean=True)
    spool.close(clean=True)


def test_the_log_stays_within_its_bound_under_load(tmp_path: Path) -> None:
    limit = 1_000_000
    spool = SqliteSpool(tmp_path, SpoolSettings(wal_limit=limit), WINDOW)
    spool.recover(1, NOW)
    for number in range(10, 6000, 10):
        one = accept(number, leased=True)
        spool.write(Transaction(acceptances=[type(one)(one.message, bytes(10_000), one.expires, one.deliveries, [])]))
    assert (tmp_path / f"{FILE}-wal").stat().st_size < 2 * limit
    spool.close(clean=True)


def test_a_reader_that_stays_delays_the_log_and_does_not_stop_the_writer(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path, SpoolSettings(wal_limit=1_000_000), WINDOW)
    spool.recover(1, NOW)
    staying = spool.reader().connection
    staying.execute("BEGIN")
    staying.execute("SELECT count(*) FROM delivery").fetchall()
    for number in range(10, 400, 10):
        one = accept(number, leased=True)
        spool.write(Transaction(acceptances=[type(one)(one.message, bytes(100_000), one.expires, one.deliveries, [])]))
    assert spool.store.checkpointer.wal_bytes > 1_000_000
    staying.execute("COMMIT")
    for number in range(1000, 1200, 10):
        spool.write(Transaction(acceptances=[accept(number)]))
    assert spool.store.checkpointer.wal_bytes < 2_000_000
    spool.close(clean=True)


def test_a_page_is_bounded_whatever_is_asked(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(acceptances=[accept(number) for number in range(10, 12_000, 10)]))
    assert len(spool.find(Selection(), 0, 1_000_000)) == 1000
    assert len(spool.write(Transaction(leases=[LeaseRequest(FLOW, NOW, 1500, NOW)])).leased[0].deliveries) == 1199
    spool.close(clean=True)


def test_values_that_cannot_be_stored_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.write(Transaction(acceptances=[accept(10, leased=True)]))
    for reason, due in (("lone \udcff surrogate", NOW), ("fine", "soon")):
        with pytest.raises(SpoolError) as caught:
            spool.write(Transaction(changes=[Change(11, State.QUEUED, NOW, due=due, reason=reason)], events=[b"no"]))  # type: ignore[arg-type]
        assert not isinstance(caught.value, SpoolBroken)
    assert spool.write(Transaction(changes=[Change(11, State.DELIVERED, NOW)])).stale == []
    assert [event for _, event in spool.events(0, 9)] == [b"accepted 11"]
    spool.close(clean=True)


def test_final_states_are_those_the_ledger_takes() -> None:
    assert sorted(FINAL) == [2, 3, 4, 5]
    assert "state BETWEEN 2 AND 5" in " ".join(STATEMENTS["sent.create"].split())


def test_rows_are_cut_into_pieces_that_stay_prepared() -> None:
    assert list(pieces(0)) == []
    assert list(pieces(5)) == [(0, 4), (4, 5)]
    sizes = {end - start for rows in range(1, 2000) for start, end in pieces(rows)}
    assert sizes == {1 << power for power in range(8)}
    assert max(sizes) == LARGEST
    for name in STATEMENTS:
        assert len(statement(name, LARGEST, 20_000)) < 16_000, f"{name} is too long for the cache of prepared statements"


@pytest.mark.parametrize("place", [0, 100], ids=["header", "schema"])
def test_a_damaged_file_is_named_and_called_unusable(tmp_path: Path, place: int) -> None:
    opened(tmp_path).close(clean=True)
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 4000)
    with pytest.raises(SpoolUnusable, match=r"spool\.sqlite is damaged"):
        opened(tmp_path)


def test_free_space_is_told_in_bytes(tmp_path: Path) -> None:
    assert free_space(tmp_path) > 1_000_000
