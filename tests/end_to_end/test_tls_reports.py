"""A day of TLS sessions becomes a report: sent by the gateway through itself, signed, and delivered where the domain wants it.

The gateway runs in this loop with a clock that the test moves, from yesterday to now; the Internet is the sandbox's.
"""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import aiosmtplib
import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.load import Configuration, load
from gateway.app import Gateway
from gateway.compose.generate import record
from sandbox.scenario import Mailboxes, Name, PolicyHost, Scenario
from sandbox.world import Sandbox, SandboxAddresses
from tests.end_to_end.house import letter

DAY = 86_400.0
STS = "version: STSv1\nmode: {mode}\nmx: mx.{domain}\nmax_age: 604800\n"


def scenario() -> Scenario:
    """A domain whose sessions are good, one whose certificate has expired, and the places of their reports."""
    policies = [PolicyHost(domain=domain, policy=STS.format(mode="testing", domain=domain)) for domain in ("good.test", "expired.test")]
    wanted = [Name(name=f"_smtp._tls.{each.domain}", records=['TXT "v=TLSRPTv1; rua=mailto:tls@reports.test"']) for each in policies]
    providers = [
        Mailboxes(name="good", domains=["good.test"], mx=["mx.good.test"], certificate="good"),
        Mailboxes(name="expired", domains=["expired.test"], mx=["mx.expired.test"], certificate="expired"),
        Mailboxes(name="reports", domains=["reports.test"]),
    ]
    return Scenario(provider=providers, policy=policies, name=wanted)


def configured(folder: Path, addresses: SandboxAddresses) -> Configuration:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "authority.pem").write_text(addresses.authority)
    path = folder / "mailwright.toml"
    path.write_text(
        f"""
[gateway]
hostname = "mail.gateway.test"
domain = "gateway.test"
data = "data"
[[gateway.dkim]]
selector = "s"
file = "key.pem"
[http]
address = "none"
[[listener]]
address = "127.0.0.1:0"
[[account]]
name = "default"
domains = ["any"]
[dns]
servers = ["{addresses.dns}"]
port = {addresses.smtp_port}
allow_private = true
[spool]
minimum_free = 0
[sending.tls]
authorities = "authority.pem"
policy_port = {addresses.policy_port}
"""
    )
    return Configuration(path, load(path))


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.02)


def test_the_day_after_each_domain_gets_its_figures_by_signed_mail(tmp_path: Path) -> None:
    async def play() -> None:
        behind = DAY + 14_400.0
        sandbox = Sandbox(scenario())
        addresses = await sandbox.start()
        try:
            gateway = Gateway(configured(tmp_path, addresses), lambda: time.time() - behind)
            await gateway.start()
            host, port = next(iter(gateway.door.addresses.values()))
            for domain in ("good.test", "expired.test"):
                content = letter(f"u@{domain}")
                await aiosmtplib.send(
                    content, sender="news@shop.test", recipients=[f"u@{domain}"], hostname=host, port=port, start_tls=False
                )
            await until(lambda: len(sandbox.messages()) == 2 and len(gateway.tls.results) == 2)
            await gateway.tls.report()
            assert sandbox.messages("reports") == []
            behind = 0.0
            await gateway.tls.report()
            await until(lambda: len(sandbox.messages("reports")) == 2)
            await gateway.tls.report()
            assert len(gateway.tls.results) == 0
            assert await gateway.stop(grace=5.0)
            check(sandbox, tmp_path)
        finally:
            await sandbox.stop()

    asyncio.run(play())


def check(sandbox: Sandbox, folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    published = record(key).encode()
    found = {}
    for received in sandbox.messages("reports"):
        assert dkim.verify(received.content, dnsfunc=lambda name, timeout=5: published)
        message = message_from_bytes(received.content, policy=default)
        attachment = list(message.iter_parts())[1]
        assert attachment.get_content_type() == "application/tlsrpt+gzip"
        report = json.loads(gzip.decompress(attachment.get_content()))
        found[message["TLS-Report-Domain"]] = (report["policies"][0]["summary"], report["policies"][0].get("failure-details", []))
    assert found["good.test"] == ({"total-successful-session-count": 1, "total-failure-session-count": 0}, [])
    summary, failures = found["expired.test"]
    assert summary == {"total-successful-session-count": 0, "total-failure-session-count": 1}
    assert [(one["result-type"], one["receiving-mx-hostname"]) for one in failures] == [("certificate-expired", "mx.expired.test")]
