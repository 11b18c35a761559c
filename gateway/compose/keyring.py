"""Keys on disk: DKIM private keys named by the configuration, and the gateway's own token keys.

The one file of this room that does I/O; it is called at start and at a reload, never while a message is sent. Everything wrong is told at
once, each with its place. Files are bounded, new ones are created with mode 0600 and never written over; token keys are retired, never
deleted, and a file of them that cannot be read stops the start: new keys in its place would make every return path in the world invalid.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from config.sending import DkimAlgorithm, DkimKey, Domain
from config.settings import Settings
from gateway.compose.dkim import GOOD_RSA, Key, load_key
from gateway.compose.domains import Domains, bare_name
from mail.address import normalise_domain
from mail.token import SECRET_LENGTH, TokenKey, TokenKeys

MAX_FILE = 65_536
TOKEN_FILE = "token-keys.json"
_REMEMBERED = 16_384


class KeyringError(Exception):
    """Keys cannot be used; one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Signers(msgspec.Struct, frozen=True):
    """Who signs mail From a domain, in the order of the fields: its own RSA, its own Ed25519, the gateway's."""

    keys: tuple[Key, ...] = ()
    signed_by: str = ""
    """Signing domains with commas between, "" for none."""
    refused: bool = False
    """The configuration refuses mail From this domain without a key (550 5.7.1)."""


class Keyring:
    """All DKIM keys, loaded. `warnings` are for `check` and the log at start."""

    def __init__(
        self,
        domains: Iterable[Domain],
        gateway_domain: str,
        keys: dict[str, list[Key]],
        gateway_keys: list[Key],
        warnings: list[str] | None = None,
    ) -> None:
        """`keys` by the name of the configured domain, as written. At most one key of an algorithm in each list, RSA first."""
        self.warnings = warnings or []
        self._domains = Domains(domains)
        self._gateway_domain = normalise_domain(gateway_domain) or gateway_domain
        self._keys = keys
        self._gateway_keys = gateway_keys
        self._signers: dict[str, Signers] = {}

    def signers(self, from_domain: str) -> Signers:
        """Who signs mail From `from_domain` (normal form). The nearest configured domain with keys does, and the gateway's below it."""
        found = self._signers.get(from_domain)
        if found is None:
            found = self._choose(from_domain)
            if len(self._signers) < _REMEMBERED:
                self._signers[from_domain] = found
        return found

    def _choose(self, from_domain: str) -> Signers:
        candidates = self._domains.candidates(from_domain)
        gateway = self._gateway_keys
        own = next((self._keys[candidate.name] for candidate in candidates if self._keys.get(candidate.name)), [])
        if not own and candidates and not (gateway and from_domain == self._gateway_domain):
            match candidates[0].without_key:
                case "refuse":
                    return Signers(refused=True)
                case "unsigned":
                    return Signers()
                case "gateway":
                    pass
        keys = tuple(own) if own and own[0].domain == self._gateway_domain else (*own, *gateway)
        return Signers(keys, ",".join(dict.fromkeys(key.domain for key in keys)))


def load_keyring(settings: Settings, base: Path, hostname: str) -> Keyring:
    """All keys that `settings` names, files relative to `base`; `hostname` stands in for a gateway domain. Raises KeyringError."""
    problems: list[str] = []
    warnings: list[str] = []
    gateway_domain = settings.gateway.domain or settings.gateway.hostname or hostname
    gateway_name = normalise_domain(gateway_domain) or gateway_domain

    def load_all(place: str, name: str, configured: list[DkimKey]) -> list[Key]:
        loaded: list[Key] = []
        for entry in _first_of_each_algorithm(place, configured, warnings):
            try:
                loaded.append(_load(entry, name, base / entry.file, place, warnings))
            except (OSError, ValueError) as error:
                problems.append(f"{place}: selector {entry.selector}: {base / entry.file}: {error}")
        return sorted(loaded, key=lambda key: not key.slow)  # RSA above Ed25519: some verifiers look at the first signature only

    keys = {domain.name: load_all(f"domain {domain.name}", bare_name(domain), domain.dkim) for domain in settings.domain}
    gateway_keys = load_all("gateway", gateway_name, settings.gateway.dkim)
    if problems:
        raise KeyringError(problems)
    return Keyring(settings.domain, gateway_name, keys, gateway_keys, warnings)


def _first_of_each_algorithm(place: str, configured: list[DkimKey], warnings: list[str]) -> list[DkimKey]:
    used: dict[DkimAlgorithm, DkimKey] = {}
    for entry in configured:
        used.setdefault(entry.algorithm, entry)
    warnings.extend(
        f"{place}: {used[entry.algorithm].selector} signs and {entry.selector} does not. "
        "Leave the DNS record of a selector that has signed for a week after its last message."
        for entry in configured
        if used[entry.algorithm] is not entry
    )
    return list(used.values())


def _load(entry: DkimKey, name: str, file: Path, place: str, warnings: list[str]) -> Key:
    if not name.isascii() or not _is_selector(entry.selector):
        raise ValueError("domain or selector is not a DNS name")
    pem, mode = _read(file)
    key = load_key(pem, name, entry.selector)
    if key.slow != (entry.algorithm is DkimAlgorithm.RSA_SHA256):
        raise ValueError(f"the key is not for {entry.algorithm}")
    bits = getattr(key.private, "key_size", GOOD_RSA)
    if bits < GOOD_RSA:
        warnings.append(f"{place}: selector {entry.selector}: RSA key of {bits} bits; use {GOOD_RSA} (RFC 8301 section 3.2)")
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        warnings.append(f"{place}: {file}: others may read or change the private key; chmod 600 or 640")
    return key


def _is_selector(selector: str) -> bool:
    return selector.isascii() and normalise_domain(selector) == selector.lower()


def _read(file: Path) -> tuple[bytes, int]:
    """Contents and mode of a small regular file. Raises OSError, or ValueError when it is something else."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")
        with os.fdopen(handle, "rb", closefd=False) as opened:
            octets = opened.read(MAX_FILE + 1)
    finally:
        os.close(handle)
    if len(octets) > MAX_FILE:
        raise ValueError(f"over {MAX_FILE} octets")
    return octets, stat.S_IMODE(status.st_mode)


def write_private(file: Path, octets: bytes) -> None:
    """A new file of mode 0600 with `octets`, whole and on disk. Raises FileExistsError rather than write over one."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(octets)
            opened.flush()
            os.fsync(opened.fileno())
        os.link(draft, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _StoredKey(msgspec.Struct):
    id: str
    secret: str
    retired: bool = False


class _StoredKeys(msgspec.Struct):
    keys: list[_StoredKey]


def load_token_keys(data: Path) -> TokenKeys:
    """The token keys of the data folder, created at the first start. Raises KeyringError when they are there and cannot be used."""
    file = data / TOKEN_FILE
    try:
        return _token_keys(file)
    except FileNotFoundError:
        pass
    with contextlib.suppress(FileExistsError):  # somebody else was faster: theirs hold
        write_private(file, _stored(TokenKeys(()).with_new(secrets.token_bytes(SECRET_LENGTH))))
    return _token_keys(file)


def rotate_token_keys(data: Path) -> TokenKeys:
    """Retire the key in use and add a new one. Old tokens stay valid. Raises KeyringError."""
    file = data / TOKEN_FILE
    try:
        rotated = _token_keys(file).with_new(secrets.token_bytes(SECRET_LENGTH))
    except (FileNotFoundError, ValueError) as error:
        raise KeyringError([f"{file}: {error}"]) from error
    draft = file.with_name(f"{TOKEN_FILE}.{secrets.token_hex(4)}")
    write_private(draft, _stored(rotated))
    draft.replace(file)
    _sync_folder(data)
    return rotated


def _token_keys(file: Path) -> TokenKeys:
    try:
        octets, mode = _read(file)
        stored = msgspec.json.decode(octets, type=_StoredKeys).keys
        keys = TokenKeys(tuple(TokenKey(key.id, bytes.fromhex(key.secret), key.retired) for key in stored))
        keys.current()
    except FileNotFoundError:
        raise
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise KeyringError(
            [f"{file}: token keys cannot be read: {error}. Restore the file; without it no bounce finds its message."]
        ) from error
    if any(len(key.secret) < SECRET_LENGTH or len(key.id) != 1 for key in keys.keys):
        raise KeyringError([f"{file}: a token key is damaged"])
    if mode & 0o077:
        raise KeyringError([f"{file}: others may read the token keys; chmod 600 it"])
    return keys


def _stored(keys: TokenKeys) -> bytes:
    return msgspec.json.encode(_StoredKeys([_StoredKey(key.id, key.secret.hex(), key.retired) for key in keys.keys]))
