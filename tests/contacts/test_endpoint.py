"""Webhooks against a receiver that verifies with the public library: once each, in order, through everything a receiver does."""

import asyncio
import contextlib
import itertools
import random
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from contacts.endpoint import REFUSALS, Endpoint, EndpointRoad, Wanted, batch_of
from contacts.letters import Letters
from contacts.post import Target, Unreached, is_public, post, verified
from contacts.trouble import StoreError
from contacts.webhook import WebhookSecret
from mail.event import Event, EventKind, seal
from tests.contacts.receiver import SECRET, Receiver

DAY = 86_400.0


class Log(list):
    """An event log in memory."""

    @property
    def newest(self):
        return len(self)

    def page(self, after, limit):
        return [(position, line) for position, line in enumerate(self[after : after + limit], after + 1)]

    def happens(self, count, at=None, kind=EventKind.DELIVERED, stream="news"):
        for _ in range(count):
            number = len(self) + 1
            moment = time.time() if at is None else at
            self.append(seal(Event(f"d{number}.1", kind, moment, f"p{number % 7}@example.org", account="shop", stream=stream)))


class Watch:
    def __init__(self):
        self.position, self.events, self.dead, self.skipped, self.said = 0, 0, [], 0, []

    def reached(self, position, events):
        assert position >= self.position
        self.position, self.events = position, self.events + events

    def working(self, born): ...

    def died(self, letter, why):
        self.dead.append((letter.events, why))

    def passed_over(self, events):
        self.skipped += events

    def told(self, trouble):
        self.said.append(trouble)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


class Road:
    """A road with a clock that a test holds: waiting moves it."""

    def __init__(self, folder, receiver_or_url, now=None, real=False, bound=10**9, **more):
        url = receiver_or_url if isinstance(receiver_or_url, str) else receiver_or_url.url
        target = Target(url, more.pop("timeout", 5.0), more.pop("private", True), more.pop("tls", None))
        wanted = Wanted(**{key: frozenset(more.pop(key)) for key in ("kinds", "accounts", "streams") if key in more})
        self.endpoint = Endpoint("crm", target, (WebhookSecret(SECRET),), wanted, more.pop("batch", 10), more.pop("give_up", 4 * DAY))
        self.log, self.watch = Log(), Watch()
        self.now = time.time() if now is None else now
        self.folder, self.bound, self.real = folder, bound, real
        self.waits = []
        self.ids = (f"mw_{number}" for number in itertools.count())

    async def pause(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def running(self):
        letters, thread = Letters(self.folder), ThreadPoolExecutor(1)
        beside = Letters(self.folder)  # a connection of the test's own: the road's is its thread's
        letters.begin("crm", 0)
        road = EndpointRoad(
            self.endpoint,
            letters,
            thread,
            self.log,
            self.watch,
            lambda: next(self.ids),
            lambda: self.now,
            random.Random(1),
            letters.positions()["crm"],
            self.bound,
            None if self.real else self.pause,
        )
        task = asyncio.create_task(road.run())
        try:
            yield road, beside
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            road.close()
            thread.shutdown()
            letters.close()
            beside.close()

    async def settles(self):
        async with asyncio.timeout(30):
            while self.watch.position < self.log.newest:
                await asyncio.sleep(0.001)


def ordered(events):
    """Whether the events of each address are in the order of the log, and none is there twice."""
    last: dict[str, int] = {}
    for event in events:
        if event["position"] <= last.get(event["recipient"], 0):
            return False
        last[event["recipient"]] = event["position"]
    return True


def test_events_arrive_signed_in_batches_in_order(tmp_path, receiver):
    async def run():
        road = Road(tmp_path, receiver, batch=10)
        road.log.happens(95)
        async with road.running():
            await road.settles()
        assert [event["id"] for event in receiver.events] == [f"d{number}.1" for number in range(1, 96)]
        assert [len(events) for _, events in receiver.requests] == [10] * 9 + [5]
        assert (road.watch.position, road.watch.events, road.watch.dead) == (95, 95, [])

    asyncio.run(run())


def test_only_what_is_wanted_is_sent_and_the_rest_counts_as_settled(tmp_path, receiver):
    async def run():
        road = Road(tmp_path, receiver, kinds=["bounced"], streams=["news"])
        road.log.happens(600)
        road.log.happens(3, kind=EventKind.BOUNCED)
        road.log.happens(3, kind=EventKind.BOUNCED, stream="receipts")
        road.log.append(b"no event")
        async with road.running():
            await road.settles()
        assert [event["position"] for event in receiver.events] == [601, 602, 603]
        assert road.watch.position == 607

    asyncio.run(run())


def test_a_receiver_down_for_a_day_gets_everything_afterwards_in_order(tmp_path, receiver):
    """Every retry is the same request under the same id; a gateway that is killed in between goes on with it."""

    async def run():
        back = time.time()
        down = True
        receiver.verify = False  # the day is simulated: the signatures' times are checked by what is sent after it
        receiver.answer = lambda events: 503 if down else 204
        road = Road(tmp_path, receiver, now=back - DAY)
        for _ in range(4):
            async with road.running():
                end = road.now + DAY / 4
                while road.now < end:
                    road.log.happens(5, at=road.now)
                    await road.pause(1.0)
                    await asyncio.sleep(0.002)
        tried = [(identity, events) for identity, events in receiver.requests]
        assert len({identity for identity, _ in tried}) == 1, "one request under way, whatever was restarted"
        assert all(events == tried[0][1] for _, events in tried)
        assert max(road.waits) >= 3600
        road.now, down, receiver.verify = back, False, True
        async with road.running():
            await road.settles()
        assert [event["position"] for event in receiver.events] == list(range(1, road.log.newest + 1))
        assert ordered(receiver.events)
        assert next(iter(receiver.taken)) == tried[0][0]
        assert not road.watch.dead

    asyncio.run(run())


def test_what_grows_too_old_while_a_receiver_is_down_is_dead_and_can_be_replayed(tmp_path, receiver):
    async def run():
        begun = time.time()
        road = Road(tmp_path, receiver, now=begun, give_up=DAY)
        receiver.verify, receiver.answer = False, lambda events: 500 if len(road.watch.dead) < 3 else 204
        road.log.happens(25, at=begun)
        async with road.running() as (_, letters):
            while len(road.watch.dead) < 3:
                await asyncio.sleep(0.001)
            road.log.happens(5, at=begun + 10_000 * DAY)  # just now, whatever the clock of this test says
            await road.settles()
            dead = letters.dead("crm")
            assert [(letter.events, letter.tries > 0) for letter in dead] == [(10, True), (10, False), (5, False)]
            assert [event["position"] for event in receiver.events] == [26, 27, 28, 29, 30]
            assert letters.replay("crm", dead[1].id) == 1
            while len(receiver.events) < 15:
                await asyncio.sleep(0.001)
            assert [event["position"] for event in receiver.taken[dead[1].id]] == list(range(11, 21)), "the same request, its old id"
            assert letters.replay("crm") == 2
            while letters.dead():
                await asyncio.sleep(0.001)
            assert len(receiver.events) == 30

    asyncio.run(run())


def test_a_content_that_is_refused_is_found_alone_and_the_rest_goes_on(tmp_path, receiver):
    async def run():
        receiver.verify = False
        receiver.answer = lambda events: 422 if any(event["id"] == "d13.1" for event in events) else 204
        road = Road(tmp_path, receiver, batch=16)
        road.log.happens(40)
        async with road.running() as (_, letters):
            await road.settles()
            [letter] = letters.dead()
            assert (letter.events, letter.why) == (1, "answered 422")
            assert b'"d13.1"' in letters.dead_letter(letter.id).body
        assert sorted(event["position"] for event in receiver.events) == [number for number in range(1, 41) if number != 13]
        assert ordered(receiver.events)
        assert sum(1 for _, events in receiver.requests if [event["id"] for event in events] == ["d13.1"]) == REFUSALS

    asyncio.run(run())


def test_an_endpoint_too_far_behind_loses_its_oldest_and_says_so(tmp_path, receiver):
    async def run():
        receiver.verify, receiver.answer = False, lambda events: 500
        road = Road(tmp_path, receiver, bound=100)
        road.log.happens(10)
        async with road.running():
            while not receiver.requests:
                await asyncio.sleep(0.001)
            road.log.happens(500)
            while not road.watch.skipped:
                await asyncio.sleep(0.001)
            receiver.answer = lambda events: 204
            await road.settles()
        positions = [event["position"] for event in receiver.events]
        assert positions == [*range(1, 11), *range(421, 511)], "the request under way stays, then the newest nine tenths of the bound"
        assert road.watch.skipped == 410

    asyncio.run(run())


def test_dead_letters_are_bounded_too(tmp_path, receiver):
    async def run():
        begun = time.time()
        receiver.verify, receiver.answer = False, lambda events: 500
        road = Road(tmp_path, receiver, now=begun, give_up=DAY, bound=300)
        async with road.running() as (_, letters):
            for _ in range(60):
                road.log.happens(10, at=begun)
                while len(road.watch.dead) * 10 < len(road.log):
                    await asyncio.sleep(0.001)
            while road.watch.skipped < 300:
                await asyncio.sleep(0.001)
            kept = letters.dead(limit=1000)
            assert [letter.until for letter in kept] == list(range(310, 601, 10)), "the newest stay"
            assert road.watch.skipped == 300

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (301, [("location", "http://localhost:1/")], "answered 301: redirects are not followed"),
        (503, [("retry-after", "3500")], "answered 503"),
        (100, [], "too many interim answers"),
        (200, [("x", "y" * 40_000)], "too long a header"),
    ],
)
def test_answers_that_do_not_take_are_failures(tmp_path, receiver, status, headers, why):
    async def run():
        if status == 100:
            url = await interim()
        else:
            receiver.answer, receiver.extra, url = (lambda events: status), headers, receiver.url
        road = Road(tmp_path, url)
        road.log.happens(1)
        async with road.running():
            while not road.waits:
                await asyncio.sleep(0.001)
        assert why in road.watch.said[0]
        assert road.waits[0] >= (3500 if status == 503 else 5.0)

    asyncio.run(run())


async def interim():
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def test_a_slow_answer_ends_with_the_time_and_a_garbled_one_is_told(tmp_path):
    async def run():
        async def drip(reader, writer):
            with contextlib.suppress(OSError):
                for letter in b"HTTP/1.1 200 OK\r\n":
                    writer.write(bytes([letter]))
                    await asyncio.sleep(0.2)

        async def garble(reader, writer):
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

        names = ThreadPoolExecutor(1)
        for talk, why in ((drip, "no answer within 0.5 s"), (garble, "not HTTP/1.1")):
            server = await asyncio.start_server(talk, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            begun = time.monotonic()
            answer = await post(Target(f"http://127.0.0.1:{port}/", 0.5, True), {}, b"{}", names)
            assert isinstance(answer, Unreached)
            assert why in answer.why
            assert time.monotonic() - begun < 5
            server.close()
        names.shutdown()

    asyncio.run(run())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fc00::1"],
)
def test_addresses_inside_are_known_in_any_disguise(address):
    assert not is_public(address)
    for disguised in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:0a00:0001::", "::"):
        assert not is_public(disguised)
    assert is_public("198.41.0.4")
    assert is_public("2001:503:ba3e::2:30")


def test_a_name_that_leads_inside_is_not_connected_to(receiver):
    async def run():
        names = ThreadPoolExecutor(1)
        answer = await post(Target(receiver.url, 5.0), {"webhook-id": "x"}, b"{}", names)
        assert answer == Unreached("localhost leads to a private address, which allow_private does not allow")
        assert not receiver.requests
        names.shutdown()

    asyncio.run(run())


def test_the_certificate_is_verified(tmp_path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver = Receiver(tls=context)

    async def run():
        road = Road(tmp_path, receiver, tls=verified(str(certificate)))
        road.log.happens(3)
        async with road.running():
            await road.settles()
        assert len(receiver.events) == 3
        names = ThreadPoolExecutor(1)
        answer = await post(Target(receiver.url, 5.0, True, verified(None)), {}, b"{}", names)
        assert isinstance(answer, Unreached)
        assert "certificate" in answer.why
        names.shutdown()

    try:
        asyncio.run(run())
    finally:
        receiver.close()


def self_signed(folder):
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_batch_ends_at_its_count_and_its_size():
    log = Log()
    log.happens(5)
    assert batch_of(log.page(0, 10), Wanted(), 3).until == 3
    big = seal(Event("big", EventKind.BOUNCED, 1.0, "a@example.org", diagnostic="x" * 700_000))
    rows = [(1, big), (2, log[0]), (3, big), (4, log[1])]
    batch = batch_of(rows, Wanted(), 10)
    assert ([position for position, _ in batch.lines], batch.until) == ([1, 2], 2)


def test_a_file_that_is_not_ours_is_refused_and_left(tmp_path):
    import apsw

    other = apsw.Connection(str(tmp_path / "webhooks.db"))
    other.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="left as it is"):
        Letters(tmp_path)
    assert other.execute("SELECT count(*) FROM mine").get == 0
