"""What stands for a key and a body, and that the door hands both to the core."""

import asyncio
from email.message import EmailMessage

from gateway.doors.idempotency import MOST_BODY, identified
from tests.doors.house import opened, settings_of

BODY = b"Hello.\r\n"


def body(content: bytes) -> int:
    return identified("shop", b"k", content, 0)[1]


def test_a_key_belongs_to_its_account_and_to_nothing_else() -> None:
    found = {identified(account, key, BODY, 0)[0] for account, key in (("a", b"bk"), ("ab", b"k"), ("a", b"k"), ("a", b"K"))}
    assert len(found) == 4
    assert {len(one) for one in found} == {16}
    assert identified("a", b"k", BODY, 0)[0] == identified("a", b"k", b"other", 0)[0]


def built(text: str) -> bytes:
    """A multipart message as a client builds it, with a boundary of its own each time."""
    message = EmailMessage()
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message.as_bytes().partition(b"\n\n")[2]


def test_a_message_built_again_has_the_same_body_and_another_has_not() -> None:
    assert built("one") != built("one"), "the boundary is new"
    assert body(built("one")) == body(built("one"))
    assert body(built("one")) != body(built("two"))
    assert body(bytes(MOST_BODY) + b"a") == body(bytes(MOST_BODY) + b"b"), "as far as it is read"


def test_the_door_hands_key_deadline_and_labels_to_the_core() -> None:
    async def story() -> None:
        async with opened(settings_of()) as house:
            peer = await house.connect()
            head = (
                "From: news@example.com\nDate: x\nX-Idempotency-Key: k\nX-Deadline: 1h\nX-Contact-Id: c\nX-Tags: a,b\nX-Send-At: soon\n\n"
            )
            for line in ("MAIL FROM:<news@example.com>", "RCPT TO:<you@there.example>", "DATA"):
                await peer.say(line + "\n")
            assert (await peer.say(head + "Hello.\n.\n")).startswith("250 2.0.0 queued as ")
            (taken,) = house.core.taken
            assert (taken.key, taken.body) == identified("default", b"k", BODY, 0)
            assert taken.deadline == house.now + 3600.0
            assert taken.message.labels is not None
            assert (taken.message.labels.contact, taken.message.labels.tags) == ("c", ("a", "b"))
            assert house.notebook.of("label ignored") == [("default", "X-Send-At", "send_at", "malformed")]

    asyncio.run(story())
