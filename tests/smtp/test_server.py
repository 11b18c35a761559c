"""The server against hostile input: any bytes in any segmentation, injections, floods, and sizes out of all proportion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.events import NEED_DATA, Aborted, Auth, Content, Mail, Recipient, ServerOptions, StartTls
from gateway.smtp.server import ServerConnection
from mail.reply import Reply

OPTIONS = ServerOptions("mx.example.com", message_size=2000, recipients=5, tls_available=True, auth_allowed=True, auth_offered=True)
QUESTIONS = (Mail, Recipient, Content, Auth)
ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n"


def drive(smtp: ServerConnection, refuse_every: int = 0) -> tuple[list[object], bytes]:
    """Take all events, answer each question; every `refuse_every`-th is refused."""
    events: list[object] = []
    while (event := smtp.next_event()) is not NEED_DATA:
        events.append(event)
        if isinstance(event, QUESTIONS):
            if refuse_every and len(events) % refuse_every == 0:
                smtp.refuse(Reply(550, "no", "5.7.1"))
            else:
                smtp.accept()
    return events, smtp.data_to_send()


def converse(octets: bytes, options: ServerOptions = OPTIONS) -> tuple[list[object], list[bytes], ServerConnection]:
    smtp = ServerConnection(options)
    smtp.receive(octets)
    events, out = drive(smtp)
    return events, out.split(b"\r\n")[:-1], smtp


WORDS = [
    b"EHLO x",
    b"HELO x",
    b"MAIL FROM:<a@example.com>",
    b"MAIL FROM:<> SIZE=10 SMTPUTF8",
    b"MAIL FROM:<\xc3\xa9@example.com> SMTPUTF8",
    b"RCPT TO:<b@example.net>",
    b"RCPT TO:<",
    b"DATA",
    b"BDAT 5",
    b"BDAT 7 LAST",
    b"BDAT 0 LAST",
    b"BDAT",
    b"RSET",
    b"NOOP",
    b"STARTTLS",
    b"AUTH PLAIN",
    b"AUTH LOGIN dXNlcg==",
    b"AHVzZXIAc2VjcmV0",
    b"*",
    b"QUIT",
    b".",
    b"..",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n.\r\n",
    b"\x00\xff",
    b"x" * 3000,
]
STREAMS = st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from([b"\r\n"]), st.binary(max_size=20)), max_size=40).map(
    lambda parts: b"".join(part + b"\r\n" if part in WORDS[:21] else part for part in parts)
)


@given(STREAMS, st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(0, 4))
def test_any_bytes_in_any_segmentation_give_replies_or_a_close(octets: bytes, cuts: list[int], refuse_every: int) -> None:
    smtp = ServerConnection(OPTIONS)
    at = number = 0
    while at < len(octets):
        size = cuts[number % len(cuts)]
        smtp.receive(octets[at : at + size])
        events, out = drive(smtp, refuse_every)
        at, number = at + size, number + 1
        assert out.isascii()
        assert not out or out.endswith(b"\r\n")
        assert all(line[:3].isdigit() and len(line) <= 510 for line in out.split(b"\r\n")[:-1])
        assert smtp.buffered <= OPTIONS.command_line + 12_290 + 50
        assert smtp.held <= OPTIONS.message_size
        if any(isinstance(event, StartTls) for event in events):
            smtp.tls_started(OPTIONS)
    smtp.receive(b"")
    drive(smtp)
    assert smtp.closed


@given(STREAMS, st.integers(1, 64))
def test_segmentation_never_changes_the_dialogue(octets: bytes, size: int) -> None:
    octets = octets.replace(b"STARTTLS", b"START") or b"\r\n"  # what follows it in one segment is an injection, in the next a handshake
    events, replies, _ = converse(octets)
    smtp = ServerConnection(OPTIONS)
    in_pieces: list[object] = []
    out = b""
    for at in range(0, len(octets), size):
        smtp.receive(octets[at : at + size])
        more, said = drive(smtp)
        in_pieces += more
        out += said
    assert in_pieces == events
    assert out.split(b"\r\n")[:-1] == replies


@pytest.mark.parametrize(
    "ending", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\r\n.\r\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n"]
)
@pytest.mark.parametrize("policy", ["refuse", "normalise"])
def test_no_line_end_but_crlf_dot_crlf_ends_data(ending: bytes, policy: str) -> None:
    smuggled = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nsmuggled\r\n"
    options = ServerOptions("mx.example.com", bare_newline="refuse" if policy == "refuse" else "normalise")
    events, replies, _ = converse(ENVELOPE + b"DATA\r\nSubject: x\r\n\r\ntext" + ending + smuggled + b".\r\nNOOP\r\n", options)
    assert len([event for event in events if isinstance(event, Mail)]) == 1
    assert replies[-1] == b"250 2.0.0 ok"
    contents = [event.data for event in events if isinstance(event, Content)]
    for content in contents:
        assert b"smuggled" in content
        assert content.count(b"\n") == content.count(b"\r") == content.count(b"\r\n")
    if policy == "refuse" and b"\x00" not in ending:
        assert not contents
        assert replies[-2].startswith(b"550 5.6.0")


def test_octets_behind_starttls_close_the_connection_and_are_no_commands() -> None:
    events, replies, smtp = converse(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
    assert smtp.closed
    assert not any(isinstance(event, Mail | StartTls) for event in events)
    assert replies[-1].startswith(b"554 5.5.0")


def test_octets_between_starttls_and_the_handshake_close_the_connection() -> None:
    events, replies, smtp = converse(b"EHLO x\r\nSTARTTLS\r\n")
    assert isinstance(events[-1], StartTls)
    assert replies[-1].startswith(b"220 ")
    smtp.receive(b"EHLO y\r\n")
    assert smtp.closed
    assert drive(smtp)[0] == []


def test_the_handshake_forgets_greeting_transaction_and_buffer() -> None:
    _, _, smtp = converse(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nSTARTTLS\r\n")
    smtp.tls_started(OPTIONS)
    assert not smtp.in_transaction
    smtp.receive(b"RCPT TO:<b@example.net>\r\n")
    assert drive(smtp)[1].startswith(b"503 ")


def test_thousands_of_unknown_commands_get_twenty_replies_and_a_close() -> None:
    _, replies, smtp = converse(b"XYZZY\r\n" * 5000)
    assert smtp.closed
    assert len(replies) == OPTIONS.errors + 1
    assert replies[-1].startswith(b"421 4.7.0")
    assert smtp.buffered == 0


def test_a_line_without_end_is_answered_once_and_not_kept() -> None:
    smtp = ServerConnection(OPTIONS)
    said = b""
    for _ in range(1000):
        smtp.receive(b"x" * 1000)
        said += drive(smtp)[1]
        assert smtp.buffered <= OPTIONS.command_line + 1000
    assert said.count(b"\r\n") == 1
    smtp.receive(b"\r\nNOOP\r\n")
    assert drive(smtp)[1].startswith(b"250 ")


def test_an_endless_message_is_not_kept() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"DATA\r\n")
    drive(smtp)
    for _ in range(1000):
        smtp.receive(b"0123456789" * 100 + b"\r\n")
        drive(smtp)
        assert smtp.held <= OPTIONS.message_size
        assert smtp.buffered <= 4
    smtp.receive(b".\r\n")
    assert drive(smtp)[1].startswith(b"552 5.3.4")


def test_a_message_in_single_octets_is_kept_in_few_pieces() -> None:
    smtp = ServerConnection(ServerOptions("mx.example.com", message_size=100_000))
    smtp.receive(ENVELOPE + b"DATA\r\n")
    drive(smtp)
    for _ in range(50_000):
        smtp.receive(b"x")
        smtp.next_event()
    assert len(smtp._reception._pieces) <= 4


def test_a_huge_chunk_announced_is_refused_at_once_and_drained() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"BDAT 1000000 LAST\r\n")
    drive(smtp)
    for _ in range(1000):
        smtp.receive(b"NOOP\r\n" * 166 + b"NOOP")
        assert drive(smtp)[1] == b"" or smtp.in_transaction is False
        assert smtp.held == 0
    assert not smtp.closed


def test_replies_of_a_pipelined_batch_leave_together() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"DATA\r\n")
    _, out = drive(smtp)
    assert [line[:3] for line in out.split(b"\r\n")[-4:-1]] == [b"250", b"250", b"354"]


def test_nothing_is_read_ahead_of_an_answer_that_is_owed() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRSET\r\nQUIT\r\n")
    smtp.next_event()
    assert isinstance(smtp.next_event(), Mail)
    smtp.data_to_send()
    assert smtp.next_event() is NEED_DATA
    assert smtp.data_to_send() == b""
    smtp.refuse(Reply(550, "no", "5.7.1"))
    drive(smtp)
    assert smtp.closed


def test_half_close_while_an_answer_is_owed_waits_for_the_answer() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"DATA\r\nx\r\n.\r\n")
    while not isinstance(event := smtp.next_event(), Content):
        if isinstance(event, QUESTIONS):
            smtp.accept()
    smtp.receive(b"")
    assert smtp.next_event() is NEED_DATA
    assert not smtp.closed
    smtp.data_to_send()
    smtp.accept(Reply(250, "queued as x", "2.0.0"))
    assert smtp.next_event() == Aborted(False)
    assert smtp.data_to_send() == b"250 2.0.0 queued as x\r\n"
    assert smtp.closed


def test_finish_waits_for_the_message_under_way() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"DATA\r\nx\r\n")
    drive(smtp)
    smtp.finish(Reply(421, "shutting down", "4.3.2"))
    assert drive(smtp)[1] == b""
    smtp.receive(b".\r\nMAIL FROM:<c@example.com>\r\n")
    _, out = drive(smtp)
    assert out == b"250 2.0.0 queued\r\n421 4.3.2 shutting down\r\n"
    assert smtp.closed


def test_content_refused_from_outside_is_dropped_and_answered_at_its_end() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(ENVELOPE + b"DATA\r\n" + b"x" * 100)
    drive(smtp)
    assert smtp.held > 0
    smtp.refuse_content(Reply(452, "later", "4.3.1"))
    assert smtp.held == 0
    smtp.receive(b"\r\n.\r\n")
    events, out = drive(smtp)
    assert out == b"452 4.3.1 later\r\n"
    assert not any(isinstance(event, Content) for event in events)


def test_a_421_from_the_door_closes() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nNOOP\r\n")
    smtp.next_event()
    smtp.next_event()
    smtp.refuse(Reply(421, "too much", "4.7.0"))
    assert smtp.closed
    assert smtp.data_to_send().endswith(b"421 4.7.0 too much\r\n")


def test_an_answer_after_the_close_is_no_error() -> None:
    smtp = ServerConnection(OPTIONS)
    smtp.receive(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\n")
    smtp.next_event()
    smtp.next_event()
    smtp.terminate()
    smtp.accept()
    smtp.refuse(Reply(550, "no"))
    assert smtp.next_event() is NEED_DATA


def test_an_answer_to_no_question_is_our_bug() -> None:
    with pytest.raises(RuntimeError):
        ServerConnection(OPTIONS).accept()
    with pytest.raises(RuntimeError):
        ServerConnection(OPTIONS).refuse(Reply(550, "no"))
