"""The web servers of the fake Internet that hold MTA-STS policies and take TLS reports: one TLS port, a certificate for each name by SNI.

`GET /.well-known/mta-sts.txt` answers as the scenario says for the host that is asked, or badly, in each way a policy host can be bad;
`POST` keeps what comes. Everything else is 404.
"""

import asyncio
import ssl
from collections import Counter

import msgspec

from sandbox.certificate import Authority, chain
from sandbox.scenario import Certificate, PolicyHost

_MOST_KEPT = 1000
_LONGEST_POST = 1_000_000


class Posted(msgspec.Struct, frozen=True):
    """What somebody posted."""

    host: str
    path: str
    media: str
    content: bytes


class PolicyServer:
    """All policy hosts. `hosts` by domain may be changed while it runs."""

    def __init__(self, hosts: list[PolicyHost], authority: Authority) -> None:
        self._authority = authority
        self._contexts: dict[tuple[str, Certificate], ssl.SSLContext] = {}
        self.hosts = {host.domain: host for host in hosts}
        self.asked: Counter[str] = Counter()
        self.posted: list[Posted] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int = 0) -> int:
        """Listen, and return the port."""
        context = chain(self._authority, ["policy.sandbox.test"], "good").context()
        context.sni_callback = self._choose
        self._server = await asyncio.start_server(self._serve, address, port, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """The certificate of the host that is asked for."""
        host = self.hosts.get((name or "").removeprefix("mta-sts."))
        kind: Certificate = host.certificate if host is not None else "good"
        shown = name or "policy.sandbox.test"
        if (shown, kind) not in self._contexts:
            self._contexts[shown, kind] = chain(self._authority, [shown], kind).context()
        connection.context = self._contexts[shown, kind]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(30):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if value}
        name = fields.get("host", "").partition(":")[0]
        if method == "POST":
            content = await reader.readexactly(min(int(fields.get("content-length", "0")), _LONGEST_POST))
            self.posted.append(Posted(name, path, fields.get("content-type", ""), content))
            del self.posted[:-_MOST_KEPT]
            return _response(201, "text/plain", b"taken\n")
        host = self.hosts.get(name.removeprefix("mta-sts."))
        if host is None or path != "/.well-known/mta-sts.txt":
            return _response(404, "text/plain", b"nothing here\n")
        self.asked[host.domain] += 1
        return await _policy(host)


async def _policy(host: PolicyHost) -> bytes:
    body = host.policy.replace("\n", "\r\n").encode()
    match host.trouble:
        case "hang":
            await asyncio.Event().wait()
        case "too-long":
            body += b"x-filler: " + b"x" * 100_000 + b"\r\n"
        case "redirect":
            return _response(302, "text/plain", body, f"Location: https://{host.domain}/\r\n")
        case "missing":
            return _response(404, "text/html", b"<html>not found</html>")
        case "html":
            return _response(200, "text/html", b"<html>welcome</html>")
        case "garbage":
            return _response(200, "text/plain", b"version: STSv1\r\nmode: perhaps\r\n")
        case "chunked":
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 20]), body[at : at + 20]) for at in range(0, len(body), 20))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
            return head + chunks + b"0\r\n\r\n"
        case "none":
            pass
    return _response(200, "text/plain", body)


def _response(status: int, media: str, body: bytes, fields: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n{fields}Connection: close\r\n\r\n"
    return head.encode() + body
