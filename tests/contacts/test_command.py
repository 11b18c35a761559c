"""The verbs over a store: add, remove, why, list, export, import; and what they refuse."""

import hashlib
import io

import pytest

from contacts.command import Refused, addition, export, export_to, format_named, import_file, listed, removals, why
from contacts.consequence import hard_bounce_addition
from contacts.store import SuppressionStore
from mail.event import seal
from tests.contacts.material import NOW, Clock, address, bounced, rules

JANE = address("jane@example.org")


@pytest.fixture
def store(tmp_path):
    made = SuppressionStore(tmp_path / "var", rules(), Clock())
    yield made
    made.close()


def test_an_address_added_by_hand_is_suppressed_and_removed_again(store):
    store.apply(addition("Jane@Example.org", "manual", "account:shop", "n1", NOW, note="asked by phone"))
    assert store.reason("shop", "news", JANE) == "manual"
    assert store.reason("crm", "news", JANE) is None
    [event] = removals(store, "JANE@example.org", NOW + 1)
    store.apply(event)
    assert store.reason("shop", "news", JANE) is None
    assert removals(store, "jane@example.org", NOW + 2) == []


def test_why_answers_with_the_evidence_and_the_message(store):
    cause = hard_bounce_addition(bounced(), NOW)
    assert cause is not None
    store.catch_up([(1, seal(cause))])
    [answer] = why(store, "jane@example.org", NOW)
    assert answer["reason"] == "hard_bounce"
    assert answer["diagnostic"] == "550 5.1.1 no such user"
    assert (answer["evidence"], answer["message_id"], answer["campaign_id"]) == ("aaaaaaaaaaaaa.1", "<1@shop.example>", "spring")
    assert answer["live"] is True
    assert why(store, "nobody@example.org", NOW) == []
    [by_hash] = why(store, "sha256:" + hashlib.sha256(b"jane@example.org").hexdigest(), NOW)
    assert by_hash == answer


def test_removal_can_be_narrowed(store):
    store.apply(addition("jane@example.org", "unsubscribe", "list:shop/weekly", "n1", NOW))
    store.apply(addition("jane@example.org", "unsubscribe", "list:shop/daily", "n2", NOW))
    store.apply(addition("jane@example.org", "complaint", "global", "n3", NOW))
    assert [event.entry for event in removals(store, "jane@example.org", NOW, scope="list:shop/daily")] == ["n2"]
    assert [event.entry for event in removals(store, "jane@example.org", NOW, reason="complaint")] == ["n3"]
    assert len(removals(store, "jane@example.org", NOW)) == 3


@pytest.mark.parametrize(
    "change",
    [{"address": "nobody"}, {"reason": "because"}, {"scope": "planet"}, {"scope": "list:"}, {"expires": "soon"}, {"expires": "2020-01-01"}],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(change):
    asked = {"address": "a@example.org", "reason": "manual", "scope": "global", "identity": "n", "now": NOW} | change
    with pytest.raises(Refused):
        addition(**asked)


def test_a_file_goes_in_and_comes_out(store, tmp_path):
    report = io.StringIO()
    data = b"recipient1@example.com,BOUNCE\nnot an address,BOUNCE\nrecipient2@example.com,COMPLAINT\n"
    shape = format_named("ses")
    assert not import_file(store, io.BytesIO(data), shape, "b1", NOW, report).done
    assert report.getvalue() == "line 2: no address\n"
    assert listed(store, NOW) == []
    assert import_file(store, io.BytesIO(data), shape, "b1", NOW, report, skip_bad=True).added == 2
    assert {entry["email"] for entry in listed(store, NOW)} == {"recipient1@example.com", "recipient2@example.com"}
    assert [entry["email"] for entry in listed(store, NOW, reason="complaint")] == ["recipient2@example.com"]
    out = tmp_path / "out.csv"
    assert export_to(store, format_named("csv"), out, NOW).entries == 2
    assert out.stat().st_mode & 0o077 == 0
    assert out.read_text().count("\n") == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_scope_and_reason_can_be_given_for_files_that_cannot_say_them(store):
    data = hashlib.sha256(b"jane@example.org").hexdigest().encode()
    done = import_file(
        store, io.BytesIO(data), format_named("sha256"), "b1", NOW, io.StringIO(), scope="stream:/news", reason="unsubscribe"
    )
    assert done.added == 1
    assert store.reason("shop", "news", JANE) == "unsubscribe"
    assert store.reason("shop", "receipts", JANE) is None


def test_formats_that_cannot_are_refused(store):
    with pytest.raises(Refused, match="mailgun-bounces"):
        export(store, format_named("mailgun"), io.BytesIO(), NOW)
    with pytest.raises(Refused, match="one of"):
        format_named("excel")
    with pytest.raises(Refused, match="since"):
        export(store, format_named("csv"), io.BytesIO(), NOW, since="last week")
    with pytest.raises(Refused, match="reason"):
        import_file(store, io.BytesIO(), format_named("csv"), "b", NOW, io.StringIO(), reason="x")
