"""What no rule knows is gathered, turned into a rule, and tried on the past."""

import io
import tomllib
from pathlib import Path

from bounce.classify import reply_of
from bounce.command import classify_text, mine_files
from bounce.mine import Sample, as_toml, clusters, propose, replay, shape_of
from bounce.rules import Rules, shipped
from mail.event import Event, EventKind, seal
from mail.outcome import Category

UNKNOWN = [Sample(reply_of(f"550 Zorgon 17{n} frobnicates your wibble, id={n}abc{n}9 at mx{n}.firm.example")) for n in range(4)]
KNOWN = [Sample(reply_of("550 5.1.1 User unknown")), Sample(reply_of("452 4.2.2 Over quota"))]


def test_texts_that_differ_in_numbers_and_hosts_have_one_shape() -> None:
    assert len({shape_of(sample.reply.text) for sample in UNKNOWN}) == 1


def test_only_unclear_texts_are_gathered() -> None:
    (cluster,) = clusters([*KNOWN, *UNKNOWN])
    assert cluster.size == 4


def test_what_a_rule_knows_is_never_gathered_whatever_that_rule_is_called() -> None:
    assert clusters([Sample(reply_of("550 5.1.1 <someone@firm.example>... User unknown"), count=50)]) == []


def test_a_proposed_rule_claims_the_texts_it_was_made_from() -> None:
    rule = propose(clusters(UNKNOWN)[0], shipped())
    assert rule is not None
    assert tomllib.loads(as_toml(rule))["rule"][0]["name"] == rule.name
    mined = Rules.load(as_toml(rule).replace('category = "other"', 'category = "bad-mailbox"').replace('"unknown"', '"recipient"'))
    changes = replay(mined.rules[0], shipped(), [*KNOWN, *UNKNOWN])
    assert len(changes) == len(UNKNOWN)
    assert all(change.after is Category.BAD_MAILBOX and change.hard_after and not change.hard_before for change in changes)


def test_a_category_is_guessed_from_rules_with_like_words() -> None:
    samples = [Sample(reply_of(f"550 blorp quota storage overflow of yon mailbox exhausted {n}")) for n in range(3)]
    rule = propose(clusters(samples)[0], shipped())
    assert rule is not None
    assert rule.category is Category.MAILBOX_FULL


def test_event_files_and_plain_lines_are_mined(tmp_path: Path) -> None:
    event = Event("1.1", EventKind.BOUNCED, 1.0, "a@firm.example", code=550, diagnostic="the flibbertigibbet declines gracefully 1")
    lines = [seal(event).decode(), seal(event).decode(), "not an event", "{broken", "550 the flibbertigibbet declines gracefully 2"]
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(lines))
    out = io.StringIO()
    assert mine_files([path], out) == 0
    assert "3 refusals" in out.getvalue()
    assert "flibbertigibbet" in out.getvalue()


def test_a_refusal_is_explained() -> None:
    out = io.StringIO()
    assert classify_text("550 5.2.2 <a@firm.example> mailbox full", "", out) == 0
    assert '"category": "mailbox-full"' in out.getvalue()
    assert '"hard": false' in out.getvalue()
