"""Certificates of the fake Internet: an authority of its own, and what hosts show: good ones, and each kind of bad one.

`self-signed` is signed by nobody; `good` by the authority for the host's names; `expired` ended yesterday; `wrong-name` is for somebody
else; `untrusted` is signed by an authority that nobody knows. Made when the sandbox starts and never written where they stay.
"""

import datetime
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.scenario import Certificate

_DAY = datetime.timedelta(days=1)


class Chain:
    """A certificate with its private key and the certificates above it, all PEM."""

    def __init__(self, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey, above: list[x509.Certificate]) -> None:
        self.leaf = leaf
        self.certificates = [leaf, *above]
        self.pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.certificates)
        self.key = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def context(self) -> ssl.SSLContext:
        """A server's TLS context that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory(prefix="mailwright-sandbox-") as folder:
            chain_file, key_file = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain_file.write_bytes(self.pem)
            key_file.touch(mode=0o600)
            key_file.write_bytes(self.key)
            context.load_cert_chain(chain_file, key_file)
        return context


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "Sandbox Authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = _builder(self._name, self._name, self._key.public_key(), now - _DAY, now + 30 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.certificate = builder.sign(self._key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: list[str], begin: datetime.datetime, end: datetime.datetime) -> Chain:
        """A certificate for the DNS `names`, with the authority's own above it."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(names), self._name, key.public_key(), begin, end)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(above, critical=False)
        return Chain(builder.sign(self._key, hashes.SHA256()), key, [self.certificate])


def chain(authority: Authority, names: list[str], kind: Certificate) -> Chain:
    """What a host called `names` shows when its certificate is of this `kind`."""
    now = datetime.datetime.now(datetime.UTC)
    match kind:
        case "self-signed":
            return self_signed(names)
        case "good":
            return authority.issue(names, now - _DAY, now + 30 * _DAY)
        case "expired":
            return authority.issue(names, now - 30 * _DAY, now - _DAY)
        case "wrong-name":
            return authority.issue(["somebody-else.test"], now - _DAY, now + 30 * _DAY)
        case "untrusted":
            return Authority("Nobody").issue(names, now - _DAY, now + 30 * _DAY)


def self_signed(names: list[str]) -> Chain:
    """A certificate for the DNS `names` that nobody vouches for, valid from yesterday for 30 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = _builder(_subject(names), _subject(names), key.public_key(), now - _DAY, now + 30 * _DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    return Chain(builder.sign(key, hashes.SHA256()), key, [])


def certificate(names: list[str]) -> tuple[bytes, bytes]:
    """PEM certificate and PEM private key that nobody vouches for."""
    made = self_signed(names)
    return made.pem, made.key


def server_context(names: list[str]) -> ssl.SSLContext:
    """A server's TLS context with such a certificate."""
    return self_signed(names).context()


def _subject(names: list[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
