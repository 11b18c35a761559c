"""Second opinions on signatures: dkimpy, and OpenDKIM where it is installed."""

import base64
import shutil
import subprocess
import types
from pathlib import Path

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.compose.generate import record
from tests.compose.material import Keys

OPENDKIM = shutil.which("opendkim") or shutil.which("/usr/sbin/opendkim")


class _BadSignature(Exception):
    pass


class _VerifyKey:
    """As PyNaCl's, which dkimpy wants for Ed25519 and which is not installed: only the last step is ours, all before it is dkimpy's."""

    def __init__(self, key: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, octets: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, octets)
        except InvalidSignature as error:
            raise _BadSignature from error


if not hasattr(dkim, "nacl"):
    dkim.nacl = types.SimpleNamespace(
        signing=types.SimpleNamespace(VerifyKey=_VerifyKey),
        encoding=types.SimpleNamespace(Base64Encoder=None),
        exceptions=types.SimpleNamespace(BadSignatureError=_BadSignature, ValueError=ValueError),
    )


def dkimpy_says(message: bytes, keys: Keys, signatures: int = 1) -> list[bool]:
    """Whether each of the first `signatures` signatures of `message` is good."""
    return [_verifies(message, keys, number) for number in range(signatures)]


def _verifies(message: bytes, keys: Keys, number: int) -> bool:
    try:
        return bool(dkim.DKIM(message).verify(idx=number, dnsfunc=keys.dns))
    except dkim.ValidationError:  # the body's hash differs
        return False


def opendkim_says(message: bytes, keys: Keys, names: list[str], folder: Path) -> list[str]:
    """OpenDKIM's result for each signature, in order: `pass`, `fail` …; `names` are the DNS names that have a key."""
    assert OPENDKIM is not None
    records = {name: record(keys.ed25519 if name.startswith("ed") else keys.rsa) for name in names}
    (folder / "message.eml").write_bytes(message)
    (folder / "public-keys").write_text("".join(f"{name} {value}\n" for name, value in records.items()))
    (folder / "opendkim.conf").write_text(f"TestPublicKeys {folder / 'public-keys'}\nMode v\n")
    command = [OPENDKIM, "-x", str(folder / "opendkim.conf"), "-vv", "-t", str(folder / "message.eml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [line.split("dkim=")[1].split()[0].rstrip(";") for line in run.stdout.splitlines() if "dkim=" in line]
