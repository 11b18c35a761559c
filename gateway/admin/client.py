"""The other end of the control socket, for the command line. Blocking; one call a connection."""

import socket
from pathlib import Path
from typing import Any

import msgspec

from gateway.admin.calls import CallError
from gateway.admin.server import SOCKET

PATIENCE = 600.0
"""Seconds to wait for an answer: a cancel of a million deliveries takes a while."""


class NotRunning(Exception):
    """No gateway runs on this data folder."""


def call(folder: Path, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make one call. Raises NotRunning, or CallError when the gateway refused it or went away."""
    path = str(folder / SOCKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(f"no gateway is running on {folder}") from error
        except OSError as error:
            raise CallError(f"cannot speak to the gateway on {folder}: {error.strerror or error}") from error
        try:
            connection.sendall(msgspec.json.encode({"call": name, "arguments": arguments}) + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except OSError as error:
            raise CallError(f"the gateway went away: {error.strerror or error}") from error
    if not line:
        raise CallError("the gateway went away before it answered")
    answer = msgspec.json.decode(line)
    if not answer.get("ok"):
        raise CallError(str(answer.get("error", "refused")))
    result: dict[str, Any] = answer["result"]
    return result
