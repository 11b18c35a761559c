"""Lists as files over HTTP, beside a running gateway: whole or nothing, bounded, and nothing left behind by a client that goes away."""

import contextlib
import http.client
import json
import socket
import time
from pathlib import Path

import psutil
import pytest

from mail.event import EventKind, unseal
from sandbox.scenario import Mailboxes
from tests.api.client import CONFIGURATION, KEYS, ask
from tests.durability.rig import free_port
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, serving

LIST = "email,reason,diagnostic\n" + "".join(f"p{number}@list.test,complaint,told us\n" for number in range(3))

KEY = f"Authorization: Bearer {KEYS['admin']}\r\n".encode()
HEAD = b"POST /v1/import/suppressions HTTP/1.1\r\nHost: api\r\nContent-Length: 100000\r\n" + KEY + b"\r\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    port = free_port()
    with internet([Mailboxes(name="boxes", domains=["boxes.test"])]) as (_, addresses):
        made = House(Path(tmp_path_factory.mktemp("api")), addresses, GROUND + OPEN_ACCOUNT + CONFIGURATION.replace("{api}", str(port)))
        made.api = port  # type: ignore[attr-defined]
        with serving(made):
            yield made
            assert not children(made), "no process is left behind"
        assert not made.complaints()


def children(house) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(house.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended while it was looked at
            if "contacts.hand" in " ".join(one.cmdline()):
                found.append(one)
    return found


def send(house, body: bytes, query: str = "format=csv", key: str = "admin") -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", house.api, timeout=60)
    try:
        connection.request("POST", f"/v1/import/suppressions?{query}", body, {"Authorization": f"Bearer {KEYS[key]}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def fetch(house, query: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", house.api, timeout=60)
    try:
        connection.request("GET", f"/v1/export/suppressions?{query}", headers={"Authorization": f"Bearer {KEYS['admin']}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_list_is_tried_imported_and_exported(house):
    status, dry = send(house, LIST.encode(), "format=csv&dry_run=true")
    assert (status, dry["done"], dry["added"]) == (200, False, 3)
    status, bad = send(house, LIST.encode() + b"nobody,complaint,\n")
    assert (status, bad["done"], bad["bad"]) == (422, False, ["line 5: no address"])
    assert fetch(house, "format=sha256")[1] == b""
    status, done = send(house, LIST.encode(), "format=csv&scope=account:shop&reason=unsubscribe")
    assert (status, done["added"], done["refused"]) == (200, 3, 0)
    (entry,) = ask(house.api, "GET", "/v1/suppressions/p1@list.test", "read")[1]["entries"]
    assert (entry["reason"], entry["account"], entry["batch"]) == ("unsubscribe", "shop", done["batch"])
    status, exported = fetch(house, "format=csv")
    assert status == 200
    assert sorted(line.split(b",")[0] for line in exported.splitlines()[1:]) == [b"p0@list.test", b"p1@list.test", b"p2@list.test"]
    assert fetch(house, "format=csv&since=2100-01-01")[1].count(b"\n") == 1
    file = house.folder / "data/events.ndjson"
    house.until(lambda: file.exists() and done["batch"].encode() in file.read_bytes(), "the event of the import")
    events = [event for event in map(unseal, file.read_bytes().splitlines()) if event.batch]
    assert [(event.kind, event.counts["added"]) for event in events] == [(EventKind.SUPPRESSION_IMPORTED, 3)]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("format=xml", "unknown format 'xml'"),
        ("format=csv&scope=moon", "unknown scope 'moon'"),
        ("format=csv&reason=dislike", "unknown reason 'dislike'"),
        ("format=csv&dry_run=perhaps", "dry_run"),
    ],
)
def test_a_bad_import_is_one_sentence(house, query, told):
    status, answer = send(house, LIST.encode(), query)
    assert status == 400
    assert told in answer["error"]


@pytest.mark.parametrize(
    ("query", "told"),
    [("format=xml", "unknown format"), ("format=mailgun", "several files"), ("format=csv&since=yesterday", "is no time")],
)
def test_a_bad_export_is_one_sentence(house, query, told):
    status, answer = fetch(house, query)
    assert status == 400
    assert told in json.loads(answer)["error"]


def test_files_are_for_admins_only(house):
    assert send(house, b"", key="write")[0] == 403
    assert ask(house.api, "GET", "/v1/export/suppressions", "read")[0] == 403


def test_an_import_whose_client_goes_away_or_stops_changes_nothing(house):
    for end in ("gone", "stops"):
        with socket.create_connection(("127.0.0.1", house.api), timeout=30) as client:
            client.sendall(HEAD + b"email,reason\ngone@list.test,complaint\n")
            house.until(lambda: children(house), "the import to begin")
            if end == "stops":
                assert client.recv(100).startswith(b"HTTP/1.1 408")
        house.until(lambda: not children(house), "its process to end")
    assert ask(house.api, "GET", "/v1/suppressions/gone@list.test", "read")[1]["entries"] == []


def test_clients_of_exports_that_go_away_at_any_moment_leave_their_places(house):
    request = b"GET /v1/export/suppressions?format=csv HTTP/1.1\r\nHost: api\r\n" + KEY + b"\r\n"
    for pause in (0, 0, 0.02, 0.1, 0.2, 0.3):
        with socket.create_connection(("127.0.0.1", house.api), timeout=30) as client:
            client.sendall(request)
            time.sleep(pause)
        house.until(lambda: not children(house), "its process to end")
    house.until(lambda: fetch(house, "format=csv")[0] == 200, "an export that is served")


def test_too_many_at_once_are_refused_and_soon_served(house):
    begun = []
    try:
        for _ in range(2):
            client = socket.create_connection(("127.0.0.1", house.api), timeout=30)
            client.sendall(HEAD)
            begun.append(client)
        house.until(lambda: len(children(house)) == 2, "two imports")
        assert fetch(house, "format=csv")[0] == 503
    finally:
        for client in begun:
            client.close()
    deadline = time.monotonic() + 20
    while fetch(house, "format=csv")[0] != 200:
        assert time.monotonic() < deadline
