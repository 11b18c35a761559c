"""A campaign that is badly wrong at a provider rests there; everything else goes on."""

from pathlib import Path

import pytest

from gateway.core import sweeps
from gateway.delivery.route import Host, Route
from mail.outcome import Category, Failed, Fault, Verdict
from mail.reply import Reply
from tests.core.stage import OK, Stage, play, running

SPAM = Failed(Verdict(Reply(554, "spam", "5.7.1"), Category.CONTENT, Fault.CONTENT))


def refuse_spring(stage: Stage, domains: int) -> None:
    """All domains are one provider's, which refuses the campaign `spring`."""
    for number in range(domains):
        stage.routes.told[f"d{number}.test"] = Route("mx.big.test", "big", (Host("mx.big.test", ("192.0.2.1",)),))


@pytest.mark.parametrize(("campaign", "holds"), [("spring", 1), ("", 0)])
def test_twenty_refusals_for_content_hold_the_campaign_at_that_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, campaign: str, holds: int
) -> None:
    monkeypatch.setattr(sweeps, "EVERY", 0.02)

    async def scene() -> None:
        async with running(tmp_path) as stage:
            refuse_spring(stage, 2)
            stage.outcome = lambda delivery: SPAM
            bad = await stage.send(*(f"r{number}@d0.test" for number in range(20)), campaign=campaign)
            await stage.until(lambda: all(stage.ended(delivery) for delivery in bad))
            assert len(stage.core.holds) == holds
            stage.outcome = lambda delivery: OK
            (more,) = await stage.send("more@d1.test", campaign=campaign)
            (elsewhere, other) = await stage.send("x@small.test", campaign=campaign) + await stage.send("y@d1.test", campaign="winter")
            await stage.until(lambda: stage.ended(elsewhere) and stage.ended(other))
            if holds:
                assert more not in stage.tried
                stage.ahead = 2000.0
            await stage.until(lambda: stage.ended(more))
            assert stage.core.holds == {}

    play(scene)
