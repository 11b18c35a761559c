"""What makes a relay bench no result, and that its message is what it says."""

from bench.relay.check import Soundness
from bench.relay.load import message
from bench.relay.report import faults, summary
from bench.relay.side import Round

SOUND = {"mailwright": Soundness(200, 200, 0.2), "postfix_opendkim": Soundness(200, 200, 1.0)}


def _rounds(*rates: float, seconds: float = 10.0, cpu: float = 1.0) -> list[Round]:
    return [Round(1000, seconds, rate, rate, cpu, cpu / 2, cpu / 2, 100.0, 90.0) for rate in rates]


def test_steady_sound_rounds_are_a_result_with_ratios_round_by_round() -> None:
    rounds = {"mailwright": _rounds(1200, 1400, 1300), "postfix_opendkim": _rounds(300, 340, 320, cpu=5.0)}
    assert faults(10_000, rounds, SOUND) == []
    figures = summary(10_000, rounds, SOUND)
    assert figures["valid"] is True
    assert figures["mailwright"]["delivered_per_s"] == 1300
    assert (figures["ratio_delivered"], figures["ratio_cpu"]) == (4.062, 5.0)


def test_each_rule_makes_a_run_invalid() -> None:
    good = {"mailwright": _rounds(1200, 1300, 1250), "postfix_opendkim": _rounds(300, 310, 320)}
    bad = {
        "lie apart": ({**good, "mailwright": _rounds(900, 1300, 1250)}, SOUND),
        "below 250/s": ({**good, "postfix_opendkim": _rounds(240, 245, 249)}, SOUND),
        "fewer than three": ({**good, "postfix_opendkim": _rounds(300, 310)}, SOUND),
        "about ten": ({**good, "mailwright": _rounds(1200, 1300, 1250, seconds=4)}, SOUND),
        "signatures verify": (good, {**SOUND, "mailwright": Soundness(200, 199, 0.2)}),
        "0.0 syncs": (good, {**SOUND, "postfix_opendkim": Soundness(200, 200, 0.0)}),
    }
    for words, (rounds, sound) in bad.items():
        found = faults(10_000, rounds, sound)
        assert len(found) == 1, words
        assert words in found[0]


def test_the_message_has_the_size_asked_for_and_short_crlf_lines() -> None:
    for size in (10_000, 50_000):
        content = message(size)
        assert len(content) == size
        assert content.count(b"\n") == content.count(b"\r\n")
        assert max(map(len, content.split(b"\r\n"))) < 200
