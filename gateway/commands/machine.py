"""What this machine lacks for a configuration: addresses to send from and to listen on. For `mailwright check`; a warning, as the file may
be checked on another machine than it is for."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from config.settings import Settings
from config.units import split_host_port


def missing_addresses(settings: Settings) -> Iterator[str]:
    """One sentence for each address in `settings` that no interface of this machine has."""
    for source in settings.source:
        for address in (source.address, source.address6):
            if address is not None and not _is_here(address):
                yield f"source {source.name}: this machine does not have {address}; its lanes would rest"
    for listener in settings.listener:
        address = split_host_port(listener.address)[0]
        if not _is_here(address):
            yield f"listener {listener.name}: this machine does not have {address}; the gateway would not start"


def _is_here(address: str) -> bool:
    try:
        with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
