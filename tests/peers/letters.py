"""The message that every peer carries, and what must be left of it at the far end.

It has what breaks in careless hands: a subject and a body in raw UTF-8, lines that begin with dots, an attachment of every octet there is.
"""

import email
import email.policy
from email.message import EmailMessage

SENDER = "lettre@librairie.test"
SUBJECT = "Été à la librairie : « cœur » à 20 €"
TEXT = (
    "Bonjour Zoé,\r\n\r\nl'été est là, naïveté et œuvres complètes à 30 €.\r\n"
    ".une ligne qui commence par un point\r\n..deux\r\n.\r\nÀ bientôt\r\n"
)
ATTACHMENT = bytes(range(256)) * 3
FILE_NAME = "bon.bin"


def letter(to: list[str], campaign: str = "") -> bytes:
    """The message, lines ended with CRLF. `campaign` is our label, which must not leave."""
    attached = EmailMessage(policy=email.policy.SMTP)
    attached.set_content(ATTACHMENT, maintype="application", subtype="octet-stream", filename=FILE_NAME)
    label = f"X-Campaign: {campaign}\r\n" if campaign else ""
    head = (
        f"From: La Librairie <{SENDER}>\r\nTo: {', '.join(to)}\r\nSubject: {SUBJECT}\r\n{label}"
        f"Date: Sat, 28 Nov 2026 08:00:00 +0000\r\nMessage-ID: <{to[0]}>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="=_limite"\r\n\r\n'
    )
    text = f"--=_limite\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{TEXT}\r\n"
    return (head + text + "--=_limite\r\n").encode() + attached.as_bytes() + b"--=_limite--\r\n"


def assert_whole(received: bytes, sent: bytes, campaign: str = "") -> None:
    """`received`, as the far end has it, is octet for octet `sent` without our label, with what we and others on the way put above it and
    our Feedback-ID at the end of its header."""
    head, _, body = sent.partition(b"\r\n\r\n")
    if campaign:
        head = head.replace(f"X-Campaign: {campaign}\r\n".encode(), b"")
    their_head, _, their_body = received.partition(b"\r\n\r\n")
    assert their_body == body
    above, found, below = their_head.partition(head)
    assert found, f"{head!r} is not in {their_head!r}"
    assert {line.partition(b":")[0] for line in above.split(b"\r\n") if line and line[:1] not in b" \t"} <= ON_THE_WAY
    assert below.startswith(b"\r\nFeedback-ID: ")
    assert below.count(b"\r\n") == 1


ON_THE_WAY = frozenset(
    {b"Received", b"DKIM-Signature", b"Return-Path", b"Return-path", b"Envelope-to", b"Delivery-date", b"Delivered-To", b"X-Original-To"}
)
"""Fields that a relay or a mailbox writes above a message."""


def assert_reads(received: bytes) -> None:
    """A message that the client put together itself says the same as ours, however it is encoded."""
    message = email.message_from_bytes(received, policy=email.policy.default)
    assert message["Subject"].strip() == SUBJECT
    text, attached = message.iter_parts()
    assert text.get_content().rstrip().splitlines() == TEXT.rstrip().splitlines()
    assert (attached.get_filename(), attached.get_content()) == (FILE_NAME, ATTACHMENT)
