"""Everything secret or trusted that the configuration names, read at start and at a reload: keys, certificates, authorities."""

from pathlib import Path

from config.settings import Settings
from gateway.compose.keyring import Keyring, KeyringError, load_keyring
from gateway.delivery.network import authorities_problems
from gateway.doors.certificates import problems as certificate_problems


def load_keys(settings: Settings, hostname: str) -> Keyring:
    """Every key that `settings` name. Raises KeyringError with all that cannot be used, certificates and authorities among it."""
    unusable = [*certificate_problems(settings.listener), *authorities_problems(settings.sending.tls.authorities)]
    try:
        keyring = load_keyring(settings, Path(), hostname)
    except KeyringError as error:
        raise KeyringError([*error.problems, *unusable]) from error
    if unusable:
        raise KeyringError(unusable)
    return keyring
