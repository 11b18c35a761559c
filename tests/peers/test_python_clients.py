"""Python's clients: smtplib of the standard library, and aiosmtplib."""

import asyncio
import smtplib

import aiosmtplib

from tests.peers.letters import SENDER, assert_whole, letter
from tests.peers.stage import Door, Stage


def _recipients(client: str, door: Door) -> list[str]:
    return [f"{name}-{client}-{door.name}@far.test" for name in ("zoe", "rene")]


def _smtplib(door: Door) -> smtplib.SMTP:
    if door.tls == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL("localhost", door.port, context=door.context(), timeout=30)
    else:
        client = smtplib.SMTP("localhost", door.port, timeout=30)
    if door.tls == "starttls":
        client.starttls(context=door.context())
    if door.user:
        client.login(door.user, door.password)
    return client


def test_smtplib(stage: Stage, door: Door) -> None:
    to = _recipients("smtplib", door)
    sent = letter(to, campaign="été")
    with _smtplib(door) as client:
        assert client.sendmail(SENDER, to, sent, ["BODY=8BITMIME"]) == {}
    for recipient in to:
        assert_whole(stage.delivered(recipient), sent, campaign="été")
        assert stage.last(recipient).campaign == "été"
        assert stage.last(recipient).account == (door.user or "default")


def test_aiosmtplib(stage: Stage, door: Door) -> None:
    to = _recipients("aiosmtplib", door)
    sent = letter(to)

    async def send() -> None:
        client = aiosmtplib.SMTP(
            hostname="localhost",
            port=door.port,
            use_tls=door.tls == "implicit",
            start_tls=door.tls == "starttls",
            tls_context=door.context(),
            username=door.user or None,
            password=door.password or None,
        )
        async with client:
            refused, _ = await client.sendmail(SENDER, to, sent, mail_options=["BODY=8BITMIME"])
            assert refused == {}

    asyncio.run(send())
    for recipient in to:
        assert_whole(stage.delivered(recipient), sent)
        assert stage.last(recipient).account == (door.user or "default")
