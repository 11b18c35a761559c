"""Every format that can be read and written: exported, imported into an empty list, compared in what docs/contacts.md says it carries."""

import io

import pytest

from contacts import command
from contacts.exchange import import_lines
from contacts.formats.catalogue import FORMATS
from contacts.formats.record import Record
from contacts.listing import entries
from contacts.store import SuppressionStore
from contacts.suppression import Reason, Scope
from tests.contacts.material import NOW, Clock, rules

LIST = [
    Record(
        1, "bounce@x.test", Reason.HARD_BOUNCE, created=NOW - 5, code=550, enhanced="5.1.1", diagnostic='=no "such", user', origin="smtp"
    ),
    Record(2, "complaint@x.test", Reason.COMPLAINT, created=NOW - 4, origin="feedback", campaign="spring"),
    Record(3, "left@x.test", Reason.UNSUBSCRIBE, created=NOW - 3, origin="one-click"),
    Record(4, "never@x.test", Reason.INVALID, created=NOW - 2, diagnostic="no such domain", origin="smtp"),
    Record(5, "asked@x.test", Reason.MANUAL, created=NOW - 1, origin="operator"),
    Record(6, "bounce@x.test", Reason.UNSUBSCRIBE, Scope.ACCOUNT, "shop", created=NOW - 6, origin="one-click"),
    Record(7, "soft@x.test", Reason.SOFT_BOUNCE_LIMIT, created=NOW - 7, expires=NOW + 1000, origin="smtp"),
    Record(8, "quoted name@x.test".replace(" ", "+"), Reason.UNSUBSCRIBE, Scope.LIST, list="weekly", created=NOW - 8, origin="one-click"),
]

WHOLE = {"reason", "scope", "account", "list", "created", "expires", "code", "enhanced", "diagnostic", "campaign", "origin"}
CARRIES: dict[str, tuple[set[str], set[str]]] = {
    "csv": ({entry.address for entry in LIST}, WHOLE),
    "ndjson": ({entry.address for entry in LIST}, WHOLE),
    "ses": ({"bounce@x.test", "complaint@x.test", "never@x.test"}, {"scope"}),
    "mailgun-bounces": ({"bounce@x.test", "never@x.test"}, {"scope", "diagnostic"}),
    "mailgun-complaints": ({"complaint@x.test"}, {"reason", "scope", "created"}),
    "mailgun-unsubscribes": ({"left@x.test", "quoted+name@x.test"}, {"reason", "scope", "list", "created"}),
    "postmark": ({"bounce@x.test", "complaint@x.test", "never@x.test", "left@x.test", "asked@x.test"}, {"scope", "created"}),
    "sendgrid-bounces": ({"bounce@x.test"}, {"reason", "scope", "created", "enhanced", "diagnostic"}),
    "sendgrid-spam-reports": ({"complaint@x.test"}, {"reason", "scope", "created"}),
    "sendgrid-unsubscribes": ({"left@x.test"}, {"reason", "scope", "created"}),
    "sendgrid-invalid": ({"never@x.test"}, {"reason", "scope", "created", "diagnostic"}),
}
"""Whom it carries, and what of them."""


def opened(folder) -> SuppressionStore:
    return SuppressionStore(folder, rules(), Clock())


@pytest.mark.parametrize("name", CARRIES)
def test_a_list_comes_back_as_the_format_can_carry_it(tmp_path, name):
    store, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    import_lines(store, LIST, "b1", NOW)
    file = io.BytesIO()
    written = command.export(store, FORMATS[name], file, NOW)
    people, fields = CARRIES[name]
    file.seek(0)
    done = command.import_file(other, file, FORMATS[name], "b2", NOW, io.StringIO())
    assert (done.refused, done.added) == (0, written.entries)
    assert written.entries + written.left_out == len(LIST)
    back = list(entries(other, NOW))
    assert {entry.address for entry in back} == people
    before = {(entry.address, *[getattr(entry, field) for field in sorted(fields)]) for entry in entries(store, NOW)}
    assert {(entry.address, *[getattr(entry, field) for field in sorted(fields)]) for entry in back} <= before
    store.close()
    other.close()


def test_hashes_find_the_same_people(tmp_path):
    store, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    import_lines(store, LIST, "b1", NOW)
    file = io.BytesIO()
    command.export(store, FORMATS["sha256"], file, NOW)
    file.seek(0)
    assert command.import_file(other, file, FORMATS["sha256"], "b2", NOW, io.StringIO()).added == 5
    assert [entry.reason for entry in other.entries_of("complaint@x.test")] == [Reason.IMPORTED]
    assert not other.entries_of("soft@x.test")
    store.close()
    other.close()


def test_every_format_is_tried():
    both = {name for name, shape in FORMATS.items() if shape.read is not None and shape.write is not None}
    assert both == CARRIES.keys() | {"sha256"}
