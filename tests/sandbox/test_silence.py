"""An address where nobody answers."""

import socket

import pytest

from sandbox.silence import Silence


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.254.254", 0))
        return int(probe.getsockname()[1])


def test_a_connection_to_a_silent_address_is_neither_taken_nor_refused() -> None:
    port = free_port()
    silence = Silence("127.0.254.254", port)
    try:
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.254.254", port), timeout=0.2)
    finally:
        silence.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.254.254", port), timeout=5)


def test_a_silent_address_that_is_taken_is_an_error_and_leaves_no_socket() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.254.254", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            Silence("127.0.254.254", taken.getsockname()[1])
