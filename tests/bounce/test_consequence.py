"""What follows: only a recipient's fault suppresses, only with proof, only when it is final; soft faults add up over days."""

import msgspec
import pytest

from bounce.consequence import DAY, DEFAULT, Consequence, Decision, History, Policy, Row, count, forget, of_outcome, of_report, policy_of
from bounce.report import Action, Kind, Recipient, Report
from mail.outcome import Category, Deferred, Delivered, Failed, Fault, Unsure, Verdict
from mail.reply import Reply

NOW = 1_780_000_000.0


def report(kind: Kind = Kind.BOUNCE, **facts: object) -> Report:
    entry = Recipient(
        "a@firm.example", category=Category.BAD_MAILBOX, fault=Fault.RECIPIENT, hard=True, diagnostic="550 no", rule="no-mailbox"
    )
    return Report(kind, (msgspec.structs.replace(entry, **facts),))


def only(policy: Policy, returned: Report, proven: bool = True) -> Decision:
    (decision,) = of_report(policy, returned, NOW, proven=proven)
    return decision


def test_a_dead_address_is_suppressed_at_once_with_its_evidence() -> None:
    decision = only(DEFAULT, report())
    assert (decision.consequence, decision.expires_at) == (Consequence.SUPPRESS, 0.0)
    assert (decision.evidence.text, decision.evidence.rule, decision.evidence.at, decision.evidence.source) == (
        "550 no",
        "no-mailbox",
        NOW,
        "report",
    )


def test_without_a_proven_token_nobody_is_suppressed() -> None:
    assert only(DEFAULT, report(), proven=False).consequence is Consequence.NOTHING


def test_a_delay_changes_nothing() -> None:
    assert only(DEFAULT, report(Kind.DELAY, action=Action.DELAYED)).consequence is Consequence.NOTHING
    assert only(DEFAULT, report(Kind.BOUNCE, action=Action.DELAYED)).consequence is Consequence.NOTHING


@pytest.mark.parametrize("fault", [Fault.SENDER_IP, Fault.SENDER_DOMAIN, Fault.CONTENT, Fault.CONFIG])
def test_our_own_faults_raise_an_alarm(fault: Fault) -> None:
    assert only(DEFAULT, report(fault=fault, hard=False)).consequence is Consequence.ALARM


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.RECIPIENT])
def test_no_configured_table_can_suppress_for_somebody_elses_fault(fault: Fault) -> None:
    reckless = Policy(rows=(Row("everything", Consequence.SUPPRESS),))
    assert only(reckless, report(fault=fault)).consequence is not Consequence.SUPPRESS


def test_the_alias_that_was_written_to_is_the_one_suppressed() -> None:
    assert only(DEFAULT, report(original_address="alias@firm.example")).address == "alias@firm.example"


def verdict(category: Category, fault: Fault, code: int) -> Verdict:
    return Verdict(Reply(code, "told so", f"{str(code)[0]}.1.1"), category, fault, "rule")


def test_a_refusal_is_judged_as_a_report_is() -> None:
    dead = of_outcome(DEFAULT, "a@firm.example", Failed(verdict(Category.BAD_MAILBOX, Fault.RECIPIENT, 550)), NOW)
    assert dead is not None
    assert (dead.consequence, dead.evidence.source, dead.evidence.text) == (Consequence.SUPPRESS, "reply", "550 5.1.1 told so")
    blocked = of_outcome(DEFAULT, "a@firm.example", Failed(verdict(Category.IP_REPUTATION, Fault.SENDER_IP, 550)), NOW)
    assert blocked is not None
    assert blocked.consequence is Consequence.ALARM


def test_an_unknown_user_told_transiently_until_the_end_counts_softly() -> None:
    outcome = Deferred(verdict(Category.BAD_MAILBOX, Fault.RECIPIENT, 450))
    assert of_outcome(DEFAULT, "a@firm.example", outcome, NOW) is None
    ended = of_outcome(DEFAULT, "a@firm.example", outcome, NOW, final=True)
    assert ended is not None
    assert ended.consequence is Consequence.COUNT


def test_a_delivery_and_a_doubt_have_no_consequence() -> None:
    assert of_outcome(DEFAULT, "a@firm.example", Delivered(Reply(250, "ok")), NOW) is None
    assert of_outcome(DEFAULT, "a@firm.example", Unsure(verdict(Category.NETWORK, Fault.NETWORK, 451)), NOW) is None


def soft() -> Decision:
    return only(DEFAULT, report(category=Category.MAILBOX_FULL, hard=False))


def test_soft_faults_add_up_over_days_and_then_suppress_for_a_while() -> None:
    history, decision = History(), soft()
    for day in range(DEFAULT.soft_threshold):
        at = NOW + day * DAY
        history, decision = count(DEFAULT, history, soft(), at)
        assert (decision.consequence is Consequence.SUPPRESS) == (day == DEFAULT.soft_threshold - 1)
    assert decision.expires_at == NOW + (DEFAULT.soft_threshold - 1) * DAY + DEFAULT.soft_expiry
    assert history == History()


def test_many_soft_faults_of_one_day_are_one() -> None:
    history = History()
    for minute in range(100):
        history, decision = count(DEFAULT, history, soft(), NOW + minute * 60)
        assert decision.consequence is Consequence.COUNT
    assert len(history.times) == 1


def test_old_soft_faults_are_forgotten_and_so_are_all_after_a_delivery() -> None:
    history, _ = count(DEFAULT, History(), soft(), NOW)
    later, _ = count(DEFAULT, history, soft(), NOW + DEFAULT.soft_window + DAY)
    assert len(later.times) == 1
    assert forget(later) == History()


def test_a_policy_comes_from_plain_data_and_a_wrong_one_is_refused() -> None:
    policy = policy_of({"rows": [{"name": "all", "consequence": "count", "faults": ["recipient"]}], "soft_threshold": 2})
    assert policy.soft_threshold == 2
    with pytest.raises(ValueError, match="bounce policy"):
        policy_of({"rows": [{"name": "all", "consequence": "shoot"}]})
