"""Compose what one delivery sends: header, signatures, body (DESIGN section 3).

One Composer serves all connections. It is given an assignment, the bytes the application sent and what the next hop can take, and answers
with the parts to write, or with `Unsendable` when this message cannot be sent there. The body is hashed and the header canonicalised once
a message and kind of next hop, in a bounded cache; the signature is made once a delivery, RSA in a process of its own. A large message is
prepared in a thread, so that the loop is never held for long.

A caller that is cancelled loses its answer and nothing else. When no signature can be had (signing processes die again and again), the
answer is an `Unsendable` for now (451): the delivery is tried later. Reads no clock: it is given one.
"""

import asyncio
import collections
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from config.settings import Settings
from gateway.calls import Assignment, Message
from gateway.compose import dkim
from gateway.compose.canonical import relaxed_body
from gateway.compose.folding import fitting
from gateway.compose.headers import Removal, leaving_fields, received
from gateway.compose.keyring import Keyring
from gateway.compose.reencode import Impossible, reencode
from gateway.compose.signing import Signer, SigningFailed
from mail.message import read_header
from mail.outcome import Category, Fault
from mail.reply import Reply

LARGE = 200_000
"""Octets from which a message is prepared in a thread, not in the loop's."""
REMEMBERED = 512
"""Prepared messages that are kept."""
REMEMBERED_OCTETS = 16_000_000
"""Octets of re-encoded bodies that are kept with them."""


class Composed(msgspec.Struct, frozen=True, gc=False):
    """What to send: write `parts` in order. Lines end with CRLF, the last one too; nothing is dot-stuffed."""

    parts: list[bytes]
    size: int
    eight_bit: bool
    """Octets over 127: MAIL with BODY=8BITMIME where it is offered."""
    smtputf8: bool
    """MAIL needs the SMTPUTF8 parameter."""
    signed_by: str
    """Signing domains with commas between, "" for none."""


class Unsendable(msgspec.Struct, frozen=True, gc=False):
    """This message cannot be sent to this next hop, not now (4yz) or never (5yz). `reply` is ours (synthetic)."""

    reply: Reply
    category: Category
    fault: Fault


class _Prepared(msgspec.Struct, frozen=True, gc=False):
    """What all deliveries of a message to one kind of next hop share."""

    header: bytes
    """The fields that leave, ours but Received among them, with the empty line."""
    body: bytes | None
    """A re-encoded body; None: the body of the content, from `body_at`."""
    body_at: int
    signing: dkim.Prepared
    eight_bit: bool
    eight_bit_header: bool


class _Stop(Exception):
    """Carries an Unsendable out of a preparation."""

    def __init__(self, unsendable: Unsendable) -> None:
        super().__init__(str(unsendable.reply))
        self.unsendable = unsendable


def _unsendable(enhanced: str, text: str, category: Category, fault: Fault) -> Unsendable:
    return Unsendable(Reply(550, text, enhanced, synthetic=True), category, fault)


class Composer:
    """See the module. `clock` gives Unix time; `hostname` is the name in Received; `signed` is told the algorithm of each signature."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        hostname: str,
        clock: Callable[[], float],
        signed: Callable[[str], None] = lambda algorithm: None,
        signing_died: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._clock = clock
        self._signed = signed
        self._threads = ThreadPoolExecutor(1, "large-messages")
        self._signer = Signer(settings.sending.signing_processes, signing_died)
        self._prepared: collections.OrderedDict[tuple[int, bool], _Prepared] = collections.OrderedDict()
        self._octets = 0
        self.reconfigure(settings, keyring, hostname)

    def reconfigure(self, settings: Settings, keyring: Keyring, hostname: str) -> None:
        """Use new settings and keys from the next message on. The number of processes stays."""
        self._signer.forget_keys()
        self._keyring = keyring
        self._hostname = hostname
        self._gateway_domain = settings.gateway.domain or hostname
        self._removal = Removal(settings.labels)
        self._prepared.clear()
        self._octets = 0

    def begin(self) -> None:
        """Start the signing processes now, so that the first message need not wait for them. In the running loop."""
        self._signer.begin()

    def close(self) -> None:
        """End the thread and the signing processes; what is under way fails."""
        self._signer.close()
        self._threads.shutdown(cancel_futures=True)

    @property
    def remembered(self) -> tuple[int, int]:
        """Prepared messages kept, and octets of bodies with them: for the gauges."""
        return len(self._prepared), self._octets

    @property
    def waiting(self) -> int:
        """Signatures that are being made."""
        return self._signer.waiting

    def unsignable(self, from_domain: str) -> bool:
        """Whether mail From this domain is refused because no key signs it: the door asks, so that nobody learns it by a bounce."""
        return self._keyring.signers(from_domain).refused

    async def compose(self, assignment: Assignment, *, eight_bit_ok: bool, utf8_ok: bool, content: bytes) -> Composed | Unsendable:
        """What `assignment` sends to a next hop that offers 8BITMIME (`eight_bit_ok`) and SMTPUTF8 (`utf8_ok`), or why it cannot."""
        message = assignment.message
        signers = self._keyring.signers(message.from_domain)
        if signers.refused:
            return _unsendable("5.7.1", f"No DKIM key for {message.from_domain}", Category.POLICY, Fault.CONFIG)
        try:
            prepared = await self._prepare_once(message, content, message.eight_bit and not eight_bit_ok)
        except _Stop as stop:
            return stop.unsendable
        needs_utf8 = _needs_smtputf8(assignment, prepared)
        if needs_utf8 and not utf8_ok:
            text = "The message needs SMTPUTF8, which the next hop does not offer"
            return _unsendable("5.6.7", text, Category.CONTENT, Fault.CONTENT)  # RFC 6531 section 3.2
        try:
            fields = await self._sign(signers.keys, prepared.signing)
        except SigningFailed as failed:
            return Unsendable(Reply(451, f"Not signed: {failed}", "4.3.0", synthetic=True), Category.OTHER, Fault.CONFIG)
        head = b"".join([*fields, received(assignment, self._hostname), prepared.header])
        return _composed(head, prepared, content, needs_utf8, signers.signed_by)

    async def _sign(self, keys: tuple[dkim.Key, ...], prepared: dkim.Prepared) -> list[bytes]:
        """Signature fields in the order of `keys`; RSA in a signing process, Ed25519 here. Raises SigningFailed."""
        if not keys:
            return []
        now = self._clock()
        halves = [dkim.unsigned(key, prepared, now) for key in keys]
        slow = [self._signer.sign(key, half.digest) if key.slow else None for key, half in zip(keys, halves, strict=True)]
        fields = [dkim.sign(half) if made is None else dkim.finished(half, await made) for half, made in zip(halves, slow, strict=True)]
        for key in keys:
            self._signed(key.algorithm)
        return fields

    async def _prepare_once(self, message: Message, content: bytes, seven_bit: bool) -> _Prepared:
        known = (message.id, seven_bit)
        prepared = self._prepared.get(known)
        if prepared is not None:
            self._prepared.move_to_end(known)
            return prepared
        if len(content) < LARGE:
            prepared = self._prepare(message, content, seven_bit)
        else:
            prepared = await asyncio.get_running_loop().run_in_executor(self._threads, self._prepare, message, content, seven_bit)
        self._remember(known, prepared)
        return prepared

    def _prepare(self, message: Message, content: bytes, seven_bit: bool) -> _Prepared:
        """Runs in any thread: reads settings, changes nothing. Raises _Stop."""
        header = read_header(content)
        if header.oversized:
            raise _Stop(_unsendable("5.6.0", "The header is too large", Category.CONTENT, Fault.CONTENT))
        fields = fitting(leaving_fields(header, message, self._removal, self._gateway_domain))
        new_body: bytes | None = None
        body = content[header.body_at :]
        if seven_bit or message.long_lines:
            changed = reencode(fields, body, seven_bit=seven_bit)
            if isinstance(changed, Impossible):
                text = f"Conversion needed and not possible: {changed.why}"
                raise _Stop(_unsendable("5.6.3", text, Category.CONTENT, Fault.CONTENT))  # RFC 3463 section 3.7
            if changed.body is not body:
                fields, body, new_body = changed.fields, changed.body, changed.body
        block = b"\r\n".join([field.raw for field in fields]) + b"\r\n\r\n"
        signing = dkim.prepare(fields, dkim.body_hash(relaxed_body(body)))
        eight_bit_header = message.eight_bit and not block.isascii()
        eight_bit = eight_bit_header or (message.eight_bit and not body.isascii())
        return _Prepared(block, new_body, header.body_at, signing, eight_bit, eight_bit_header)

    def _remember(self, known: tuple[int, bool], prepared: _Prepared) -> None:
        """Keep it, drop the oldest: bounded in number and in octets."""
        if not known[0]:
            return
        octets = len(prepared.body or b"")
        if octets > REMEMBERED_OCTETS or known in self._prepared:
            return
        self._prepared[known] = prepared
        self._octets += octets
        while len(self._prepared) > REMEMBERED or self._octets > REMEMBERED_OCTETS:
            self._octets -= len(self._prepared.popitem(last=False)[1].body or b"")


def _needs_smtputf8(assignment: Assignment, prepared: _Prepared) -> bool:
    """Whether this delivery needs SMTPUTF8 (RFC 6531 section 3.2). A U-label alone does not: the domain can be sent as A-labels."""
    if not assignment.recipient.text.isascii() and not assignment.recipient.local.isascii():
        return True
    return not assignment.return_path.isascii() or (assignment.message.smtputf8 and prepared.eight_bit_header)


def _composed(head: bytes, prepared: _Prepared, content: bytes, smtputf8: bool, signed_by: str) -> Composed:
    body = content[prepared.body_at :] if prepared.body is None else prepared.body
    parts = [head]
    if body:
        parts.append(body)
        if not body.endswith(b"\r\n"):
            parts.append(b"\r\n")
    return Composed(parts, sum(map(len, parts)), prepared.eight_bit, smtputf8, signed_by)
