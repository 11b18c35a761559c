"""What the compose tests are made of: keys, settings, messages."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from gateway.calls import Assignment, Message
from gateway.compose.generate import record
from mail.address import Address

NOW = 1_730_455_200.0  # 2024-11-01 10:00:00 UTC


class Keys:
    """One RSA and one Ed25519 key for everybody, published under any name: made once, for RSA keys take their time."""

    def __init__(self) -> None:
        self.rsa: RSAPrivateKey = generate_private_key(65_537, 2048)
        self.ed25519 = Ed25519PrivateKey.generate()

    def pem(self, private: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
        return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def write(self, folder: Path) -> None:
        for name, private in (("rsa.pem", self.rsa), ("ed.pem", self.ed25519)):
            (folder / name).write_bytes(self.pem(private))
            (folder / name).chmod(0o600)

    def dns(self, name: bytes, **_: Any) -> bytes:
        """A DNS function for dkimpy: selectors that begin with `ed` have the Ed25519 key, others RSA."""
        return record(self.ed25519 if name.startswith(b"ed") else self.rsa).encode("ascii")


SETTINGS: dict[str, Any] = {
    "gateway": {"hostname": "mx.gateway.example", "domain": "gateway.example", "dkim": [{"selector": "gw", "file": "rsa.pem"}]},
    "domain": [
        {
            "name": "example.org",
            "return_domain": "bounce.example.org",
            "dkim": [
                {"selector": "ed1", "file": "ed.pem", "algorithm": "ed25519-sha256"},
                {"selector": "s1", "file": "rsa.pem"},
                {"selector": "s0", "file": "rsa.pem"},
            ],
        },
        {"name": ".shop.example", "dkim": [{"selector": "s1", "file": "rsa.pem"}]},
        {"name": "news.shop.example", "return_domain": "b.news.shop.example"},
        {"name": "keyless.example"},
        {"name": "unsigned.example", "without_key": "unsigned"},
        {"name": "refused.example", "without_key": "refuse"},
        {"name": "ed.example", "dkim": [{"selector": "ed1", "file": "ed.pem", "algorithm": "ed25519-sha256"}]},
    ],
}


def assignment(**changes: Any) -> Assignment:
    """A delivery of a usual newsletter; keywords change its message, `recipient`, `return_path` and `delivery` the delivery."""
    recipient = changes.pop("recipient", Address("someone@example.net", "example.net"))
    return_path = changes.pop("return_path", "b+token@bounce.example.org")
    delivery = changes.pop("delivery", 77)
    facts: dict[str, Any] = {
        "account": "crm",
        "stream": "marketing",
        "campaign": "november",
        "sender": Address("news@example.org", "example.org"),
        "from_domain": "example.org",
        "received_at": NOW,
        "size": 0,
        "id": 7,
        "message_id": "<1@example.org>",
        "client": "192.0.2.3",
        "helo": "app.example.org",
        "protocol": "ESMTPSA",
    }
    return Assignment(delivery, Message(**{**facts, **changes}), recipient, return_path, 1)


HEADER = (
    b"From: News <news@example.org>\r\nTo: someone@example.net\r\nSubject: Hello\r\n folded\r\n"
    b"Date: Fri, 01 Nov 2024 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
)
