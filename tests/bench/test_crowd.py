"""The bench of a crowd works, and an idle TLS connection is cheap whatever it sent before."""

import pytest

from bench.crowd.__main__ import MOST_OCTETS, memory, pair, running, send, slow_kinds
from bench.relay.load import message

pytestmark = pytest.mark.slow


def test_an_idle_tls_connection_is_cheap_after_a_large_message_and_a_crowd_stands_to_the_end() -> None:
    with running() as gateway:
        send(gateway.port, 50, message(10_000))
        memory(gateway, "user in the clear", 100, 2.0)
        assert memory(gateway, "user", 100, 2.0) < MOST_OCTETS
        alone, crowded = pair(gateway, {"idle": 20, **slow_kinds(20)}, 50, crowd_first=False)
        assert alone > 0
        assert crowded > 0
