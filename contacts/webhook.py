"""Signing webhooks as Standard Webhooks do: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64 of HMAC-SHA256>`.

The signature is over `id.timestamp.body`, so a body cannot be replayed under another id or later than the receiver allows. The id is that
of the delivery of a batch and the same at every retry: a receiver that keeps ids sees each once. Several secrets sign side by side while
one is being replaced. Pure: no socket and no clock; `contacts.endpoint` delivers and retries, `contacts.letters` keeps what died.

Secrets are `whsec_` and base64, 24 to 64 octets. They are in no message and no repr.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE = 300.0
"""Seconds by which a timestamp may differ from the receiver's clock."""
RETRIES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds before each retry after so many failures; the last is repeated. An hour at most: one request asks for all that wait behind it."""


class WebhookSecret:
    """One secret. Raises ValueError (without the secret) when the text is none."""

    __slots__ = ("_secret",)

    def __init__(self, text: str) -> None:
        try:
            secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a webhook secret is whsec_ and base64") from None
        if not 24 <= len(secret) <= 64:
            raise ValueError("a webhook secret has 24 to 64 octets")
        self._secret = secret

    def sign(self, identity: str, at: int, body: bytes) -> str:
        """`v1,…` for a body delivered at Unix second `at`."""
        said = f"{identity}.{at}.".encode() + body
        return "v1," + base64.b64encode(hmac.new(self._secret, said, hashlib.sha256).digest()).decode()

    def __repr__(self) -> str:
        return "WebhookSecret(…)"


def headers(secrets: Sequence[WebhookSecret], identity: str, now: float, body: bytes) -> dict[str, str]:
    """The headers of one attempt. Raises ValueError for an id that would be ambiguous, or without any secret."""
    if not secrets or not identity or "." in identity or not identity.isascii() or not identity.isprintable():
        raise ValueError("a webhook needs a secret and an id without dots")
    at = int(now)
    return {
        "content-type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(secret.sign(identity, at, body) for secret in secrets),
    }


def verify(secrets: Sequence[WebhookSecret], given: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether a body came from a holder of one of `secrets`, lately. `given` has lower-case names. Never raises."""
    identity, stamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not identity or len(stamp) > 12 or not stamp.isascii() or not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE:
        return False
    signatures = [part.encode("utf-8", "replace") for part in given.get("webhook-signature", "").split()[:16]]
    expected = [secret.sign(identity, int(stamp), body).encode() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in signatures for other in expected)


def retry_in(failed: int, spread: float) -> float:
    """Seconds to wait after `failed` failures in a row. `spread`, random from 0 to 1, is a tenth of jitter."""
    return RETRIES[min(failed, len(RETRIES)) - 1] * (1 + spread / 10)
