"""One file over HTTPS from real servers, good and bad: everything ends as a value, in time and within its size."""

import asyncio
import ssl

import pytest

from gateway.delivery.security.https import Https, HttpsTrouble, Response
from gateway.delivery.security.result import Result
from sandbox.certificate import chain
from sandbox.scenario import Name, PolicyHost
from tests.delivery.security.internet import ENFORCE, SmallInternet, small_internet

PATH = "/.well-known/mta-sts.txt"


async def get(place: SmallInternet, seconds: float = 2.0, most: int = 65_536, port: int = 0) -> Response | HttpsTrouble:
    return await place.https.get("mta-sts.a.test", port or place.port, PATH, seconds=seconds, most=most)


def got(host: PolicyHost, **known) -> Response | HttpsTrouble:
    async def play() -> Response | HttpsTrouble:
        async with small_internet(host) as place:
            return await get(place, **known)

    return asyncio.run(play())


@pytest.mark.parametrize("trouble", ["none", "chunked"])
def test_a_file_is_fetched(trouble) -> None:
    assert got(PolicyHost(domain="a.test", policy=ENFORCE, trouble=trouble)) == Response(
        200, "text/plain", ENFORCE.replace("\n", "\r\n").encode()
    )


@pytest.mark.parametrize("certificate", ["expired", "wrong-name", "self-signed", "untrusted"])
def test_a_certificate_that_is_not_good_is_trouble_of_its_own_kind(certificate) -> None:
    found = got(PolicyHost(domain="a.test", policy=ENFORCE, certificate=certificate))
    assert isinstance(found, HttpsTrouble)
    assert found.result is Result.STS_WEBPKI


def test_a_server_that_hangs_is_given_up_in_time() -> None:
    found = got(PolicyHost(domain="a.test", policy=ENFORCE, trouble="hang"), seconds=0.3)
    assert found == HttpsTrouble(Result.STS_FETCH, "mta-sts.a.test did not answer in time")


@pytest.mark.parametrize("trouble", ["none", "chunked", "too-long"])
def test_what_is_too_long_is_not_read(trouble) -> None:
    found = got(PolicyHost(domain="a.test", policy=ENFORCE, trouble=trouble), most=40)
    assert isinstance(found, HttpsTrouble)
    assert "too long" in found.why


def test_a_redirect_is_an_answer_like_any_other() -> None:
    found = got(PolicyHost(domain="a.test", policy=ENFORCE, trouble="redirect"))
    assert isinstance(found, Response)
    assert found.status == 302


RAW = [
    b"",
    b"\r\n\r\n",
    b"SSH-2.0-x\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 100_000,
]


async def raw(place: SmallInternet, answer: bytes) -> Response | HttpsTrouble:
    """What comes of a server that says `answer` to anybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    context = chain(place.authority, ["mta-sts.a.test"], "good").context()
    server = await asyncio.start_server(serve, "127.0.0.10", 0, ssl=context)
    try:
        return await get(place, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


def test_whatever_a_server_says_ends_as_a_value() -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test")) as place:
            for answer in RAW:
                found = await raw(place, answer)
                assert isinstance(found, HttpsTrouble), answer[:60]
                assert found.result is Result.STS_FETCH
            assert await raw(place, b"HTTP/1.0 200\r\n\r\nto the end") == Response(200, "", b"to the end")

    asyncio.run(play())


def test_a_name_without_a_usable_address_is_trouble() -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test")) as place:
            refusing = Https(place.resolver, lambda: place.context, lambda address: "it is loopback", lambda: place.now)
            found = await refusing.get("mta-sts.a.test", place.port, PATH, seconds=2, most=100)
            assert found == HttpsTrouble(Result.STS_FETCH, "mta-sts.a.test [127.0.0.10]: it is loopback")
            for records, trouble in (([], "none"), (["A 127.0.0.10"], "servfail")):
                place.say(Name(name="mta-sts.a.test", records=records, trouble=trouble))
                assert isinstance(await get(place), HttpsTrouble)

    asyncio.run(play())


def test_an_address_that_takes_no_connection_is_left_alone_for_a_minute() -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test")) as place:
            free = await asyncio.start_server(lambda reader, writer: None, "127.0.0.10", 0)
            port = free.sockets[0].getsockname()[1]
            free.close()
            await free.wait_closed()
            first, second = await get(place, port=port), await get(place)
            assert isinstance(first, HttpsTrouble)
            assert second == HttpsTrouble(Result.STS_FETCH, "mta-sts.a.test was not reachable a moment ago")
            place.now += 61
            assert isinstance(await get(place), Response)

    asyncio.run(play())


@pytest.mark.parametrize(("seconds", "dead"), [(0.1, False), (1.2, True)])
def test_an_address_is_not_dead_for_a_request_that_had_no_time_left_for_it(seconds: float, dead: bool) -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test", policy=ENFORCE)) as place:
            silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.10", 0)
            async with silent:
                first = await get(place, port=silent.sockets[0].getsockname()[1], seconds=seconds)
            assert first == HttpsTrouble(Result.STS_FETCH, "mta-sts.a.test did not answer in time")
            assert isinstance(await get(place), HttpsTrouble) is dead

    asyncio.run(play())


def test_what_is_posted_arrives() -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test")) as place:
            found = await place.https.post("mta-sts.a.test", place.port, "/tls", "application/tlsrpt+gzip", b"\x1f\x8b" * 100, seconds=2)
            assert isinstance(found, Response)
            assert found.status == 201
            (posted,) = place.server.posted
            assert (posted.path, posted.media, posted.content) == ("/tls", "application/tlsrpt+gzip", b"\x1f\x8b" * 100)

    asyncio.run(play())


def test_the_server_must_be_who_it_is_asked_as() -> None:
    async def play() -> None:
        async with small_internet(PolicyHost(domain="a.test", policy=ENFORCE)) as place:
            place.context = ssl.create_default_context()  # the authorities of the system know nobody here
            found = await get(place)
            assert isinstance(found, HttpsTrouble)
            assert found.result is Result.STS_WEBPKI

    asyncio.run(play())
