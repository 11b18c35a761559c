"""Signatures: the example of RFC 8463, what is signed and what is not, and keys that are refused."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from gateway.compose.canonical import relaxed_body, relaxed_value
from gateway.compose.dkim import Key, Prepared, Unsigned, body_hash, load_key, prepare, sign, unsigned
from mail.message import fields, split
from tests.compose.material import HEADER, NOW, Keys

# RFC 8463 appendix A
MESSAGE = (
    b"From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n"
    b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
)
SIGNATURE_FIELD = (
    b" v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b="
)
SIGNED_NAMES = (b"from", b"to", b"subject", b"date", b"message-id")
SECRET = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
WEAK_512 = b"""-----BEGIN PRIVATE KEY-----
MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEA6LnV2INPzHlTLGqD
m8s/2nsDprDTvIY6KjEnEh5lyy/ZOh+1RrqlUhHxQZQo3N7PEtoy04094AIM2bI1
cxOGAwIDAQABAkB0aTCswtJRx4ZxOz5l2b8w/EORR/ZB4SqLHFcc2xO0FGDDiXEw
tYMKOkl+fbZwYgkKyxdsuO2IWWgEUfd2lrtBAiEA/hWocZ3EeITW1WUMIlH3N3xe
eKt6g0p0jTCuGfCpfHMCIQDqevVkaRPCEWz+9iLPwLTCTCeW7EyPv68DQytHqHl8
MQIhANvvsWwPrdbI3hG/sx4uJzl/TWNUw+rL01G4FqxblsojAiAdB9At+Fx74JBw
GKVCt4cprygPpX3tJjxS2RQYsSEpYQIgSip8+tY6ludf4rAwlJXz79B3PSXZ5ZgQ
IoTJaP/qf6Q=
-----END PRIVATE KEY-----
"""
B = b"/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="


def test_the_example_of_rfc_8463_is_reproduced() -> None:
    header, body = split(MESSAGE)
    assert body_hash(relaxed_body(body)) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    found = {field.name: field for field in fields(header)}
    signed = b"".join(b"%b:%b\r\n" % (name, relaxed_value(found[name].raw.partition(b":")[2])) for name in SIGNED_NAMES)
    digest = hashlib.sha256(signed + b"dkim-signature:" + relaxed_value(SIGNATURE_FIELD)).digest()
    key = Key("football.example.com", "brisbane", Ed25519PrivateKey.from_private_bytes(SECRET))
    written = sign(Unsigned(key, SIGNATURE_FIELD, digest))
    assert written.rpartition(b"b=")[0].endswith(b";\r\n ")
    assert written[written.rindex(b"\r\n b=") + 5 :].replace(b"\r\n ", b"").strip() == B


def test_the_canonical_form_of_our_field_is_itself_without_folds(keys: Keys) -> None:
    prepared = prepare(fields(HEADER), body_hash(b"x\r\n"))
    for private in (keys.rsa, keys.ed25519):
        half = unsigned(Key("example.org", "s1", private), prepared, NOW)
        assert relaxed_value(half.field) == half.field.replace(b"\r\n ", b" ")
        digest = hashlib.sha256(prepared.header + b"dkim-signature:" + relaxed_value(half.field)).digest()
        assert digest == half.digest


def test_no_line_of_a_signature_is_long(keys: Keys) -> None:
    prepared = prepare(fields(HEADER), body_hash(b"x\r\n"))
    for field in [sign(unsigned(Key("example.org", "s1", private), prepared, NOW)) for private in (keys.rsa, keys.ed25519)]:
        assert field.startswith(b"DKIM-Signature: v=1; ")
        assert field.endswith(b"\r\n")
        assert max(map(len, field.split(b"\r\n"))) <= 78


def names_of(prepared: Prepared) -> list[bytes]:
    return prepared.names.replace(b"\r\n ", b"").split(b":")


def test_fields_a_forger_would_add_are_named_once_more_than_they_are_there() -> None:
    names = names_of(prepare(fields(HEADER), b""))
    assert {name: names.count(name) for name in (b"from", b"cc", b"feedback-id", b"list-unsubscribe")} == {
        b"from": 2,
        b"cc": 1,
        b"feedback-id": 1,
        b"list-unsubscribe": 1,
    }


def test_trace_fields_are_never_signed_and_others_only_when_present() -> None:
    names = names_of(prepare(fields(b"Received: x\r\nReturn-Path: <a@b>\r\nReferences: <a@b>\r\nX-Mailer: y\r\n" + HEADER), b""))
    assert b"received" not in names
    assert b"return-path" not in names
    assert b"x-mailer" not in names
    assert names.count(b"references") == 1
    assert b"in-reply-to" not in names


def test_of_several_fields_the_lowest_is_signed_first() -> None:
    prepared = prepare(fields(b"To: one\r\nSubject: s\r\nTo: two\r\n"), b"")
    assert prepared.header == b"to:two\r\nto:one\r\nsubject:s\r\n"
    assert names_of(prepared).count(b"to") == 3


def pem_of(private: object) -> bytes:
    return private.private_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_keys_that_verifiers_would_refuse_are_refused() -> None:
    with pytest.raises(ValueError, match="512 bits"):
        load_key(WEAK_512, "example.org", "s1")
    with pytest.raises(ValueError, match="neither RSA nor Ed25519"):
        load_key(pem_of(ec.generate_private_key(ec.SECP256R1())), "example.org", "s1")
    with pytest.raises(ValueError, match="no PEM"):
        load_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "example.org", "s1")


def test_an_encrypted_key_is_refused_with_advice() -> None:
    private = generate_private_key(65_537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(ValueError, match="encrypted"):
        load_key(pem, "example.org", "s1")


def test_both_kinds_of_key_load(keys: Keys) -> None:
    assert load_key(keys.pem(keys.rsa), "example.org", "s1").slow
    assert not load_key(keys.pem(keys.ed25519), "example.org", "s1").slow
