"""A door on a free port of loopback, a core that takes everything, a notebook for an observer, and certificates of our own."""

import asyncio
import contextlib
import datetime
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.sending import Domain, Stream
from config.settings import Settings
from config.submission import Account, Listener
from gateway.calls import Committed, Refused, Submission
from gateway.doors.passwords import hash_password
from gateway.doors.submission import SubmissionDoor
from mail.reply import Reply

PASSWORD = "correct horse"


class Notebook:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.facts: list[tuple[object, ...]] = []

    def listening(self, listener: str, address: str, tls: str) -> None:
        self.facts.append(("listening", listener, address, tls))

    def unopened(self, listener: str, error: str) -> None:
        self.facts.append(("unopened", listener, error))

    def connected(self, listener: str, client: str) -> None:
        self.facts.append(("connected", listener))

    def left(self, listener: str, client: str) -> None:
        self.facts.append(("left", listener))

    def refused(self, listener: str, client: str, account: str, command: str, reason: str, reply: Reply) -> None:
        self.facts.append(("refused", account, command, reason, reply.code))

    def cut(self, listener: str, client: str, account: str, reason: str) -> None:
        self.facts.append(("cut", account, reason))

    def logins_blocked(self, listener: str, client: str, failures: int, seconds: float) -> None:
        self.facts.append(("logins blocked", client, failures, round(seconds)))

    def unknown_stream(self, account: str, stream: str, used: str) -> None:
        self.facts.append(("unknown stream", account, stream, used))

    def label_ignored(self, account: str, header: str, label: str, why: str) -> None:
        self.facts.append(("label ignored", account, header, label, why))

    def certificate(self, listener: str, file: str, error: str) -> None:
        self.facts.append(("certificate", bool(error)))

    def trouble(self, where: str, error: BaseException) -> None:
        self.facts.append(("trouble", where, type(error).__name__))

    def of(self, kind: str) -> list[tuple[object, ...]]:
        return [fact[1:] for fact in self.facts if fact[0] == kind]


class Core:
    """Takes every message, unless told otherwise; `gate`, when set, holds answers back until it is opened."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.refusal: Reply | None = None
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def accept(self, submission: Submission) -> Committed | Refused:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.refusal is not None:
            return Refused(self.refusal)
        self.taken.append(submission)
        return Committed(len(self.taken), list(range(len(submission.recipients))))


class Peer:
    """A client in the test's own hands: sends octets, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode())

    async def reply(self) -> str:
        """One reply, all its lines; "" at the end of the connection."""
        lines: list[str] = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            lines.append(line)
            if not line or line[3:4] != "-":
                return "".join(lines).replace("\r\n", "\n").strip()

    async def say(self, text: str | bytes) -> str:
        """Send one command, read its reply."""
        self.send(text)
        return await self.reply()

    def reset(self) -> None:
        """Vanish: the other side gets a TCP reset, not the end of a stream."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def ended(self) -> bool:
        """The server has closed."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10) == b""
        except ConnectionError:
            return True


class House:
    """A running door and everything around it. `now` is the clock's time, which a test may set."""

    def __init__(self, settings: Settings) -> None:
        self.core = Core()
        self.notebook = Notebook()
        self.now = 1_750_000_000.0
        self.prefetched: list[str] = []
        self.paused: list[float] = []
        self.door = SubmissionDoor(
            settings, self.core.accept, self.notebook, "mx.example.com", lambda: self.now, self.prefetched.append, self.pause
        )

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    @property
    def port(self) -> int:
        return self.door.addresses["submission"][1]

    def sweep(self, seconds: float) -> None:
        """The sweeper comes by, so many seconds from now."""
        for listener in self.door._listeners.values():
            listener.sweep(asyncio.get_running_loop().time() + seconds)

    async def connect(self, greet: bool = True, hello: bool = True, address: str = "127.0.0.1") -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        peer = Peer(reader, writer)
        if greet:
            assert (await peer.reply()).startswith("220 ")
            if hello:
                assert (await peer.say("EHLO client.example\n")).startswith("250")
        return peer


def settings_of(
    listener: Listener | None = None, accounts: list[Account] | None = None, domains: tuple[str, ...] = ("example.com",)
) -> Settings:
    return Settings(
        listener=[listener or Listener(address="127.0.0.1:0")],
        account=accounts or [Account(name="default")],
        domain=[Domain(name=name) for name in domains],
        stream=[Stream(name="default"), Stream(name="receipts", kind="transactional"), Stream(name="news")],
    )


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the loop run until something is true, and fail when it does not become so."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    house = House(settings)
    await house.door.start()
    try:
        yield house
    finally:
        await house.door.close(0)


PASSWORD_HASH = hash_password(PASSWORD)


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for localhost: certificate and key file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


def trusting() -> ssl.SSLContext:
    """A client that looks at no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
