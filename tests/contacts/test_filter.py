"""The filter never says that somebody is absent who is there: over imports by others, restarts, reboots, restored files and lost ones."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts import filter as filter_module
from contacts.exchange import import_lines
from contacts.filter import FILE, Filter
from contacts.store import SuppressionStore
from mail.event import seal
from tests.contacts.material import NOW, Clock, addition, address, rules
from tests.contacts.test_exchange import people

KEYS = st.lists(st.binary(min_size=16, max_size=16), max_size=200)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    made = Filter(tmp_path_factory.mktemp("filter"))
    yield made
    made.close()


@given(KEYS)
def test_what_was_added_is_never_absent(one, keys):
    one.add(keys)
    assert not any(one.surely_absent(key) for key in keys)


def test_almost_everybody_else_is(tmp_path):
    made = Filter(tmp_path)
    made.add(number.to_bytes(4, "big") * 4 for number in range(0, 100_000, 2))
    chance = [made.surely_absent(bytes((number * 7919 + place * 104_729) % 251 for place in range(16))) for number in range(250)]
    assert sum(chance) > 240
    made.close()


def opened(folder) -> SuppressionStore:
    return SuppressionStore(folder, rules(), Clock())


def reason(store: SuppressionStore, number: int) -> str | None:
    return store.reason("shop", "news", address(f"p{number}@example.org"))


def believed(store: SuppressionStore) -> bool:
    return store.filter is not None and store.filter.believed


def test_a_new_list_has_a_filter_and_keeps_it_over_a_restart(tmp_path):
    store = opened(tmp_path)
    assert believed(store)
    store.catch_up([(1, seal(addition("a", "p1@example.org")))])
    store.close()
    store = opened(tmp_path)
    assert believed(store)
    assert (reason(store, 1), reason(store, 2)) == ("hard_bounce", None)
    store.close()


def test_what_another_process_imports_is_met_at_once(tmp_path):
    store, other = opened(tmp_path), opened(tmp_path)
    store.catch_up([(1, seal(addition("a", "x@example.org")))])
    assert reason(store, 1) is None
    import_lines(other, people(5), "b1", NOW)
    assert believed(store)
    assert reason(store, 1) == "manual"
    other.close()
    store.close()


def test_after_a_boot_every_lookup_asks_the_file_until_the_filter_is_built(tmp_path, monkeypatch):
    store = opened(tmp_path)
    import_lines(store, people(5), "b1", NOW)
    store.close()
    (tmp_path / FILE).write_bytes(bytes((tmp_path / FILE).stat().st_size))  # what a power cut may leave
    monkeypatch.setattr(filter_module, "_boot", lambda: b"another".ljust(32, b"\0"))
    store = opened(tmp_path)
    assert not believed(store)
    assert reason(store, 1) == "manual"
    assert store.build_filter()
    assert believed(store)
    assert [reason(store, number) for number in range(6)] == ["manual"] * 5 + [None]
    store.close()


def test_a_restored_database_does_not_believe_the_filter_of_another(tmp_path):
    store = opened(tmp_path / "one")
    import_lines(store, people(5), "b1", NOW)
    store.close()
    opened(tmp_path / "two").close()
    for name in ("contacts.db", "contacts.key"):
        shutil.copy(tmp_path / "one" / name, tmp_path / "two" / name)
    store = opened(tmp_path / "two")
    assert not believed(store)
    assert reason(store, 1) == "manual"
    store.close()


def test_a_filter_that_was_taken_away_is_given_up_when_an_import_is_told(tmp_path):
    store = opened(tmp_path)
    store.catch_up([(1, seal(addition("a", "x@example.org")))])
    (tmp_path / FILE).unlink()
    other = opened(tmp_path)
    import_lines(other, people(5), "b1", NOW)
    other.close()
    store.look_at_filter()
    assert not believed(store)
    assert reason(store, 1) == "manual"
    store.close()


def test_without_room_for_a_filter_the_file_is_asked(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    store = opened(tmp_path)
    import_lines(store, people(5), "b1", NOW)
    assert store.filter is None
    assert [reason(store, number) for number in (4, 5)] == ["manual", None]
    store.close()
