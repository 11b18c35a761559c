"""The sans-IO client: dialogues by hand, and any bytes in any segmentation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.smtp.answers import MAX_LINE, MAX_LINES, ReplyReader, capabilities_of
from gateway.smtp.client import Answered, Client, Ended, Farewell, GoAhead, Verb, Violation, stuffed
from gateway.smtp.envelope import envelope
from mail.outcome import Phase
from mail.reply import Reply

EHLO = b"250-peer.example\r\n250-PIPELINING\r\n250-size 1000\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n"


def ready(ehlo: bytes = EHLO) -> Client:
    client = Client()
    client.receive(b"220 peer.example\r\n")
    client.hello("me.example")
    client.receive(ehlo)
    return client


def test_an_ehlo_reply_gives_the_capabilities() -> None:
    offers = ready().capabilities
    assert (offers.pipelining, offers.size, offers.eight_bit, offers.chunking, offers.smtputf8) == (True, 1000, True, True, True)
    assert not offers.starttls
    assert capabilities_of(Reply(250, "peer\nSIZE\nSTARTTLS")).size == 0
    assert capabilities_of(Reply(250, "peer\nSIZE 99999999999999999999999")).size == 0
    assert capabilities_of(Reply(250, "peer\n\nXSOMETHING odd")).size is None


def test_a_group_is_one_write_and_its_replies_lead_to_go_ahead() -> None:
    client = ready()
    group = client.begin(1, "a@b.example", "c@d.example", size=500, eight_bit=True, utf8=False)
    assert group == b"MAIL FROM:<a@b.example> SIZE=500 BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    assert client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n") == [GoAhead(1)]
    client.content(1)
    assert client.awaiting is Verb.DOT
    assert client.may_begin
    assert client.begin(2, "", "e@f.example") == b"MAIL FROM:<>\r\nRCPT TO:<e@f.example>\r\nDATA\r\n"
    assert not client.may_begin
    events = client.receive(b"250 2.0.0 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert events == [Ended(1, Phase.DOT, Reply(250, "taken", "2.0.0")), GoAhead(2)]


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    client = ready(b"250 peer.example\r\n")
    assert client.begin(1, "a@b.example", "c@d.example", size=5, eight_bit=True, utf8=True) == b"MAIL FROM:<a@b.example>\r\n"
    assert client.receive(b"250 ok\r\n") == []
    assert client.data_to_send() == b"RCPT TO:<c@d.example>\r\n"
    assert client.receive(b"550 5.1.1 no\r\n") == [Ended(1, Phase.RCPT, Reply(550, "no", "5.1.1"))]
    assert client.data_to_send() == b""
    assert client.begin(2, "a@b.example", "c@d.example") == b"RSET\r\n"
    client.receive(b"250 ok\r\n")
    assert client.data_to_send() == b"MAIL FROM:<a@b.example>\r\n"


def test_a_refused_mail_decides_and_its_group_is_awaited() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert client.receive(b"550 5.7.1 not you\r\n503 no\r\n") == []
    assert not client.may_begin
    assert client.receive(b"503 no\r\n") == [Ended(1, Phase.MAIL, Reply(550, "not you", "5.7.1"))]
    assert client.begin(2, "a@b.example", "c@d.example").startswith(b"MAIL")


def test_after_a_refused_recipient_the_next_group_begins_with_rset() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert client.receive(b"250 ok\r\n452 4.2.2 full\r\n503 no\r\n") == [Ended(1, Phase.RCPT, Reply(452, "full", "4.2.2"))]
    assert client.begin(2, "a@b.example", "c@d.example").startswith(b"RSET\r\nMAIL")
    assert client.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n") == [GoAhead(2)]


def test_354_with_no_recipient_gets_a_lone_dot() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert client.receive(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n") == []
    assert client.data_to_send() == b".\r\n"
    assert client.receive(b"554 5.5.1 none\r\n") == [Ended(1, Phase.RCPT, Reply(550, "no", "5.1.1"))]
    assert client.begin(2, "a@b.example", "c@d.example").startswith(b"MAIL")


def test_421_ends_the_dialogue_wherever_it_comes() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert client.receive(b"250 ok\r\n421 4.3.2 bye\r\n250 ignored\r\n") == [Ended(1, Phase.RCPT, Reply(421, "bye", "4.3.2"))]
    assert client.closing
    assert not client.may_begin
    idle = ready()
    assert idle.receive(b"421 4.4.2 idle too long\r\n") == [Farewell(Reply(421, "idle too long", "4.4.2"))]
    greeted = Client()
    assert greeted.receive(b"421 busy\r\n") == [Answered(Verb.GREETING, Reply(421, "busy"))]


def test_a_refusal_before_421_decides() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert client.receive(b"250 ok\r\n550 5.1.1 no\r\n421 bye\r\n") == [Ended(1, Phase.RCPT, Reply(550, "no", "5.1.1"))]


@pytest.mark.parametrize(
    "data",
    [
        b"250 ok\r\n",
        b"hello\r\n",
        b"999 no\r\n",
        b"25x no\r\n",
        b"\xb2\xb50 no\r\n",
        b"250-a\r\n354 b\r\n",
        b"250-" + b"x" * (MAX_LINE + 10),
        b"250-x\r\n" * (MAX_LINES + 1),
        (b"250-" + b"x" * 2000 + b"\r\n") * 40,
        b"\r\n",
    ],
)
def test_what_no_command_asked_for_or_is_no_reply_is_a_violation(data: bytes) -> None:
    client = ready()
    events = client.receive(data)
    assert [type(event) for event in events] == [Violation]
    assert client.closing
    assert client.receive(b"250 more\r\n") == []


def test_a_reply_line_may_be_longer_than_512_and_end_with_a_bare_line_feed() -> None:
    assert ReplyReader().read(b"250 " + b"x" * 1500 + b"\n")[0].text == "x" * 1500


def test_control_characters_in_replies_are_made_visible() -> None:
    assert ReplyReader().read(b"550 5.1.1 a\x1b[31mred\tand\x00 \xff\r\n")[0].text == "a?[31mred and? \ufffd"


def test_multiline_replies_lose_their_enhanced_code_on_every_line() -> None:
    assert ReplyReader().read(b"550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n") == [Reply(550, "one\ntwo\nthree", "5.1.1")]


@pytest.mark.parametrize("behind", [b"250 injected\r\n", b"250 part of"])
def test_bytes_behind_the_reply_to_starttls_are_a_violation(behind: bytes) -> None:
    client = ready()
    client.starttls()
    assert [type(event) for event in client.receive(b"220 go\r\n" + behind)] == [Violation]


def test_bytes_in_the_clear_after_the_reply_to_starttls_are_a_violation() -> None:
    client = ready()
    client.starttls()
    client.receive(b"220 go\r\n")
    assert [type(event) for event in client.receive(b"250 injected\r\n")] == [Violation]


def test_replies_that_slipped_are_a_violation() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert [type(event) for event in client.receive(b"500 what?\r\n250 ok\r\n250 ok\r\n")] == [Violation]
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    assert [type(event) for event in client.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n")] == [Violation]


def test_a_refusal_in_the_middle_of_a_message_decides_and_closes() -> None:
    client = ready()
    client.begin(1, "a@b.example", "c@d.example")
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.content(1, whole=False)
    assert client.receive(b"552 5.3.4 too big\r\n") == [Ended(1, Phase.DOT, Reply(552, "too big", "5.3.4"))]
    assert client.closing


def test_bdat_is_one_write_and_its_reply_is_awaited_after_a_refusal() -> None:
    client = ready()
    assert client.begin_chunked(1, "a@b.example", "c@d.example", 10).endswith(b"RCPT TO:<c@d.example>\r\nBDAT 10 LAST\r\n")
    assert client.state_of(1) == (True, None)
    assert client.receive(b"250 ok\r\n250 ok\r\n250 taken\r\n") == [Ended(1, Phase.DOT, Reply(250, "taken"))]
    client.begin_chunked(2, "a@b.example", "c@d.example", 10)
    assert client.receive(b"250 ok\r\n550 5.1.1 no\r\n") == []
    assert client.receive(b"503 5.5.1 no\r\n") == [Ended(2, Phase.RCPT, Reply(550, "no", "5.1.1"))]
    assert client.begin(3, "a@b.example", "c@d.example").startswith(b"RSET\r\n")


@pytest.mark.parametrize(
    ("parts", "wire"),
    [
        ([b"a: b\r\n", b"\r\n.x\r\n"], b"a: b\r\n\r\n..x\r\n.\r\n"),
        ([b".a\r\n"], b"..a\r\n.\r\n"),
        ([b"a\r\n", b".\r\n"], b"a\r\n..\r\n.\r\n"),
        ([b"a\r\n.", b".b\r\n..\r\n"], b"a\r\n...b\r\n...\r\n.\r\n"),
        ([b"no end"], b"no end\r\n.\r\n"),
        ([b""], b"\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_and_the_final_dot_follows(parts: list[bytes], wire: bytes) -> None:
    assert stuffed(parts) == wire


def test_what_the_sender_wants_to_be_told_goes_to_peers_that_offer_dsn_and_to_no_others() -> None:
    dsn = (" RET=HDRS ENVID=a+2B", " NOTIFY=SUCCESS ORCPT=rfc822;c@d")
    assert ready().begin(1, "a@b", "c@d", dsn=dsn) == b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    peer = ready(EHLO.replace(b"250-CHUNKING", b"250-dsn"))
    assert peer.begin(1, "a@b", "c@d", dsn=dsn).splitlines()[:2] == [
        b"MAIL FROM:<a@b> RET=HDRS ENVID=a+2B",
        b"RCPT TO:<c@d> NOTIFY=SUCCESS ORCPT=rfc822;c@d",
    ]


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError):
        envelope("a@b\r\nRSET", "c@d")
    with pytest.raises(ValueError):
        envelope("a@b", "c@d\n")


lines = st.lists(
    st.one_of(
        st.sampled_from([b"250 ok\r\n", b"354 go\r\n", b"550 5.1.1 no\r\n", b"421 bye\r\n", b"250-more\r\n", b"220 hi\r\n", b"503 x\r\n"]),
        st.binary(max_size=40),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(lines, st.data())
def test_any_bytes_in_any_segmentation_give_the_same_events_and_never_an_exception(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)

    def play(pieces: list[bytes]) -> list[object]:
        client = ready()
        client.begin(1, "a@b.example", "c@d.example")
        seen: list[object] = []
        for piece in pieces:
            seen.extend(client.receive(piece))
        client.data_to_send()
        assert len(client._reader._rest) <= MAX_LINE
        return seen

    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert play([stream]) == play(pieces)
    assert play([bytes([byte]) for byte in stream]) == play([stream])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"..", b"\r", b"\n"]), max_size=40))
def test_stuffing_can_be_undone_and_hides_every_final_dot(parts: list[bytes]) -> None:
    wire = stuffed(parts)
    assert wire.endswith(b"\r\n.\r\n")
    assert (b"\r\n" + wire).index(b"\r\n.\r\n") == len(wire) - 3
    undone = (b"\r\n" + wire[:-3]).replace(b"\r\n..", b"\r\n.")[2:]
    whole = b"".join(parts)
    assert undone == (whole if whole.endswith(b"\r\n") else whole + b"\r\n")
