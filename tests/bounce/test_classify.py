"""Every shipped rule claims its own examples, and the classic mistakes are not made."""

import pytest

from bounce.classify import classify, reply_of
from bounce.phrases import normalise
from bounce.rules import MAX_TEXT, Rules, shipped
from mail.outcome import Category, Fault, Phase
from mail.reply import Reply


def test_every_shipped_rule_claims_its_own_examples() -> None:
    for rule in shipped().rules:
        for example in rule.examples:
            provider = rule.providers[0] if rule.providers else ""
            assert classify(reply_of(example), provider).rule == rule.name, example


def test_every_shipped_rule_has_an_example() -> None:
    assert [rule.name for rule in shipped().rules if not rule.examples] == []


def test_a_provider_s_rules_leave_other_providers_and_our_own_replies_alone() -> None:
    reply = Reply(421, "Try again later", "4.7.0")
    assert classify(reply, "google").category is Category.RATE_LIMITED
    assert classify(reply, "orange").category is Category.RECEIVER_TROUBLE
    assert classify(Reply(421, "Try again later", "4.7.0", synthetic=True), "google").category is Category.RECEIVER_TROUBLE


@pytest.mark.parametrize(
    "line",
    [
        "550 5.1.1 <someone@example.org>: Recipient address rejected: blocked using zen.spamhaus.org",
        "550 5.1.1 Your IP address has been blocked",
        "550 User unknown is not what we say: 192.0.2.1 is listed by Spamhaus",
    ],
)
def test_an_address_block_is_never_a_dead_mailbox(line: str) -> None:
    assert classify(reply_of(line)).fault is Fault.SENDER_IP


def test_numbers_of_an_address_are_no_provider_s_codes() -> None:
    for number in (102, 103, 104, 105, 108, 109):
        found = classify(reply_of(f"550 5.1.1 User unknown, says [{number}.{number}.7.7]"))
        assert found.category is Category.BAD_MAILBOX, number


def test_your_address_is_an_ip_address_or_a_sender() -> None:
    assert classify(reply_of("550 5.7.1 Mail from your address 192.0.2.1 is refused")).fault is Fault.SENDER_IP
    assert classify(reply_of("550 5.7.1 Mail from your address <news@sender.example> is refused")).fault is Fault.SENDER_DOMAIN


def test_a_local_part_may_say_anything() -> None:
    assert classify(reply_of("550 5.7.1 <mailbox.full@example.org>: relay access denied")).category is Category.RELAYING
    assert classify(reply_of("250 <user.unknown@example.org> fine")).category is Category.OTHER


def test_an_unknown_user_named_after_the_data_is_no_proof() -> None:
    reply = Reply(550, "User unknown", "")
    assert classify(reply, phase=Phase.RCPT).category is Category.BAD_MAILBOX
    assert classify(Reply(550, "User unknown", "5.2.0"), phase=Phase.DOT).category is Category.POLICY


def test_greylisting_is_only_transient() -> None:
    assert classify(Reply(450, "Greylisted, try again", "4.7.1")).category is Category.GREYLISTED
    assert classify(Reply(550, "Greylisted, try again", "5.7.1")).category is not Category.GREYLISTED


def test_what_nothing_knows_is_other() -> None:
    found = classify(Reply(299, "xyzzy"))
    assert (found.category, found.fault, found.rule) == (Category.OTHER, Fault.UNKNOWN, "unknown")


def test_accents_case_and_punctuation_do_not_matter() -> None:
    assert normalise("Boîte  PLEINE!") == " boite pleine "
    assert normalise("Skrzynka pełna, groß, øde, alıcı") == " skrzynka pelna gross ode alici "


def test_a_reply_of_a_megabyte_is_cut() -> None:
    assert classify(Reply(550, "x" * 1_000_000 + " user unknown")).rule == classify(Reply(550, "x" * MAX_TEXT)).rule


def test_rules_that_contradict_themselves_are_refused_by_name() -> None:
    twice = '[[rule]]\nname = "a"\ncategory = "other"\nfault = "unknown"\n' * 2
    with pytest.raises(ValueError, match="named a"):
        Rules.load(twice)
    with pytest.raises(ValueError, match="classification rules"):
        Rules.load('[[rule]]\nname = "a"\ncategory = "nonsense"\nfault = "unknown"\n')
