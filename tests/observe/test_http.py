"""The status page, asked by a real client."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from gateway.observe.health import Health
from gateway.observe.http import StatusServer
from gateway.observe.metrics import Metrics


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.fixture
def server(health: Health) -> Iterator[StatusServer]:
    server = StatusServer(("127.0.0.1", 0), Metrics("9").registry, health)
    yield server
    server.close()


def _get(server: StatusServer, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_are_served(server: StatusServer) -> None:
    status, text = _get(server, "/metrics")
    assert status == 200
    assert 'mailwright_build_info{version="9"} 1.0' in text


def test_readyz_names_what_is_broken(server: StatusServer, health: Health) -> None:
    assert _get(server, "/readyz")[0] == 200
    assert health.broken("disk", "no space on /var")
    assert not health.broken("disk", "still no space")
    status, text = _get(server, "/readyz")
    assert status == 503
    assert json.loads(text) == {"ready": False, "broken": {"disk": "still no space"}}
    assert health.well("disk")
    assert not health.well("disk")
    assert _get(server, "/readyz")[0] == 200
    assert health.conditions() == {"disk": False}


def test_healthz_fails_when_the_mail_loop_stands_still(server: StatusServer, health: Health, clock: Clock) -> None:
    assert _get(server, "/healthz") == (200, "ok\n")
    clock.now += 31
    assert _get(server, "/healthz")[0] == 503
    health.beat()
    assert _get(server, "/healthz")[0] == 200


def test_other_paths_and_methods_are_refused(server: StatusServer) -> None:
    assert _get(server, "/")[0] == 404
    assert _get(server, "/metrics", "POST")[0] == 501
    assert _get(server, "/healthz", "HEAD") == (200, "")


def test_clients_that_say_nothing_do_not_keep_others_out(server: StatusServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    assert _get(server, "/healthz")[0] == 200
    for connection in silent:
        connection.close()
