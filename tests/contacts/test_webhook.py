"""Signatures as the public specification has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.webhook import RETRIES, WebhookSecret, headers, retry_in, verify
from tests.contacts.material import NOW

SECRET = WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = WebhookSecret("whsec_" + "QUJD" * 10)


def test_the_example_of_the_specification_is_reproduced():
    signature = SECRET.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_attempt_verifies_with_any_of_the_secrets_and_only_lately():
    made = headers([SECRET, OTHER], "batch1", NOW, b"[]")
    assert verify([OTHER], made, b"[]", NOW + 299)
    assert not verify([OTHER], made, b"[]", NOW + 301)
    assert not verify([OTHER], made, b"[ ]", NOW)
    assert not verify([OTHER], made | {"webhook-id": "batch2"}, b"[]", NOW)
    assert not verify([WebhookSecret("whsec_" + "QUJE" * 10)], made, b"[]", NOW)


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=30)), st.binary(max_size=20)
)
def test_strangers_headers_verify_nothing_and_break_nothing(given_headers, body):
    assert not verify([SECRET], given_headers, body, NOW)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!!!", "whsec_QUJD", "é"])
def test_a_secret_that_is_none_is_refused_without_being_repeated(text):
    with pytest.raises(ValueError, match="a webhook secret") as caught:
        WebhookSecret(text)
    assert not text or text[-4:] not in str(caught.value)
    assert "MfKQ" not in repr(SECRET)


@pytest.mark.parametrize("identity", ["", "a.b", "a\r\nb", "é"])
def test_an_id_that_would_be_ambiguous_is_refused(identity):
    with pytest.raises(ValueError, match="id without dots"):
        headers([SECRET], identity, NOW, b"")


def test_waits_grow_to_an_hour_with_a_tenth_of_jitter():
    assert [retry_in(failed, 0.0) for failed in (1, 2, len(RETRIES), 1000)] == [5.0, 30.0, 3600.0, 3600.0]
    assert retry_in(1, 1.0) == 5.5
