"""What is not a bounce is named for what it is, and never says that an address is dead."""

import json

import pytest

from bounce.parse import parse
from bounce.report import Kind


def mail(subject: str, body: str, *headers: str, sender: str = "someone@firm.example") -> bytes:
    lines = ["Date: Mon, 06 Jul 2026 09:00:00 +0200", f"From: {sender}", "To: news@sender.example", f"Subject: {subject}", *headers]
    return ("\r\n".join([*lines, "Content-Type: text/plain; charset=utf-8"]) + "\r\n\r\n" + body.replace("\n", "\r\n")).encode()


CHALLENGES = {
    "click": mail(
        "Please confirm your message",
        "I am protecting myself from junk.\nYour message is being held until you confirm that you are a real person.\nhttps://verify.example/1\n",
        "Auto-Submitted: auto-replied",
    ),
    "list": mail(
        "Re: Offer",
        "Your mail is being held because you are not on my approved sender list.\n"
        "To have your message delivered, click on the link below to confirm:\nhttps://ok.example/",
        "Precedence: bulk",
    ),
    "reply": mail(
        "[confirm] Offer",
        "This is sender verification. Just reply to this message without changing the subject.",
        "Auto-Submitted: auto-replied",
    ),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge_is_a_challenge(name: str) -> None:
    report = parse(CHALLENGES[name])
    assert report is not None
    assert report.kind is Kind.CHALLENGE


def test_a_loop_alert_is_a_loop() -> None:
    report = parse(
        mail(
            "Loop Alert: Duplicated Message-ID (list ML)", "Duplicated Message-ID in <list@firm.example>.", sender="list-admin@firm.example"
        )
    )
    assert report is not None
    assert report.kind is Kind.LOOP


def test_a_list_message_is_nothing_we_must_know_about() -> None:
    assert parse(mail("Weekly digest", "Many posts.", "List-Id: <list.firm.example>")) is None


@pytest.mark.parametrize("raw", [b"", b"\n", b"\x00" * 100, b"no header here", b": \n\n", b"From:\n\n"])
def test_rubbish_is_nothing(raw: bytes) -> None:
    assert parse(raw) is None


def test_notifications_of_a_sending_service_are_read() -> None:
    bounced = {
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [
                {
                    "emailAddress": "gone@firm.example",
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ],
        },
        "mail": {"messageId": "000-1", "source": "news@sender.example", "headers": [{"name": "Message-ID", "value": "<1@sender.example>"}]},
    }
    report = parse(mail("AWS Notification Message", json.dumps(bounced) + "\n\n--\nTo stop receiving", sender="no-reply@sns.example"))
    assert report is not None
    assert (report.kind, report.recipients[0].address, report.recipients[0].hard) == (Kind.BOUNCE, "gone@firm.example", True)
    delivered = {"notificationType": "Delivery", "delivery": {"recipients": ["a@firm.example"], "smtpResponse": "250 ok"}}
    report = parse(mail("AWS Notification Message", json.dumps(delivered)))
    assert report is not None
    assert report.kind is Kind.DELIVERED


@pytest.mark.parametrize("text", ['{"notificationType":"Bounce"', '{"notificationType":' + "[" * 100_000, '{"notificationType": 7}'])
def test_broken_notifications_are_not_believed(text: str) -> None:
    report = parse(mail("AWS Notification Message", text))
    assert report is None or report.kind is Kind.REPLY


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Read: Offer", "Your message\n\n  To: someone\n  Subject: Offer\n\nwas read on Monday, 6 July 2026 10:00.\n"),
        ("Not read: Offer", "Your message\n\n  Subject: Offer\n\nwas deleted without being read on Monday.\n"),
        ("Gelesen: Angebot", "Ihre Nachricht wurde am Montag, 6. Juli 2026 gelesen.\n"),
        ("Lu : Offre", "Votre message a été lu le lundi 6 juillet 2026.\n"),
    ],
)
def test_receipts_in_words(subject: str, text: str) -> None:
    report = parse(mail(subject, text))
    assert report is not None
    assert report.kind is Kind.READ_RECEIPT


def test_a_report_of_success_in_words_is_no_bounce() -> None:
    text = "Your message was successfully delivered to the following recipients:\n\n<someone@firm.example>\n"
    report = parse(mail("Delivery Notification: Delivery has been successful", text, sender="postmaster@firm.example"))
    assert report is not None
    assert (report.kind, report.recipients[0].hard) == (Kind.DELIVERED, False)


@pytest.mark.parametrize(
    "address",
    [
        "b+aaaabbbbccccddddeeeeffffgggghhhh2@bounce.sender.example",
        "SRS0=HHH=TT=sender.example=b+aaaabbbbccccddddeeeeffffgggghhhh2@forwarder.example",
        "SRS1=HHH=other.example==HHH=TT=sender.example=b+aaaabbbbccccddddeeeeffffgggghhhh2@forwarder.example",
        "prvs=0123456789=b+aaaabbbbccccddddeeeeffffgggghhhh2@bounce.sender.example",
        "prvs=b+aaaabbbbccccddddeeeeffffgggghhhh2/0123456789@bounce.sender.example",
        "B+AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH2@BOUNCE.SENDER.EXAMPLE",
    ],
)
def test_the_token_survives_what_forwarders_do_to_addresses(address: str) -> None:
    raw = mail("failure notice", "<gone@firm.example>:\nuser unknown\n", sender="MAILER-DAEMON@firm.example")
    report = parse(raw.replace(b"To: news@sender.example", f"To: <{address}>".encode()))
    assert report is not None
    assert report.token == "b+aaaabbbbccccddddeeeeffffgggghhhh2"


@pytest.mark.parametrize(
    "address", ["x-b+aaaabbbbccccddddeeeeffffgggghhhh2@x.example", "b+aaaabbbb@x.example", "b+aaaabbbbccccddddeeeeffffgggghhhh22@x.example"]
)
def test_what_only_looks_like_a_token_is_none(address: str) -> None:
    raw = mail("failure notice", "<gone@firm.example>:\nuser unknown\n", sender="MAILER-DAEMON@firm.example")
    report = parse(raw.replace(b"To: news@sender.example", f"To: <{address}>".encode()))
    assert report is not None
    assert report.token == ""


def test_an_answer_names_the_message_it_answers() -> None:
    report = parse(mail("Re: Offer", "Thanks!", "In-Reply-To: <7@sender.example>"))
    assert report is not None
    assert (report.kind, report.original_message_id) == (Kind.REPLY, "<7@sender.example>")
