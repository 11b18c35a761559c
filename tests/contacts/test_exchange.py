"""Large lists in and out: whole or nothing, merged, dry, beside a running store, and after a crash."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from contacts import exchange
from contacts.exchange import Imported, ImportRunning, announced, forget, import_lines, tidy, unannounced
from contacts.formats.catalogue import FORMATS
from contacts.formats.record import BadLine, Record
from contacts.formats.shape import Written
from contacts.listing import entries
from contacts.store import SuppressionStore
from contacts.suppression import Reason, Scope
from mail.event import EventKind, seal
from tests.contacts.material import NOW, Clock, addition, address, removal, rules


@pytest.fixture
def store(tmp_path):
    made = SuppressionStore(tmp_path, rules(), Clock())
    yield made
    made.close()


def people(count, reason=Reason.MANUAL, **more):
    return [Record(number + 1, f"p{number}@example.org", reason, **more) for number in range(count)]


def test_an_import_is_whole_and_says_what_it_did(store):
    done = import_lines(store, people(25_000), "b1", NOW, node="n1")
    assert done == Imported("b1", True, 25_000, 25_000, 0, 0)
    assert store.reason("shop", "news", address("p24999@example.org")) == "manual"
    [entry] = store.entries(address("p7@example.org"))
    assert (entry.id, entry.batch, entry.created, entry.origin) == ("b1.8", "b1", NOW, "import")
    [event] = unannounced(store)
    assert (event.kind, event.batch, event.counts, event.node) == (
        EventKind.SUPPRESSION_IMPORTED,
        "b1",
        {"read": 25_000, "added": 25_000, "merged": 0, "refused": 0},
        "n1",
    )
    announced(store, "b1")
    assert not unannounced(store)


def test_duplicates_are_merged_within_the_file_and_with_the_list(store):
    store.catch_up([(1, seal(addition("a", "p0@example.org", "manual")))])
    lines = [*people(3), *people(3), *people(1, Reason.COMPLAINT), *people(1, scope=Scope.ACCOUNT, account="shop")]
    assert import_lines(store, lines, "b1", NOW) == Imported("b1", True, 8, 4, 4, 0)
    assert import_lines(store, lines, "b2", NOW) == Imported("b2", True, 8, 0, 8, 0)
    assert len(store.entries(address("p0@example.org"))) == 3


def test_the_entry_that_lasts_longest_stays(store):
    lines = [*people(1, expires=NOW + 10), *people(1, expires=NOW + 99), *people(1, expires=NOW + 50)]
    import_lines(store, lines, "b1", NOW)
    assert [entry.expires for entry in store.entries(address("p0@example.org"))] == [NOW + 99]
    assert import_lines(store, people(1), "b2", NOW).added == 1
    assert import_lines(store, people(1, expires=NOW + 500), "b3", NOW).added == 0


def test_a_dry_run_counts_and_changes_nothing(store):
    import_lines(store, people(2), "b1", NOW)
    assert import_lines(store, [*people(5), *people(1)], "b2", NOW, dry_run=True) == Imported("b2", False, 6, 3, 3, 0)
    assert store.reason("shop", "news", address("p4@example.org")) is None


def test_one_bad_line_keeps_everything_out_unless_bad_lines_are_skipped(store):
    bad: list[BadLine] = []
    lines = [*people(2), BadLine(3, "no address")]
    assert import_lines(store, lines, "b1", NOW, on_bad=bad.append) == Imported("b1", False, 3, 2, 0, 1)
    assert bad == [BadLine(3, "no address")]
    assert store.reason("shop", "news", address("p0@example.org")) is None
    assert import_lines(store, lines, "b1", NOW, skip_bad=True) == Imported("b1", True, 3, 2, 0, 1)


def crash_at(slices):
    def progress(step, done, total):
        if step == "merging" and done >= slices * exchange.SLICE:
            raise KeyboardInterrupt

    return progress


def test_an_import_that_dies_half_way_counts_for_nothing_and_is_taken_out(store, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "SLICE", 10)
    import_lines(store, people(5), "b0", NOW)
    with pytest.raises(KeyboardInterrupt):
        import_lines(store, people(100), "b1", NOW, progress=crash_at(5))
    everybody = [address(f"p{number}@example.org") for number in range(100)]
    assert sum(store.reason("shop", "news", person) is not None for person in everybody) == 5
    assert len(list(entries(store, NOW))) == 5
    assert not unannounced(store)[1:]
    assert not (tmp_path / "contacts.import").exists()
    assert 45 <= tidy(store, NOW) <= 50, "five of the first slices may have been duplicates"
    assert tidy(store, NOW) == 0
    assert import_lines(store, people(100), "b1", NOW).added == 95


def test_the_next_import_takes_out_what_the_last_one_left(store, monkeypatch):
    monkeypatch.setattr(exchange, "SLICE", 10)
    with pytest.raises(KeyboardInterrupt):
        import_lines(store, people(100), "b1", NOW, progress=crash_at(5))
    assert import_lines(store, people(100), "b2", NOW) == Imported("b2", True, 100, 100, 0, 0)
    assert {entry.batch for entry in entries(store, NOW)} == {"b2"}


def test_one_import_at_a_time(store):
    def lines():
        yield from people(1)
        with pytest.raises(ImportRunning):
            import_lines(store, people(1), "b2", NOW)

    assert import_lines(store, lines(), "b1", NOW).done


def test_the_list_is_in_use_while_an_import_runs(store):
    def lines():
        for number, record in enumerate(people(50)):
            yield record
            store.catch_up([(number + 1, seal(addition(f"e{number}", f"q{number}@example.org")))])
            assert store.reason("shop", "news", address(f"q{number}@example.org")) == "hard_bounce"

    assert import_lines(store, lines(), "b1", NOW).added == 50


def test_another_process_sees_an_import_into_an_empty_list(tmp_path):
    clock = Clock()
    gateway = SuppressionStore(tmp_path, rules(), clock)
    person = address("p0@example.org")
    assert gateway.reason("shop", "news", person) is None
    command = SuppressionStore(tmp_path, rules(), Clock())
    import_lines(command, people(1), "b1", NOW)
    clock.now += 1
    assert gateway.reason("shop", "news", person) == "manual"


def test_an_imported_entry_is_removed_by_its_name_and_stays_removed(store):
    import_lines(store, people(2), "b1", NOW)
    store.apply(removal("r", "b1.1", "p0@example.org"))
    assert store.reason("shop", "news", address("p0@example.org")) is None
    store.catch_up([(1, seal(removal("r", "b1.1", "p0@example.org")))])
    assert store.reason("shop", "news", address("p0@example.org")) is None
    assert store.reason("shop", "news", address("p1@example.org")) == "manual"


def test_since_and_expiry_narrow_an_export(store):
    import_lines(store, [*people(3, created=NOW - 100), *people(2, Reason.COMPLAINT, created=NOW - 10)], "b1", NOW)
    import_lines(store, people(2, Reason.SOFT_BOUNCE_LIMIT, expires=NOW + 5), "b2", NOW)
    assert len(list(entries(store, NOW))) == 7
    assert len(list(entries(store, NOW, since=NOW - 10))) == 4
    assert len(list(entries(store, NOW + 5))) == 5


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_a_list_goes_to_a_file_and_into_another_list(store, tmp_path, name):
    lines = [
        *people(2500, Reason.HARD_BOUNCE, code=550, diagnostic="=no such user"),
        *people(10, Reason.UNSUBSCRIBE, scope=Scope.LIST, list="weekly", account="shop", expires=NOW + 9),
    ]
    import_lines(store, lines, "b1", NOW)
    shape = FORMATS[name]
    assert shape.write is not None
    assert shape.read is not None
    data = b"".join(shape.write(entries(store, NOW), Written()))
    other = SuppressionStore(tmp_path / "other", rules(), Clock())
    assert import_lines(other, shape.read(io.BytesIO(data)), "b9", NOW + 1).added == 2510

    def facts(of):
        return sorted(
            (e.address, e.reason, e.scope, e.account, e.list, e.created, e.expires, e.code, e.diagnostic) for e in entries(of, NOW)
        )

    assert facts(other) == facts(store)


def test_tidy_takes_what_nobody_asks_for_any_more(store):
    import_lines(store, [*people(3, expires=NOW + 1), *people(2, Reason.COMPLAINT)], "b1", NOW)
    store.catch_up([(1, seal(removal("r", "x")))])
    assert tidy(store, NOW + 2) == 0
    assert tidy(store, NOW + 2 + exchange.KEEP_EXPIRED) == 3
    assert tidy(store, NOW + 2 + exchange.KEEP_REMOVED) == 1
    assert len(list(entries(store, NOW))) == 2


def test_a_forgotten_person_stays_suppressed_without_an_address(store):
    told = Record(2, "p1@example.org", Reason.COMPLAINT, diagnostic="told us: p1@example.org")
    first, _, last = people(3, Reason.COMPLAINT)
    import_lines(store, [first, told, last], "b1", NOW)
    assert forget(store, "p1@example.org") == 1
    assert store.reason("shop", "news", address("p1@example.org")) == "complaint"
    [entry] = store.entries(address("p1@example.org"))
    assert (entry.address, entry.diagnostic, entry.reason) == ("", "", Reason.COMPLAINT)
    written = Written()
    shape = FORMATS["csv"]
    assert shape.write is not None
    assert b"p1@" not in b"".join(shape.write(entries(store, NOW), written))
    assert written.left_out == 1
    assert not [path for path in store.folder.iterdir() if b"p1@example.org" in path.read_bytes()]
    store.apply(removal("r", "b1.2", "p1@example.org"))
    assert store.reason("shop", "news", address("p1@example.org")) is None


KILLED = """
import os, sys, time
from pathlib import Path
from contacts import exchange
from contacts.exchange import import_lines
from contacts.store import SuppressionStore
from tests.contacts.material import NOW, Clock, rules
from tests.contacts.test_exchange import people
exchange.SLICE = 50
def die(step, done, total):
    if step == "merging" and done >= 1000:
        os.kill(os.getpid(), 9)
import_lines(SuppressionStore(Path(sys.argv[1]), rules(), Clock()), people(2000), "b1", NOW, progress=die)
"""


def test_an_import_that_is_killed_leaves_nothing_that_counts(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9, done.stderr.decode()
    store = SuppressionStore(tmp_path, rules(), Clock())
    assert list(entries(store, NOW)) == []
    assert not unannounced(store)
    assert import_lines(store, people(2000), "b2", NOW) == Imported("b2", True, 2000, 2000, 0, 0)
    store.close()
