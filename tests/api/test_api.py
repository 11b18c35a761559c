"""The HTTP API over a running gateway: keys and roles, the suppression list, and what strangers may send."""

import json
import socket
from pathlib import Path

import pytest

from sandbox.scenario import Mailboxes
from tests.api.client import CONFIGURATION, KEYS, ask
from tests.durability.rig import free_port
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, serving

PROVIDERS = [Mailboxes(name="boxes", domains=["boxes.test"])]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One gateway for all; each test uses addresses of its own."""
    port = free_port()
    with internet(PROVIDERS) as (_, addresses):
        made = House(Path(tmp_path_factory.mktemp("api")), addresses, GROUND + OPEN_ACCOUNT + CONFIGURATION.replace("{api}", str(port)))
        made.api = port  # type: ignore[attr-defined]
        with serving(made):
            yield made
        assert not made.complaints()


def test_an_address_is_added_explained_listed_and_removed(house):
    status, added = ask(house.api, "POST", "/v1/suppressions", "write", {"address": "Jo@one.test", "note": "asked by phone"})
    assert (status, added["address"]) == (201, "jo@one.test")
    status, why = ask(house.api, "GET", "/v1/suppressions/jo@one.test", "read")
    assert status == 200
    assert [(entry["reason"], entry["diagnostic"], entry["live"]) for entry in why["entries"]] == [("manual", "asked by phone", True)]
    assert added["added"] in [entry["id"] for entry in ask(house.api, "GET", "/v1/suppressions?limit=1000", "read")[1]["entries"]]
    assert ask(house.api, "DELETE", "/v1/suppressions/jo@one.test", "write")[1]["removed"] == [added["added"]]
    assert ask(house.api, "GET", "/v1/suppressions/jo@one.test", "read")[1]["entries"] == []


@pytest.mark.parametrize("key", ["", "mwk_stranger", "x" * 5000, "read\u00e9"])
def test_without_a_key_of_ours_nothing_is_told(house, key):
    try:
        status, answer = ask(house.api, "GET", "/v1/suppressions", key)
    except UnicodeError:
        return  # the client cannot send it
    assert status == 401
    assert "key" in answer["error"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/nothing", "/v1/events/"])
def test_strangers_do_not_learn_what_there_is(house, path):
    assert ask(house.api, "GET", path)[0] == 401
    assert ask(house.api, "GET", path, "read")[0] == 404


def test_a_body_is_not_read_for_strangers(house):
    stranger = HEAD.replace(KEYS["write"].encode(), b"mwk_stranger")
    assert raw(house.api, stranger + b"Content-Length: 1000\r\n\r\n{").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("body", [b"[" * 1900, b'{"address":"\xff\xfe"}', b"9" * 1900, b"{a,"])
def test_a_body_that_is_no_json_is_told_as_every_error_is(house, body):
    answer = raw(house.api, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 400")
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]


def test_a_key_opens_what_its_role_opens(house):
    body = {"address": "role@two.test"}
    assert ask(house.api, "POST", "/v1/suppressions", "read", body)[0] == 403
    assert ask(house.api, "DELETE", "/v1/suppressions/role@two.test", "read")[0] == 403
    assert ask(house.api, "POST", "/v1/suppressions", "admin", body)[0] == 201
    assert ask(house.api, "GET", "/v1/openapi.json", "read")[1]["info"]["title"] == "Mailwright"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/suppressions", {"address": "nobody"}, 400),
        ("POST", "/v1/suppressions", {"address": "a@three.test", "reason": "dislike"}, 400),
        ("POST", "/v1/suppressions", {"address": "a@three.test", "scope": "moon"}, 400),
        ("POST", "/v1/suppressions", {"address": "a@three.test", "colour": "red"}, 400),
        ("POST", "/v1/suppressions", {"address": ["a@three.test"]}, 400),
        ("POST", "/v1/suppressions", {"address": "a@three.test", "note": "x" * 1001}, 400),
        ("POST", "/v1/suppressions", ["a@three.test"] * 500, 413),
        ("GET", "/v1/suppressions?limit=0", None, 400),
        ("GET", "/v1/suppressions?since=yesterday", None, 400),
        ("GET", "/v1/suppressions/nobody", None, 400),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/suppressions", {}, 405),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(house, method, path, body, status):
    found, answer = ask(house.api, method, path, "admin", body)
    assert (found, list(answer)) == (status, ["error"])
    assert "three.test" not in str(ask(house.api, "GET", "/v1/suppressions?limit=1000", "read"))


def raw(port: int, data: bytes) -> bytes:
    """What the server says to these octets until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        got = b""
        while piece := connection.recv(65_536):
            got += piece
    return got


HEAD = (
    f"POST /v1/suppressions HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {KEYS['write']}\r\nContent-Type: application/json\r\n".encode()
)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (HEAD[:40], b""),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"HTTP/1.1 400"),
        (HEAD + b"Content-Length: 100\r\n\r\n{", b"HTTP/1.1 408"),
        (HEAD + b"Content-Length: 100000\r\n\r\n{", b"HTTP/1.1 413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n400\r\n" + b" " * 1024 + b"\r\n", b"HTTP/1.1 413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
        (b"\x16\x03\x01\x00\xff nothing of ours\r\n\r\n", b"HTTP/1.1 400"),
    ],
)
def test_what_strangers_send_ends_soon_and_harms_nobody(house, data, answer):
    assert raw(house.api, data)[: len(answer)] == answer
    assert ask(house.api, "GET", "/v1/suppressions", "read")[0] == 200
