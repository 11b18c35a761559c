"""The door as clients meet it: what it takes, what it refuses, and that a refused message never reaches the core."""

import asyncio
import base64
import shutil
import smtplib
import socket
import subprocess
from pathlib import Path

import aiosmtplib
import pytest

from config.submission import Account, Limits, Listener, ListenerTls
from gateway.calls import Wish
from gateway.doors import session
from mail.address import Address
from mail.reply import Reply
from tests.doors.house import PASSWORD, PASSWORD_HASH, House, Peer, opened, settings_of, trusting, until, write_certificate

MESSAGE = (
    "From: News <news@example.com>\nTo: x@example.net\nSubject: News 27\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nMessage-ID: <1@x>\n\ntext\n"
)

ENVELOPE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


async def send(peer: Peer, message: str | bytes = MESSAGE, sender: str = "a@example.com", *recipients: str, parameters: str = "") -> str:
    """One message; the last reply, or the first refusal."""
    reply = await peer.say(f"MAIL FROM:<{sender}>{parameters}\n")
    if not reply.startswith("250"):
        return reply
    for recipient in recipients or ("b@example.net",):
        reply = await peer.say(f"RCPT TO:<{recipient}>\n")
        if not reply.startswith("250"):
            return reply
    reply = await peer.say("DATA\n")
    if not reply.startswith("354"):
        return reply
    octets = message if isinstance(message, bytes) else message.replace("\n", "\r\n").encode()
    return await peer.say(octets + b".\r\n")


def test_a_message_reaches_the_core_as_it_was_sent_with_all_that_is_known_of_it() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            reply = await send(peer, MESSAGE, "a@example.com", "b@example.net", "C@Example.ORG")
            assert reply == "250 2.0.0 queued as aaaaaaaaaaaab"
            (taken,) = house.core.taken
            message = taken.message
            assert taken.content == MESSAGE.replace("\n", "\r\n").encode()
            assert taken.recipients == [Address("b@example.net", "example.net"), Address("C@Example.ORG", "example.org")]
            assert (message.account, message.stream, message.sender.text) == ("default", "default", "a@example.com")
            assert (message.from_domain, message.message_id, message.added_date) == ("example.com", "<1@x>", False)
            assert (message.received_at, message.size) == (house.now, len(taken.content))
            assert (message.client, message.helo, message.protocol, message.listener) == (
                "127.0.0.1",
                "client.example",
                "ESMTP",
                "submission",
            )
            assert (message.eight_bit, message.smtputf8, message.long_lines, message.added_message_id) == (False,) * 4
            assert house.prefetched == ["example.net", "example.org"]

    asyncio.run(story())


def test_what_a_sender_wants_to_be_told_reaches_the_core_and_nothing_is_kept_for_the_next_message() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            for line in (
                "MAIL FROM:<a@example.com> RET=HDRS ENVID=QQ314159\n",
                "RCPT TO:<b@example.net> NOTIFY=DELAY,SUCCESS ORCPT=rfc822;Bob@example.org\n",
                "RCPT TO:<c@example.net>\n",
                "RCPT TO:<b@example.net> NOTIFY=NEVER\n",
            ):
                assert (await peer.say(line)).startswith("250")
            await peer.say("DATA\n")
            assert (await peer.say(MESSAGE.replace("\n", "\r\n").encode() + b".\r\n")).startswith("250")
            assert (await send(peer)).startswith("250")
            asked, plain = house.core.taken
            assert (asked.message.ret, asked.message.envid) == ("HDRS", "QQ314159")
            assert [recipient.text for recipient in asked.recipients] == ["b@example.net", "c@example.net"]
            assert asked.wishes == [Wish("SUCCESS,DELAY", "rfc822;Bob@example.org"), Wish()]
            assert (plain.message.ret, plain.message.envid, plain.wishes) == ("", "", [])

    asyncio.run(story())


@pytest.mark.parametrize(
    ("field", "relaxed"),
    [
        ("TLS-Required: No\n", True),
        ("tls-required:  nO \n", True),
        ("TLS-Required: Yes\n", False),
        ("X-TLS-Required: No\n", False),
        ("", False),
    ],
)
def test_a_message_can_ask_that_policies_of_its_recipients_be_passed_over(field: str, relaxed: bool) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            for line in ("MAIL FROM:<a@example.com>\n", "RCPT TO:<b@example.net>\n", "DATA\n"):
                await peer.say(line)
            await peer.say((field + MESSAGE).replace("\n", "\r\n").encode() + b".\r\n")
            (taken,) = house.core.taken
            assert (taken.message.tls_relaxed, taken.message.requiretls) == (relaxed, False)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("sender", "author", "answer"),
    [
        ("a@example.com", "news@example.com", "250 2.0.0"),
        ("", "news@example.com", "250 2.0.0"),
        ("a@other.example", "news@example.com", "550 5.7.1"),
        ("a@example.com", "news@other.example", "550 5.7.1"),
        ("", "news@other.example", "550 5.7.1"),
        ("a@sub.example.com", "news@example.com", "550 5.7.1"),
        ("a@example.com", "news@example.com, evil@other.example", "550 5.7.1"),
        ("a@example.com", "evil@other.example\nFrom: news@example.com", "550 5.7.1"),
        ("a@example.com", '"news@example.com" <evil@other.example>', "550 5.7.1"),
        ("a@example.com", "news@example.com <evil@other.example", "550 5.7.1"),
        ("a@example.com", "", "550 5.7.1"),
    ],
)
def test_an_account_sends_only_as_domains_it_owns(sender: str, author: str, answer: str) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            reply = await send(await house.connect(), f"From: {author}\n\ntext\n", sender)
            assert reply.startswith(answer)
            assert len(house.core.taken) == (1 if answer.startswith("250") else 0)

    asyncio.run(story())


def test_an_account_cannot_use_the_domain_of_another_account() -> None:
    accounts = [
        Account(name="default", domains=[]),
        Account(name="shop", domains=["shop.example"], password=PASSWORD_HASH),
        Account(name="bank", domains=["bank.example"], password=PASSWORD_HASH),
    ]

    async def story() -> None:
        async with opened(settings_of(accounts=accounts, domains=("shop.example", "bank.example"))) as house:
            peer = await house.connect()
            login = base64.b64encode(f"\0shop\0{PASSWORD}".encode()).decode()
            assert (await peer.say(f"AUTH PLAIN {login}\n")).startswith("235")
            assert (await send(peer, "From: a@bank.example\n\nx\n", "a@bank.example")).startswith("550 5.7.1")
            assert (await send(peer, "From: a@bank.example\n\nx\n", "a@shop.example")).startswith("550 5.7.1")
            assert house.core.taken == []
            assert (await send(peer, "From: a@shop.example\n\nx\n", "a@shop.example")).startswith("250")
            assert house.core.taken[0].message.account == "shop"
            assert house.core.taken[0].message.protocol == "ESMTPA"

    asyncio.run(story())


def test_nobody_relays_without_an_account() -> None:
    listener = Listener(address="127.0.0.1:0", trusted_networks=["10.0.0.0/8"])

    async def story() -> None:
        async with opened(settings_of(listener, [Account(name="default", password=PASSWORD_HASH)])) as house:
            peer = await house.connect()
            assert (await peer.say("MAIL FROM:<a@example.com>\n")).startswith("530 5.7.0")
            assert (await peer.say("MAIL FROM:<>\n")).startswith("530 5.7.0")
            assert (await peer.say("AUTH PLAIN\n")).startswith("538 5.7.11")
            assert house.core.taken == []

    asyncio.run(story())


def test_an_account_is_known_by_its_network_the_narrowest_first() -> None:
    accounts = [
        Account(name="default"),
        Account(name="wide", networks=["127.0.0.0/8"]),
        Account(name="narrow", networks=["127.0.0.3/32"]),
    ]

    async def story() -> None:
        async with opened(settings_of(accounts=accounts)) as house:
            for address, account in (("127.0.0.2", "wide"), ("127.0.0.3", "narrow")):
                assert (await send(await house.connect(address=address))).startswith("250")
                assert house.core.taken[-1].message.account == account

    asyncio.run(story())


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Received: x\n" * 51 + MESSAGE, "554 5.4.6"),
        ("Received: x\n" * 50 + MESSAGE, "250"),
        ("X-Long: " + "x" * 1000 + "\n" + MESSAGE, "554 5.6.0"),
        ("X: y\n" * 1100 + MESSAGE, "554 5.6.0"),
        (MESSAGE + "x" * 998 + "\n", "250"),
    ],
)
def test_messages_that_are_not_fit_to_send_are_refused(message: str, answer: str) -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            assert (await send(await house.connect(), message)).startswith(answer)

    asyncio.run(story())


def test_mail_from_a_domain_that_must_have_a_key_and_has_none_is_not_taken() -> None:
    async def story() -> None:
        async with opened(settings_of(domains=("example.com", "keyless.example"))) as house:
            house.door.unsignable = lambda domain: domain == "keyless.example"
            peer = await house.connect()
            assert (await send(peer, MESSAGE.replace("news@example.com", "news@keyless.example"))).startswith("550 5.7.1")
            assert (await send(peer)).startswith("250")
            assert [taken.message.from_domain for taken in house.core.taken] == ["example.com"]

    asyncio.run(story())


@pytest.mark.parametrize(("policy", "answer"), [("reencode", "250"), ("refuse", "554 5.6.0")])
def test_long_lines_are_marked_for_reencoding_or_refused(policy: str, answer: str) -> None:
    listener = Listener.model_validate({"address": "127.0.0.1:0", "long_lines": policy})

    async def story() -> None:
        async with opened(settings_of(listener)) as house:
            assert (await send(await house.connect(), MESSAGE + "x" * 999 + "\n")).startswith(answer)
            assert [taken.message.long_lines for taken in house.core.taken] == ([True] if answer == "250" else [])

    asyncio.run(story())


def test_eight_bit_and_smtputf8_are_noted_only_where_needed() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            accented = MESSAGE.replace("text", "é")
            await send(peer, accented, parameters=" BODY=8BITMIME")
            await send(peer, MESSAGE, parameters=" SMTPUTF8")
            await send(peer, MESSAGE.replace("News 27", "é"), parameters=" SMTPUTF8")
            await send(peer, MESSAGE, "a@example.com", "é@example.net", parameters=" SMTPUTF8")
            found = [(taken.message.eight_bit, taken.message.smtputf8, taken.message.protocol) for taken in house.core.taken]
            assert found == [(True, False, "ESMTP"), (False, False, "UTF8SMTP"), (True, True, "UTF8SMTP"), (False, True, "UTF8SMTP")]

    asyncio.run(story())


def test_streams_and_campaigns_come_from_labels() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            await send(peer, "X-Stream: news\nX-Campaign: week 27\n" + MESSAGE)
            await send(peer, "X-Stream: receipts\nX-Campaign: week 27\n" + MESSAGE)
            await send(peer, "X-Stream: nonsense\n" + MESSAGE)
            found = [(taken.message.stream, taken.message.campaign) for taken in house.core.taken]
            assert found == [("news", "week 27"), ("receipts", ""), ("default", "news # | news@example.com | 2025-06-15")]
            assert house.notebook.of("unknown stream") == [("default", "nonsense", "default")]

    asyncio.run(story())


def test_who_is_named_twice_gets_one_message() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            named = ["b@example.net", "b@EXAMPLE.net", "B@example.net", "c@example.net", "b@example.net"]
            assert (await send(peer, "From: a@example.com\n\nx\n", "a@example.com", *named)).startswith("250")
            assert [address.text for address in house.core.taken[0].recipients] == ["b@example.net", "B@example.net", "c@example.net"]

    asyncio.run(story())


def test_limits_of_the_account_hold_beside_those_of_the_listener() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", recipients=1, message_size=2000)])) as house:
            peer = await house.connect()
            assert (await peer.say("MAIL FROM:<a@example.com> SIZE=2001\n")).startswith("552 5.3.4")
            assert (await send(peer, MESSAGE, "a@example.com", "b@example.net", "c@example.net")).startswith("452 4.5.3")
            assert (await peer.say("RSET\n")).startswith("250")
            assert (await send(peer, MESSAGE + "x\n" * 1000)).startswith("552 5.3.4")
            assert (await send(peer)).startswith("250")

    asyncio.run(story())


def test_limits_are_announced_and_those_of_the_account_after_its_login(tmp_path: Path) -> None:
    """RFC 9422: what EHLO says is what holds for who asks."""
    certificate, key = write_certificate(tmp_path, "localhost")
    limits = Limits(messages_per_connection=2, recipients=5)
    listener = Listener(
        address="127.0.0.1:0", tls=ListenerTls.IMPLICIT, certificate=certificate, key=key, trusted_networks=[], limits=limits
    )

    async def story() -> None:
        async with opened(settings_of(listener, [Account(name="default", password=PASSWORD_HASH, recipients=3)])) as house:
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=house.port, use_tls=True, tls_context=trusting())
            async with client:
                await client.ehlo()
                assert client.esmtp_extensions["limits"] == "MAILMAX=2 RCPTMAX=5"
                await client.login("default", PASSWORD)
                await client.ehlo()
                assert client.esmtp_extensions["limits"] == "MAILMAX=2 RCPTMAX=3"
                for _ in range(2):
                    await client.sendmail("a@example.com", [f"{name}@example.net" for name in "abc"], MESSAGE)
                with pytest.raises(aiosmtplib.SMTPSenderRefused, match="too many messages"):
                    await client.sendmail("a@example.com", ["a@example.net"], MESSAGE)

    asyncio.run(story())


def test_what_the_core_says_is_what_the_client_hears() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            house.core.refusal = Reply(452, "disk full", "4.3.1")
            assert await send(peer) == "452 4.3.1 disk full"
            house.core.error = ValueError("secret detail")
            assert await send(peer) == "451 4.3.0 local trouble; try again"
            assert house.notebook.of("trouble") == [("submission Content", "ValueError")]
            house.core.error = house.core.refusal = None
            assert (await send(peer)).startswith("250")

    asyncio.run(story())


def test_pipelined_messages_are_answered_in_order_after_each_commit() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            peer.send((ENVELOPE + MESSAGE.replace("\n", "\r\n").encode() + b".\r\n") * 30 + b"QUIT\r\n")
            replies = [await peer.reply() for _ in range(30 * 4 + 1)]
            assert [reply[:3] for reply in replies] == ["250", "250", "354", "250"] * 30 + ["221"]
            assert len(house.core.taken) == 30
            assert await peer.ended()

    asyncio.run(story())


def test_failed_logins_wait_and_end_the_connection() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", password=PASSWORD_HASH)])) as house:
            peer = await house.connect()
            replies = []
            for name, password in (
                ("default", "wrong"),
                ("nobody", PASSWORD),
                ("default", ""),
                ("default", "x"),
                ("nobody", "x"),
                ("a", "b"),
            ):
                login = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
                replies.append(await peer.say(f"AUTH PLAIN {login}\n"))
            assert [reply[:9] for reply in replies] == ["535 5.7.8", "535 5.7.8", "501 5.5.2", "535 5.7.8", "535 5.7.8", "421 4.7.0"]
            assert await peer.ended()
            assert house.paused == [0.5, 1.0, 2.0, 4.0, 8.0]
            assert not any(PASSWORD in str(fact) for fact in house.notebook.facts)

    asyncio.run(story())


def test_nobody_acts_as_another_account() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", password=PASSWORD_HASH), Account(name="other")])) as house:
            peer = await house.connect()
            login = base64.b64encode(f"other\0default\0{PASSWORD}".encode()).decode()
            assert (await peer.say(f"AUTH PLAIN {login}\n")).startswith("535 5.7.8")
            login = base64.b64encode(f"default\0default\0{PASSWORD}".encode()).decode()
            assert (await peer.say(f"AUTH PLAIN {login}\n")).startswith("235 2.7.0")

    asyncio.run(story())


def test_tls_forgets_who_logged_in_before_it(tmp_path: Path) -> None:
    listener = tls_settings(tmp_path, ListenerTls.STARTTLS).model_copy(update={"trusted_networks": ["127.0.0.0/8"]})
    accounts = [Account(name="default"), Account(name="shop", password=PASSWORD_HASH)]

    def send_twice(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.login("shop", PASSWORD)
            client.sendmail("a@example.com", ["b@example.net"], MESSAGE)
            client.starttls(context=trusting())
            client.sendmail("a@example.com", ["b@example.net"], MESSAGE)

    async def story() -> None:
        async with opened(settings_of(listener, accounts)) as house:
            await asyncio.to_thread(send_twice, house.port)
            found = [(taken.message.account, taken.message.protocol) for taken in house.core.taken]
            assert found == [("shop", "ESMTPA"), ("default", "ESMTPS")]
            await until(lambda: not house.door.connections)

    asyncio.run(story())


def test_what_is_refused_is_told_once_a_message_and_with_its_reason() -> None:
    async def story() -> None:
        async with opened(settings_of(accounts=[Account(name="default", recipients=1)])) as house:
            peer = await house.connect()
            peer.send("XYZZY\nMAIL FROM:<a@other.example>\nMAIL FROM:<a@example.com>\nRCPT TO:<b@example.net>\n")
            peer.send("RCPT TO:<c@example.net>\n" * 50 + "DATA\nFrom: a@example.com\n\n" + "x\n.\n")
            replies = [(await peer.reply())[:3] for _ in range(56)]
            assert replies == ["500", "550", "250", "250", *["452"] * 50, "354", "250"]
            assert house.notebook.of("refused") == [
                ("default", "MAIL", "sender", 550),
                ("default", "RCPT", "recipients", 452),
                ("default", "", "protocol", 500),
            ]
            peer.send(ENVELOPE + b"x\ny\r\n.\r\n")
            while (await peer.reply())[:3] != "550":
                pass
            assert house.notebook.of("refused")[-1] == ("default", "", "bare-newline", 550)

    asyncio.run(story())


def test_a_visitor_that_breaks_is_answered_451(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(session, "facts", broken)

    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            assert (await send(peer)).startswith("451 4.3.0")
            assert house.notebook.of("trouble") == [("submission Content", "ZeroDivisionError")]
            assert (await peer.say("NOOP\n")).startswith("250")

    asyncio.run(story())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_a_listener_may_be_ipv6() -> None:
    def try_bind() -> None:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))

    try:
        try_bind()
    except OSError:
        pytest.skip("no ::1 here")

    async def story() -> None:
        async with opened(settings_of(Listener(address="[::1]:0"))) as house:
            reader, writer = await asyncio.open_connection("::1", house.port)
            peer = Peer(reader, writer)
            assert (await peer.reply()).startswith("220")
            assert (await peer.say("EHLO x\n")).startswith("250")
            assert (await send(peer)).startswith("250")
            assert house.core.taken[0].message.client == "::1"

    asyncio.run(story())


def test_reconfiguring_changes_accounts_for_open_connections_too() -> None:
    async def story() -> None:
        settings = settings_of()
        async with opened(settings) as house:
            peer = await house.connect()
            assert (await send(peer)).startswith("250")
            house.door.reconfigure(settings.model_copy(update={"domain": []}))
            assert (await send(peer)).startswith("550 5.7.1")
            house.door.reconfigure(settings.model_copy(update={"account": [Account(name="someone")]}))
            assert (await send(peer)).startswith("530 5.7.0")

    asyncio.run(story())


def test_reconfiguring_opens_and_closes_listeners() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            old = house.port
            peer = await house.connect()
            house.door.reconfigure(settings_of(Listener(name="second", address="127.0.0.1:0")))
            await house.door.opened()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", old)
            assert await peer.reply() == "421 4.3.2 shutting down"
            assert list(house.door.addresses) == ["second"]

    asyncio.run(story())


# Clients that we did not write ---------------------------------------------------------------------------------------------------


def tls_settings(folder: Path, tls: ListenerTls) -> Listener:
    certificate, key = write_certificate(folder, "localhost")
    return Listener(address="127.0.0.1:0", tls=tls, certificate=certificate, key=key, trusted_networks=[])


def with_smtplib(port: int, tls: ListenerTls) -> None:
    if tls is ListenerTls.IMPLICIT:
        client: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, context=trusting(), timeout=10)
    else:
        client = smtplib.SMTP("127.0.0.1", port, timeout=10)
    with client:
        if tls is ListenerTls.STARTTLS:
            client.starttls(context=trusting())
        if tls is not ListenerTls.NONE:
            client.login("default", PASSWORD)
        refused = client.sendmail("a@example.com", ["b@example.net", "c@[192.0.2.1]"], MESSAGE.replace("\n", "\r\n") + "..dots\r\n")
        assert refused.keys() == {"c@[192.0.2.1]"}
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail("a@other.example", ["b@example.net"], MESSAGE)


@pytest.mark.parametrize("tls", list(ListenerTls))
def test_smtplib_sends(tls: ListenerTls, tmp_path: Path) -> None:
    async def story() -> None:
        listener = Listener(address="127.0.0.1:0") if tls is ListenerTls.NONE else tls_settings(tmp_path, tls)
        async with opened(settings_of(listener, [Account(name="default", password=PASSWORD_HASH)])) as house:
            await asyncio.to_thread(with_smtplib, house.port, tls)
            (taken,) = house.core.taken
            assert taken.content.endswith(b"text\r\n..dots\r\n")
            assert taken.message.protocol == ("ESMTP" if tls is ListenerTls.NONE else "ESMTPSA")

    asyncio.run(story())


@pytest.mark.parametrize("tls", list(ListenerTls))
def test_aiosmtplib_sends(tls: ListenerTls, tmp_path: Path) -> None:
    async def story() -> None:
        listener = Listener(address="127.0.0.1:0") if tls is ListenerTls.NONE else tls_settings(tmp_path, tls)
        async with opened(settings_of(listener, [Account(name="default", password=PASSWORD_HASH)])) as house:
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1",
                port=house.port,
                use_tls=tls is ListenerTls.IMPLICIT,
                start_tls=tls is ListenerTls.STARTTLS,
                tls_context=None if tls is ListenerTls.NONE else trusting(),
                username=None if tls is ListenerTls.NONE else "default",
                password=None if tls is ListenerTls.NONE else PASSWORD,
            )
            async with client:
                for _ in range(3):
                    await client.sendmail("a@example.com", ["b@example.net", "c@example.net"], MESSAGE)
            assert len(house.core.taken) == 3

    asyncio.run(story())


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
def test_swaks_sends_by_starttls_and_login(tmp_path: Path) -> None:
    def command(house: House) -> list[str]:
        target = ["--server", "127.0.0.1", "--port", str(house.port), "--helo", "client.example"]
        who = ["--from", "a@example.com", "--to", "b@example.net", "--auth", "LOGIN", "--auth-user", "default", "--auth-password", PASSWORD]
        return ["swaks", *target, *who, "--tls", "--pipeline", "--timeout", "10"]

    async def story() -> None:
        async with opened(
            settings_of(tls_settings(tmp_path, ListenerTls.STARTTLS), [Account(name="default", password=PASSWORD_HASH)])
        ) as house:
            ran = await asyncio.to_thread(subprocess.run, command(house), capture_output=True, text=True, timeout=30)
            if "unavailable" in ran.stdout + ran.stderr or "requires" in ran.stderr:
                pytest.skip("swaks lacks a Perl module")
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert house.core.taken[0].message.protocol == "ESMTPSA"

    asyncio.run(story())
