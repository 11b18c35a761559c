"""A file read in blocks, by one process or two, says what the file says read whole: every record and bad line with its number."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.exchange import import_file
from contacts.formats import blocks as blocks_module
from contacts.formats.blocks import blocks
from contacts.formats.catalogue import FORMATS
from contacts.formats.record import MAX_LINE, BadLine, Record
from contacts.listing import entries
from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from contacts.workers import in_order
from tests.contacts.material import NOW, Clock, rules

HEADER = "email,reason,diagnostic\n"
LINES = ["a@x.test,manual,\n", 'b@x.test,complaint,"two\nlines, one ""quoted"""\n', "nobody,manual,\n", "\n", "c@x.test,dislike,\r\n"]


def in_blocks(name: str, data: bytes, size: int, monkeypatch=None) -> list[Record | BadLine]:
    shape = FORMATS[name]
    assert shape.splits is not None
    assert shape.read is not None
    found: list[Record | BadLine] = []
    before, blocks_module.BLOCK = blocks_module.BLOCK, size
    try:
        for block in blocks(io.BytesIO(data), shape.splits):
            for line in shape.read(io.BytesIO(block.data)):
                found.append(type(line)(line.line + block.before, *[getattr(line, name) for name in line.__struct_fields__[1:]]))
    finally:
        blocks_module.BLOCK = before
    return found


def whole(name: str, data: bytes) -> list[Record | BadLine]:
    read = FORMATS[name].read
    assert read is not None
    return list(read(io.BufferedReader(io.BytesIO(data))))


@given(st.lists(st.sampled_from(LINES), max_size=40), st.integers(1, 300))
def test_a_table_in_blocks_is_the_table(lines, size):
    data = (HEADER + "".join(lines)).encode()
    assert in_blocks("csv", data, size) == whole("csv", data)


@given(st.lists(st.sampled_from(["0" * 64, "f" * 64, "sha256:" + "a" * 64, "no hash", ""]), max_size=30), st.integers(1, 200))
def test_hashes_in_blocks_are_the_hashes(lines, size):
    data = "\n".join(["sha256 of the address", *lines]).encode()
    assert in_blocks("sha256", data, size) == whole("sha256", data)


@given(st.lists(st.sampled_from(['{"email":"a@x.test","reason":"manual"}', "{", "7"]), max_size=30), st.integers(1, 100))
def test_objects_in_blocks_are_the_objects(lines, size):
    data = "\n".join(lines).encode()
    assert in_blocks("ndjson", data, size) == whole("ndjson", data)


def test_a_line_without_an_end_is_one_bad_line_and_is_not_held(monkeypatch):
    monkeypatch.setattr(blocks_module, "LARGEST", 200_000)
    data = b"x" * 3_000_000 + b",a@x.test,manual\n" + b'{"email":"a@x.test","reason":"manual"}\n'
    splits = FORMATS["ndjson"].splits
    assert splits is not None
    pieces = list(blocks(io.BytesIO(data), splits))
    assert max(len(piece.data) for piece in pieces) < 2_200_000
    found = in_blocks("ndjson", data, 50_000)
    assert [(type(line), line.line) for line in found] == [(BadLine, 1), (Record, 2)]
    assert MAX_LINE < 200_000


def test_quotes_that_never_close_end_somewhere(monkeypatch):
    monkeypatch.setattr(blocks_module, "LARGEST", 10_000)
    data = (HEADER + 'a@x.test,manual,"\n' + "b@x.test,manual,\n" * 10_000).encode()
    assert any(isinstance(line, BadLine) for line in in_blocks("csv", data, 1_000))


@pytest.mark.parametrize("name", ["csv", "sha256"])
def test_two_processes_import_what_one_does(tmp_path, name, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK", 2_000)
    text = HEADER + "".join(f'p{n}@x.test,manual,"no ""{n}"""\n' for n in range(300)) + "bad\n"
    data = text.encode() if name == "csv" else "".join(f"{n:064x}\n" for n in range(300)).encode() + b"bad\n"
    found = []
    for processes in (1, 2):
        store = SuppressionStore(tmp_path / str(processes), rules(), Clock())
        bad: list[BadLine] = []
        done = import_file(
            store, io.BytesIO(data), FORMATS[name], "b", NOW, skip_bad=True, on_bad=bad.append, processes=processes
        )  # fmt: skip
        assert (done.added, done.refused) == (300, 1)
        found.append((bad, sorted((e.id, e.address, e.diagnostic) for e in entries(store, NOW))))
        store.close()
    assert found[0] == found[1]


def fail_at_three(piece: int) -> int:
    if piece == 3:
        raise ValueError("three")
    return piece * 2


@pytest.mark.parametrize("processes", [2, 3])
def test_results_come_in_order_and_a_failure_is_told(processes):
    assert list(in_order(abs, range(-7, 0), processes)) == [7, 6, 5, 4, 3, 2, 1]
    assert list(in_order(abs, [-1], processes)) == [1]
    with pytest.raises(StoreError, match="three"):
        list(in_order(fail_at_three, range(9), processes))
