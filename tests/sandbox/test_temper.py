"""Tempers as a state machine: the clock is passed in, and the same recipients always meet the same fate."""

import pytest

from mail.outcome import Category
from sandbox.scenario import MANNERS, Mailboxes, Step
from sandbox.temper import KINDS, Act, Temperament, Visit, wire


def _temperament(*tempers: dict[str, object], voice: str = "plain") -> Temperament:
    return Temperament(Mailboxes.model_validate({"name": "p", "domains": ["p.test"], "voice": voice, "temper": list(tempers)}))


def _visit(recipient: str = "r@p.test", sender: str = "s@x.test", source: str = "127.0.0.1", **more: object) -> Visit:
    return Visit(source, sender, recipient, **more)  # type: ignore[arg-type]


def test_every_kind_has_defaults_that_fit_its_act() -> None:
    for name in KINDS.keys() - MANNERS:
        act = _temperament({"kind": name, "seconds": 5}).act(KINDS[name].step, _visit(connections=1), 0.0)
        assert act is not None, name
        assert act.drops == (name == "drop")


def test_greylisting_lets_the_same_triple_pass_after_its_time_and_not_another() -> None:
    temper = _temperament({"kind": "greylist", "seconds": "60s"})
    first = temper.act(Step.RCPT, _visit(), 100.0)
    assert first == Act("451 4.7.1 <r@p.test>: greylisted, please try again later", Category.GREYLISTED)
    assert temper.act(Step.RCPT, _visit(), 159.9) is not None
    assert temper.act(Step.RCPT, _visit(source="127.0.0.99"), 160.0) is None  # the same /24
    assert temper.act(Step.RCPT, _visit(source="127.0.1.1"), 160.0) is not None
    assert temper.act(Step.RCPT, _visit(sender="t@x.test"), 160.0) is not None
    assert temper.act(Step.RCPT, _visit("q@p.test"), 160.0) is not None


def test_a_rate_passes_so_many_in_the_window_and_a_penalty_keeps_the_door_shut() -> None:
    temper = _temperament({"kind": "rate", "messages": 2, "per": "1s", "penalty": "10s"}, voice="google")
    assert [temper.act(Step.MAIL, _visit(), now) is None for now in (0.0, 0.1, 0.2, 5.0, 10.3)] == [True, True, False, False, True]


def test_a_provider_speaks_in_its_own_words_on_every_line() -> None:
    act = _temperament({"kind": "rate", "messages": 0}, voice="google").act(Step.MAIL, _visit(), 0.0)
    assert act is not None
    lines = act.reply.split("\r\n")
    assert [line[:10] for line in lines] == ["421-4.7.28", "421-4.7.28", "421-4.7.28", "421 4.7.28"]
    yahoo = _temperament({"kind": "rate", "messages": 0}, voice="yahoo").act(Step.MAIL, _visit(), 0.0)
    assert yahoo is not None
    assert "421 4.7.0 [TSS04] Messages from 127.0.0.1" in yahoo.reply


def test_part_of_the_recipients_is_chosen_by_their_address_and_always_the_same() -> None:
    recipients = [f"user{number}@p.test" for number in range(2000)]
    chosen = [
        {r for r in recipients if _temperament({"kind": "unknown-user", "part": 0.05}).act(Step.RCPT, _visit(r), 0.0) is not None}
        for _ in range(2)
    ]
    assert chosen[0] == chosen[1]
    assert 60 <= len(chosen[0]) <= 140


def test_the_first_attempts_only_are_refused_for_each_delivery() -> None:
    temper = _temperament({"kind": "trouble", "times": 2})
    assert [temper.act(Step.RCPT, _visit(), 0.0) is None for _ in range(4)] == [False, False, True, True]
    assert temper.act(Step.RCPT, _visit("other@p.test"), 0.0) is not None


def test_a_temper_can_fire_so_many_times_in_all() -> None:
    temper = _temperament({"kind": "rate", "messages": 1, "per": "60s", "most": 2})
    assert [temper.act(Step.MAIL, _visit(), now) is None for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [True, False, False, True, True]


def test_conditions_on_source_pattern_content_size_and_signature_all_must_hold() -> None:
    temper = _temperament({"kind": "reputation", "sources": ["127.0.0.2/32"]})
    assert temper.act(Step.MAIL, _visit(), 0.0) is None
    assert temper.act(Step.MAIL, _visit(source="127.0.0.2"), 0.0) is not None
    temper = _temperament({"kind": "content", "contains": "casino", "recipients": ["*@p.test"], "senders": ["s@*"]})
    assert temper.act(Step.DOT, _visit(content=b"A: b\r\n\r\ncasino"), 0.0) is not None
    assert temper.act(Step.DOT, _visit(content=b"A: b\r\n\r\nshop"), 0.0) is None
    assert temper.act(Step.DOT, _visit(sender="t@x.test", content=b"casino"), 0.0) is None
    temper = _temperament({"kind": "unauthenticated", "unsigned": True})
    assert temper.act(Step.DOT, _visit(content=b"DKIM-Signature: v=1\r\nA: b\r\n\r\n"), 0.0) is None
    assert temper.act(Step.DOT, _visit(content=b"A: b\r\n\r\nDKIM-Signature: v=1\r\n"), 0.0) is not None
    temper = _temperament({"kind": "too-large", "larger": 10})
    assert temper.act(Step.DOT, _visit(content=b"x" * 10), 0.0) is None
    assert temper.act(Step.DOT, _visit(content=b"x" * 11), 0.0) is not None


def test_the_first_temper_of_a_step_that_fires_decides() -> None:
    temper = _temperament({"kind": "unknown-user", "recipients": ["nobody@*"]}, {"kind": "mailbox-full"})
    unknown, full = temper.act(Step.RCPT, _visit("nobody@p.test"), 0.0), temper.act(Step.RCPT, _visit(), 0.0)
    assert unknown is not None
    assert full is not None
    assert (unknown.category, full.category) == (Category.BAD_MAILBOX, Category.MAILBOX_FULL)


def test_a_reply_of_several_lines_carries_its_code_on_each() -> None:
    assert wire("550 5.1.1 one\n5.1.1 two") == "550-5.1.1 one\r\n550 5.1.1 two"
    assert wire("421 4.7.0 alone") == "421 4.7.0 alone"


def test_a_temper_has_its_time_counted_from_the_first_visitor_and_again_each_period() -> None:
    temper = _temperament({"kind": "trouble", "after": "10s", "until": "20s", "every": "60s"})
    answers = {
        now: temper.act(Step.RCPT, _visit(), now) is not None for now in (1000.0, 1009.0, 1010.0, 1019.9, 1020.0, 1069.0, 1070.0, 1080.0)
    }
    assert [now - 1000.0 for now, fires in answers.items() if fires] == [10.0, pytest.approx(19.9), 70.0]


def test_a_temper_concerns_only_what_its_conditions_say() -> None:
    assert _temperament({"kind": "trouble", "clear": True}).act(Step.RCPT, _visit(tls=True), 0.0) is None
    assert _temperament({"kind": "tls-required"}).act(Step.MAIL, _visit(tls=True), 0.0) is None
    assert _temperament({"kind": "tls-required"}).act(Step.MAIL, _visit(), 0.0) is not None
    assert _temperament({"kind": "trouble", "from_message": 2}).act(Step.RCPT, _visit(message=1), 0.0) is None
    assert _temperament({"kind": "trouble", "from_message": 2}).act(Step.RCPT, _visit(message=3), 0.0) is not None
    assert _temperament({"kind": "trouble", "pipelined": True}).act(Step.RCPT, _visit(), 0.0) is None
    assert _temperament({"kind": "trouble", "pipelined": True}).act(Step.RCPT, _visit(pipelined=True), 0.0) is not None


def test_manners_are_all_that_fire_and_answer_nothing() -> None:
    temper = _temperament(
        {"kind": "slow-replies"}, {"kind": "slow-reading"}, {"kind": "stall", "step": "rcpt", "times": 1}, {"kind": "connections"}
    )
    assert [manner.kind for manner in temper.manners(Step.CONNECT, _visit(), 0.0)] == ["slow-replies", "slow-reading"]
    assert temper.act(Step.CONNECT, _visit(connections=1), 0.0) is not None
    assert [[manner.kind for manner in temper.manners(Step.RCPT, _visit(), 0.0)] for _ in range(2)] == [["stall"], []]
    assert temper.act(Step.RCPT, _visit(), 0.0) is None


def test_dead_and_silent_hosts_are_hosts_of_the_provider() -> None:
    with pytest.raises(ValueError, match="not in mx: mx9"):
        Mailboxes(name="p", domains=["p.test"], mx=["mx1.p.test"], dead=["mx9.p.test"])
