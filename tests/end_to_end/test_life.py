"""Reload and stop of a running gateway: a bad configuration changes nothing, a good one takes effect, a stop loses nothing."""

import signal
import smtplib
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.compose.generate import generate
from mail.event import FINAL, EventKind
from sandbox.scenario import Mailboxes
from sandbox.world import Sandbox, SandboxAddresses
from tests.durability.rig import Campaign, CountingReceiver, GatewayProcess
from tests.end_to_end.house import GROUND, OPEN_ACCOUNT, House, internet, letter, serving

LATECOMER = "127.7.31.1"

CLOSED_DOOR = GROUND.replace(
    '[[listener]]\naddress = "127.0.0.1:{port}"\n', '[[listener]]\naddress = "127.0.0.1:{port}"\ntrusted_networks = ["127.0.0.1/32"]\n'
)

NEW = """
[[account]]
name = "latecomer"
networks = ["127.7.31.0/24"]
domains = ["late.test"]
[[domain]]
name = "late.test"
dkim = [{ selector = "l1", file = "keys/late.test.l1.pem" }]
[[route]]
domain = "elsewhere.test"
host = "{next_hop}"
port = {smtp}
provider = "smarthost"
"""


@pytest.fixture(scope="module")
def fake_internet() -> Iterator[tuple[Sandbox, SandboxAddresses]]:
    with internet([Mailboxes(name="reader", domains=["reader.test", "elsewhere.test"])]) as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, fake_internet: tuple[Sandbox, SandboxAddresses]) -> Iterator[House]:
    """One gateway for all reloads; each test ends with the configuration it began with."""
    with serving(House(tmp_path_factory.mktemp("life"), fake_internet[1], CLOSED_DOOR + OPEN_ACCOUNT)) as house:
        yield house
        assert house.complaints() == []


def reloaded(house: House, configuration: str, event: str) -> dict[str, object]:
    """The line of the log that says what became of the new configuration."""
    before = len(house.logged(event))
    house.configure(configuration)
    house.signal(signal.SIGHUP)
    return house.until(lambda: house.logged(event)[before:], event)[0]


def metric(house: House, line: str) -> float:
    """The value of one metric."""
    with urllib.request.urlopen(f"http://127.0.0.1:{house.http}/metrics", timeout=30) as page:
        for found in page.read().decode().splitlines():
            if found.startswith(line):
                return float(found.rpartition(" ")[2])
    return 0.0


def accepts(house: House, source: str, sender: str, recipient: str) -> bool:
    """Whether a client at `source` may send."""
    client = house.client(source)
    try:
        client.sendmail(sender, [recipient], letter(recipient, sender=sender))
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError):
        return False
    return True


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("[gateway\n", "TOML"),
        ('\n[log]\nlevel = "loud"\n[[domain]]\nname = "x.test"\ndkim = [{ selector = "s", file = "keys/missing.pem" }]\n', "log.level"),
        ('\n[[domain]]\nname = "x.test"\ndkim = [{ selector = "s", file = "mailwright.toml" }]\n', "x.test"),
    ],
)
def test_a_bad_configuration_changes_nothing_and_says_so(house: House, bad: str, said: str) -> None:
    refused, good = (metric(house, f'mailwright_reloads_total{{result="{result}"}}') for result in ("refused", "ok"))
    line = reloaded(house, CLOSED_DOOR + OPEN_ACCOUNT + bad, "configuration refused, the old one stays")
    assert said in str(line["problems"])
    assert metric(house, 'mailwright_reloads_total{result="refused"}') == refused + 1
    assert metric(house, 'mailwright_reloads_total{result="ok"}') == good
    recipient = f"old{refused:.0f}@reader.test"
    assert accepts(house, "127.0.0.1", "news@shop.test", recipient)
    assert house.ended(recipient)[-1].kind is EventKind.DELIVERED
    reloaded(house, CLOSED_DOOR + OPEN_ACCOUNT, "configuration reloaded")
    assert metric(house, 'mailwright_reloads_total{result="ok"}') == good + 1


def test_a_good_configuration_takes_effect(house: House, fake_internet: tuple[Sandbox, SandboxAddresses]) -> None:
    sandbox, addresses = fake_internet
    assert not accepts(house, LATECOMER, "news@late.test", "early@reader.test")
    assert accepts(house, "127.0.0.1", "news@shop.test", "before@elsewhere.test")
    assert house.ended("before@elsewhere.test")[-1].provider == "reader.test"
    generate("late.test", "l1", "rsa-sha256", 2048, house.folder / "keys")
    new = CLOSED_DOOR + OPEN_ACCOUNT + NEW.replace("{next_hop}", addresses.providers["reader"])
    assert reloaded(house, new, "configuration reloaded")["restart_needed"] == []
    assert accepts(house, LATECOMER, "news@late.test", "late@reader.test")
    assert not accepts(house, LATECOMER, "news@shop.test", "late@reader.test")
    assert house.ended("late@reader.test")[-1].account == "latecomer"
    (message,) = [one for one in sandbox.messages() if "late@reader.test" in one.recipients]
    assert b"d=late.test; s=l1" in message.content.replace(b"\r\n", b"").replace(b"\t", b" ")
    assert accepts(house, "127.0.0.1", "news@shop.test", "after@elsewhere.test")
    assert house.ended("after@elsewhere.test")[-1].provider == "smarthost"
    reloaded(house, CLOSED_DOOR + OPEN_ACCOUNT, "configuration reloaded")
    assert not accepts(house, LATECOMER, "news@late.test", "gone@reader.test")


def test_what_needs_a_restart_is_named_and_stays(house: House) -> None:
    line = reloaded(house, (CLOSED_DOOR + OPEN_ACCOUNT).replace('data = "data"', 'data = "elsewhere"'), "configuration reloaded")
    assert line["restart_needed"] == ["gateway.data"]
    assert house.call("status")["data"].endswith("/data")
    assert reloaded(house, CLOSED_DOOR + OPEN_ACCOUNT, "configuration reloaded")["restart_needed"] == []


def test_a_stop_in_the_middle_of_a_campaign_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    receiver = CountingReceiver()
    receiver.start()
    gateway = GatewayProcess(tmp_path / "gateway", receiver.port)
    campaign = Campaign(gateway.port)
    gateway.start()
    campaign.start()
    for _ in range(3):
        wait_for(lambda goal=len(campaign.accepted) + 50: len(campaign.accepted) >= goal)
        assert gateway.stop() == 0
        gateway.start()
    wait_for(lambda goal=len(campaign.accepted) + 50: len(campaign.accepted) >= goal)
    campaign.stop()
    gateway.empty()
    assert gateway.stop() == 0
    receiver.stop()

    assert campaign.accepted <= set(receiver.received), "nothing is lost"
    assert set(receiver.received.values()) == {1}, "nothing is repeated"
    lines = gateway.log_lines()
    assert [line["clean"] for line in lines if line["event"] == "stopped"] == [True] * 4
    assert [(line["clean"], line["returned"]) for line in lines if line["event"] == "spool recovered"][1:] == [(True, 0)] * 3
    ends = Counter(event["delivery"] for event in gateway.events() if event["kind"] in FINAL)
    begun = Counter(event["delivery"] for event in gateway.events() if event["kind"] == "accepted")
    assert ends == begun, "every delivery ends once, and is told once"
    assert set(ends.values()) == {1}


def wait_for(done: object) -> None:
    """Poll until it is so."""
    end = time.monotonic() + 60
    assert callable(done)
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)
