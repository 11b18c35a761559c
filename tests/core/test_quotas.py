"""The core counts what it takes responsibility for: exactly, in the transaction of acceptance, and gives back the rest."""

import asyncio
from pathlib import Path
from typing import Any

from config.settings import Settings
from gateway.calls import Committed, Message, Refused, Submission
from gateway.core.acceptance import BUSY
from gateway.traffic.quota import Quota
from mail.address import Address
from tests.core.stage import CONTENT, Stage


def limited(**account: Any) -> Settings:
    return Settings.model_validate({"spool": {"minimum_free": 0}, "account": [{"name": "shop", **account}]})


def submission(stage: Stage, *recipients: str) -> Submission:
    sender = Address("news@shop.test", "shop.test")
    message = Message("shop", "default", sender, "shop.test", stage.clock(), len(CONTENT))
    return Submission(message, [Address(recipient, recipient.rpartition("@")[2]) for recipient in recipients], CONTENT)


def test_a_burst_passes_then_one_for_each_turn_of_the_rate(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path, limited(message_rate="60/min", message_burst=2))
        stage.core.start()
        answers = [await stage.core.accept(submission(stage, "a@one.test")) for _ in range(3)]
        assert [type(answer) for answer in answers] == [Committed, Committed, Refused]
        assert isinstance(answers[2], Refused)
        assert answers[2].reply.code == 451
        stage.ahead += 1.0
        assert isinstance(await stage.core.accept(submission(stage, "a@one.test")), Committed)
        await stage.close()

    asyncio.run(story())


def test_what_is_used_is_on_disk_when_the_message_is_and_counts_at_the_next_start(tmp_path: Path) -> None:
    settings = limited(recipient_rate="1/h", recipient_burst=3)

    async def story() -> None:
        stage = Stage(tmp_path, settings)
        stage.core.start()
        assert isinstance(await stage.core.accept(submission(stage, "a@one.test", "b@one.test")), Committed)
        note = stage.spool.note("quota/shop")  # what a crash at this instant would leave
        await stage.close()
        assert note is not None
        left = Quota(None, 1, 1 / 3600, 3)
        left.restore(note, stage.clock())
        assert left.usage("shop", stage.clock())[0].available == 1
        again = Stage(tmp_path, settings)
        assert [row.available for row, _ in again.core.quotas.usage()] == [1]
        again.core.start()
        await again.close()

    asyncio.run(story())


def test_what_the_core_does_not_take_is_given_back(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path, limited(message_rate="1/h", message_burst=5, recipient_rate="1/h", recipient_burst=5))
        stage.core.start()

        async def refuses(submission: Submission) -> Refused:
            return BUSY

        async def half(submission: Submission) -> Committed:
            return Committed(1, [2])

        async def none(submission: Submission) -> Committed:
            return Committed(1, [])

        quotas = stage.core.quotas
        await quotas.accept(submission(stage, "a@one.test", "b@one.test"), refuses)
        assert [row.available for row, _ in quotas.usage()] == [5, 5]
        await quotas.accept(submission(stage, "a@one.test", "b@one.test"), half)
        assert [row.available for row, _ in quotas.usage()] == [4, 4]
        await quotas.accept(submission(stage, "a@one.test"), none)
        assert [row.available for row, _ in quotas.usage()] == [4, 4]
        await stage.close()

    asyncio.run(story())


def test_a_reload_keeps_what_is_used_and_forgets_accounts_without_a_rate(tmp_path: Path) -> None:
    async def story() -> None:
        stage = Stage(tmp_path, limited(message_rate="1/h", message_burst=5))
        stage.core.start()
        await stage.core.accept(submission(stage, "a@one.test"))
        stage.core.quotas.reconfigure(limited(message_rate="2/h", message_burst=4))
        assert [(row.available, row.burst) for row, _ in stage.core.quotas.usage()] == [(2, 4)]
        assert stage.core.quotas.counts() == {"limited": 1.0, "exhausted": 0.0}
        stage.core.quotas.reconfigure(limited())
        assert "shop" not in stage.core.quotas
        assert stage.core.quotas.shortage("shop", 10**6) is None
        await stage.close()

    asyncio.run(story())
