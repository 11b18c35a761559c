"""What we send is what the RFCs allow: every octet of many conversations is read by a receiver that forgives nothing.

Messages are drawn by hypothesis as the door would accept them, composed by the real composer, and sent by real sessions to peers with any
set of extensions that refuse here and there. What arrives is the message that was given, where it had not to be re-encoded.
"""

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from gateway.calls import Assignment, Message
from gateway.compose.composer import Composer
from gateway.compose.keyring import load_keyring
from gateway.smtp.client import Client, Verb, stuffed
from mail.address import Address, address_of
from mail.message import facts
from tests.compose.material import NOW, SETTINGS, Keys
from tests.delivery.stage import Core, network, route_to, session
from tests.delivery.strict import Strict, Taken

OFFERS = ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000", "DSN"]
REFUSALS = {"MAIL": "451 4.3.0 later", "RCPT": "550 5.1.1 nobody", "DATA": "451 4.3.0 later", "DOT": "554 5.7.1 no", "LATE": "354 go"}
DOMAINS = ["unsigned.example", "ed.example"]

_ids = itertools.count(1)
"""The composer remembers what it made of a message by its id."""

octets = st.integers(min_value=1, max_value=255).filter(lambda octet: octet not in b"\r\n")
words = st.sampled_from(
    [b"", b".", b"..", b".x", b". ", b"text", b"QUIT", b"=", b"=3D", b"\xc3\xa9t\xc3\xa9", b"\xff", b"x" * 998, b"x" * 999, b"." * 1200]
)
lines = st.one_of(words, st.lists(octets, max_size=40).map(bytes))
bodies = st.builds(
    lambda some, tail: b"".join(line + b"\r\n" for line in some) + tail,
    st.lists(lines, max_size=12),
    st.sampled_from([b"", b"", b"tail", b"."]),
)
recipients = st.sampled_from(
    ["user@example.net", "o'neil@example.net", '"a b"@example.net', "user@b\u00fccher.example", "us\u00e9r@example.net"]
)
senders = st.sampled_from(["b+token@unsigned.example", "", "n\u00e9ws@unsigned.example"])
subjects = st.sampled_from(["hello", "\u00e9t\u00e9", "a" * 900, "word " * 300 + "end"])


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Return path, recipient and content."""
    encoding = draw(st.sampled_from(["", "Content-Transfer-Encoding: 8bit\r\n"]))
    header = (
        f"From: News <news@{draw(st.sampled_from(DOMAINS))}>\r\nSubject: {draw(subjects)}\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n{encoding}\r\n"
    )
    return draw(senders), draw(recipients), header.encode() + draw(bodies)


def assignment(number: int, return_path: str, recipient: str, content: bytes) -> Assignment:
    """As the door and the core make it."""
    found = facts(content)
    address = address_of(recipient)
    assert address is not None
    message = Message(
        account="crm",
        stream="default",
        sender=Address("news@unsigned.example", "unsigned.example"),
        from_domain=(found.from_domains or [""])[0],
        received_at=NOW,
        size=len(content),
        id=next(_ids),
        message_id="<1@unsigned.example>",
        eight_bit=found.eight_bit,
        smtputf8=True,
        long_lines=found.long_lines,
        ret="HDRS" if number % 2 else "",
        envid="QQ+2B314159" if number % 3 else "",
    )
    notify, orcpt = ("SUCCESS,DELAY", f"rfc822;user+2B{number}@example.net") if number % 2 else ("", "")
    return Assignment(number, message, address, return_path, 1, content, notify=notify, orcpt=orcpt)


class Receiver(asyncio.Protocol):
    """A strict receiver on a socket."""

    def __init__(self, strict: Strict) -> None:
        self.strict = strict

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.strict.greeting())

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.strict.receive(data))
        if self.strict.ended:
            self._transport.close()


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    folder: Path = tmp_path_factory.mktemp("keys")
    Keys().write(folder)
    found = Settings.model_validate({**SETTINGS, "gateway": {"hostname": "mx.gateway.example", "domain": "gateway.example"}})
    return Composer(found, load_keyring(found, folder, "host.example"), "mx.gateway.example", lambda: NOW)


async def converse(
    composer: Composer, work: list[Assignment], offers: list[str], refusals: list[tuple[str, int]]
) -> tuple[Core, list[Strict]]:
    """One session; what every connection of it heard."""
    connections: list[Strict] = []

    def choose(verb: str, count: int) -> str | None:
        if verb == "DATA" and ("LATE", count) in refusals:
            return REFUSALS["LATE"]  # 354 although nobody was accepted: RFC 2920 section 3.1 wants a lone dot
        return REFUSALS[verb] if (verb, count) in refusals else None

    def begin() -> Receiver:
        connections.append(Strict(offers, choose))
        return Receiver(connections[-1])

    server = await asyncio.get_running_loop().create_server(begin, "127.0.0.1", 0)
    core = Core(work)
    try:
        await asyncio.wait_for(session(core, route_to(server.sockets[0].getsockname()[1]), net=network(), composer=composer), 10)
    finally:
        server.close()
    return core, connections


def body_of(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[2]


def arrived_whole(given: Assignment, taken: Taken, offers: list[str]) -> bool:
    """Whether the body is the one that was given, where nothing obliged us to change it. Only a missing last CRLF is added."""
    body = body_of(given.content or b"")
    if given.message.long_lines or not ("8BITMIME" in offers or (given.content or b"").isascii()):
        return True
    return body_of(taken.content) == (body if not body or body.endswith(b"\r\n") else body + b"\r\n")


@given(
    drawn=st.lists(messages(), min_size=1, max_size=4),
    offers=st.lists(st.sampled_from(OFFERS), unique=True),
    refusals=st.lists(st.tuples(st.sampled_from(sorted(REFUSALS)), st.integers(1, 4)), max_size=3),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_octet_that_leaves_is_one_the_rfcs_allow(
    composer: Composer, drawn: list[tuple[str, str, bytes]], offers: list[str], refusals: list[tuple[str, int]]
) -> None:
    work = {number: assignment(number, *parts) for number, parts in enumerate(drawn, 1)}
    core, connections = asyncio.run(converse(composer, list(work.values()), offers, refusals))
    assert [fault for strict in connections for fault in strict.faults] == []
    taken = [one for strict in connections for one in strict.taken]
    delivered = [one.delivery for one in core.settlements if type(one.outcome).__name__ == "Delivered"]
    assert len(taken) == len(delivered), "delivered is what the peer took"
    for number, one in zip(delivered, taken, strict=True):
        assert arrived_whole(work[number], one, offers)
        assert one.sender == work[number].return_path


@given(parts=st.lists(bodies, min_size=1, max_size=3), size=st.sampled_from([1, 2, 3, 7, 100_000]))
def test_dots_are_doubled_wherever_the_parts_of_a_message_meet(parts: list[bytes], size: int) -> None:
    content = b"".join(parts)
    whole = content if content.endswith(b"\r\n") else content + b"\r\n"
    strict = Strict([])
    strict._greeted, strict._sender, strict._recipients, strict._in_content = True, "a@b.example", ["c@d.example"], True
    strict._parameters = {"BODY": "8BITMIME", "SMTPUTF8": ""}
    octets = stuffed(parts)
    for at in range(0, len(octets), size):
        strict.receive(octets[at : at + size])
    assert [fault for fault in strict.faults if "octets" not in fault] == []
    assert [one.content for one in strict.taken] == [whole]


@pytest.mark.parametrize("refused", [False, True])
def test_a_message_by_bdat_is_announced_to_the_octet(refused: bool) -> None:
    """RFC 3030 section 2: the octets follow the command, not stuffed; a refused RCPT does not change that they are sent."""
    client = Client()
    client.receive(b"220 hi\r\n")
    client.hello("mx.gateway.example")
    client.receive(b"250-peer\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 CHUNKING\r\n")
    content = b"Subject: x\r\n\r\n.\r\n..\r\nlast\r\n"
    written = client.begin_chunked(1, "a@b.example", "c@d.example", len(content), size=len(content), eight_bit=True) + content
    mail, rcpt, bdat, rest = written.split(b"\r\n", 3)
    assert mail == b"MAIL FROM:<a@b.example> SIZE=%d BODY=8BITMIME" % len(content)
    assert rcpt == b"RCPT TO:<c@d.example>"
    assert bdat == b"BDAT %d LAST" % len(rest)
    assert rest == content
    client.receive(b"250 ok\r\n" + (b"550 no\r\n503 no\r\n" if refused else b"250 ok\r\n250 taken\r\n"))
    again = client.begin(2, "a@b.example", "c@d.example")
    assert again.startswith(b"RSET\r\nMAIL") if refused else again.startswith(b"MAIL")
    assert client.awaiting is (Verb.RSET if refused else Verb.MAIL)
