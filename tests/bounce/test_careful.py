"""Words that sound like a dead address and are none: each of them cost somebody good contacts once."""

import pytest

from bounce.classify import classify, reply_of
from mail.outcome import Phase, is_hard

NOT_DEAD = [
    "500 5.5.1 Command not recognized",
    "550 Recipient address rejected: On hold",
    "554 5.7.1 <a@firm.example>: Recipient address rejected: Access denied",
    "550 5.7.1 <a@firm.example>: Recipient address rejected: Policy restrictions",
    "550 The reason is unknown",
    "550 5.7.1 Service no longer available to you",
    "451 4.3.0 unable to find a free worker",
    "550 helo host is not a valid host name",
    "554 Invalid domain in From header",
    "550 rejected by the recipient's domain",
    "550 Sender unknown",
    "550 5.1.8 Sender domain does not exist",
    "550 5.1.7 Invalid sender address",
    "450 4.1.1 User unknown",
    "421 Unknown user database, try again later",
    "550 SPF check: user unknown.example not permitted sender",
    "554 5.7.1 user@firm.example: mailbox full of spam, your IP is listed by zen.spamhaus.org",
    "550 Your host mx.user-unknown.example is blocked using dnsbl.example",
    "550 You are not allowed to send: no such user in your domain may relay access denied",
    "550 5.2.1 account disabled",
    "552 5.2.2 mailbox full",
    "554 5.0.0 Service unavailable",
    "521 5.7.1 Message blocked due to spam content in the message.",
]


@pytest.mark.parametrize("said", NOT_DEAD)
def test_this_is_no_proof_of_a_dead_address(said: str) -> None:
    reply = reply_of(said)
    found = classify(reply)
    assert not is_hard(found.category, reply.permanent), found


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.MAIL])
def test_a_refusal_before_any_recipient_was_named_is_not_about_the_recipient(phase: Phase) -> None:
    reply = reply_of("550 5.1.0 no such user, mailbox does not exist, address rejected")
    assert not is_hard(classify(reply, phase=phase).category, reply.permanent)
