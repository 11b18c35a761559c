"""The file: position with the entries, restarts, the key file, two threads, and what a lookup costs."""

import os
import stat
import threading

import apsw
import pytest

import contacts.store
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from mail.event import seal
from tests.contacts.material import Clock, addition, address, bounced, removal, rules

JANE = address("jane@example.org")
JOE = address("joe@example.org")


def store_in(folder):
    return SuppressionStore(folder, rules(), Clock())


def lines(*events, first=1):
    return [(position, seal(event)) for position, event in enumerate(events, first)]


def test_position_and_entries_survive_a_restart(tmp_path):
    store = store_in(tmp_path)
    done = store.catch_up(lines(addition("a"), bounced(), addition("b", "joe@example.org"), removal("r", "b", "joe@example.org")))
    assert (done.position, done.changed, done.damaged) == (4, 3, 0)
    store.close()
    again = store_in(tmp_path)
    assert again.position() == 4
    assert again.reason("shop", "news", JANE) == "hard_bounce"
    assert again.reason("shop", "news", JOE) is None
    again.close()


def test_what_was_applied_is_not_read_again_and_gaps_do_not_matter(tmp_path):
    store = store_in(tmp_path)
    store.catch_up(lines(addition("a"), first=5))
    assert store.catch_up(lines(addition("b", "joe@example.org"), first=5)).changed == 0
    assert store.reason("shop", "news", JOE) is None
    assert store.catch_up(lines(addition("b", "joe@example.org"), first=90)).position == 90
    assert store.catch_up([]).position == 90


def test_logs_are_followed_apart(tmp_path):
    store = store_in(tmp_path)
    store.catch_up(lines(addition("a"), first=7))
    store.catch_up(lines(addition("b", "joe@example.org")), log="postgresql")
    assert (store.position(), store.position("postgresql")) == (7, 1)
    assert store.reason("shop", "news", JOE) == "hard_bounce"


def test_a_log_that_starts_again_is_read_from_its_start(tmp_path):
    store = store_in(tmp_path)
    store.catch_up(lines(addition("a"), first=100))
    assert not store.reconcile(100)
    assert store.reconcile(3)
    assert store.catch_up(lines(addition("b", "joe@example.org"))).changed == 1
    assert store.reason("shop", "news", JANE) == "hard_bounce"


def test_lines_that_are_no_events_are_counted_and_passed(tmp_path):
    store = store_in(tmp_path)
    done = store.catch_up(
        [(1, b'{"kind":"suppression_added"'), (2, b'{"id":"\xff","kind":"suppression_added"}'), *lines(addition("a"), first=3)]
    )
    assert (done.position, done.changed, done.damaged) == (3, 1, 2)


def test_pending_entries_leave_memory_when_they_are_on_disk(tmp_path):
    store = store_in(tmp_path)
    events = [addition("a"), addition("b", "joe@example.org"), removal("r", "a")]
    for event in events:
        assert store.apply(event)
    assert store.pending == 2
    store.catch_up(lines(*events[:2]))
    assert store.reason("shop", "news", JANE) is None, "its removal is still pending"
    assert store.pending == 1
    store.catch_up(lines(*events))
    assert store.reason("shop", "news", JANE) is None
    assert store.reason("shop", "news", JOE) == "hard_bounce"
    assert store.pending == 0


def test_pending_entries_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(contacts.store, "MAX_PENDING", 3)
    store = store_in(tmp_path)
    events = [addition(f"e{number}", f"p{number}@example.org") for number in range(10)]
    for event in events:
        assert store.apply(event)
        assert not store.apply(event)
    assert store.pending == 3
    assert all(store.reason("shop", "news", address(event.recipient)) for event in events)


def test_the_files_are_for_their_owner_only(tmp_path):
    store = store_in(tmp_path / "var")
    store.catch_up(lines(addition("a")))
    for path in (tmp_path / "var").iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    store.close()


def test_no_address_without_the_key_file(tmp_path):
    store_in(tmp_path).close()
    key = tmp_path / "contacts.key"
    secret = key.read_bytes()
    key.unlink()
    with pytest.raises(StoreError, match="missing"):
        store_in(tmp_path)
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    with pytest.raises(StoreError, match="not the key file"):
        store_in(tmp_path)
    key.write_bytes(secret)
    key.chmod(0o644)
    with pytest.raises(StoreError, match="open to others"):
        store_in(tmp_path)
    key.chmod(0o600)
    store_in(tmp_path).close()


def test_a_file_that_is_not_ours_is_left_as_it_is(tmp_path):
    store_in(tmp_path).close()
    path = tmp_path / "contacts.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreError, match="not a contact store"):
        store_in(tmp_path)
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(StoreError):
        store_in(tmp_path)


def test_a_write_that_fails_does_nothing_and_can_be_tried_again(tmp_path):
    store = store_in(tmp_path)
    other = apsw.Connection(str(tmp_path / "contacts.db"))
    other.execute("CREATE TRIGGER fail BEFORE INSERT ON reached BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(StoreError):
        store.catch_up(lines(addition("a")))
    assert store.position() == 0
    assert store.reason("shop", "news", JANE) is None
    other.execute("DROP TRIGGER fail")
    assert store.catch_up(lines(addition("a"))).changed == 1
    assert store.reason("shop", "news", JANE) == "hard_bounce"


def test_lookups_while_another_thread_catches_up_never_miss_an_applied_entry(tmp_path):
    store = store_in(tmp_path)
    events = [addition(f"e{number}", f"p{number}@example.org") for number in range(600)]
    recipients = [address(event.recipient) for event in events]
    applied = threading.Semaphore(0)

    def carry():
        for start in range(0, len(events), 20):
            for _ in range(20):
                applied.acquire()
            store.catch_up(lines(*events[start : start + 20], first=start + 1))

    thread = threading.Thread(target=carry)
    thread.start()
    for number, event in enumerate(events):
        store.apply(event)
        applied.release()
        assert store.reason("shop", "news", recipients[number])
        assert store.reason("shop", "news", recipients[number // 2])
    thread.join()
    assert all(store.reason("shop", "news", recipient) for recipient in recipients)
    assert store.pending == 0
