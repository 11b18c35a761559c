"""Every row of the refusal table, end to end: a real client, a gateway in a process of its own, providers of the sandbox that refuse.

One gateway serves all rows at once; each row has its own recipient domain and provider, so that lanes do not meet. What the event file says
of a recipient and what the provider counted must both be what DESIGN section 4 promises.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mail.event import Event, EventKind
from sandbox.scenario import Mailboxes, Name, Temper
from sandbox.world import Sandbox
from tests.end_to_end.house import ADDRESSES, GROUND, OPEN_ACCOUNT, POOL, SOURCES, House, internet, letter, serving

STREAMS = """
[[source]]
name = "absent"
address = "192.0.2.77"
[[pool]]
name = "absent"
members = { absent = 1 }
[[pool]]
name = "half"
members = { absent = 1, two = 1 }
[default_provider]
name = "default"
pause = "200ms"
idle = "200ms"
[[provider]]
name = "strict"
domains = ["tls-missing.test", "tls-second.test"]
tls = "required"
pause = "200ms"
[[stream]]
name = "default"
[stream.retry]
first = "400ms"
growth = 1.5
longest = "2s"
greylisted = "1s"
unsure = "400ms"
rest = "100ms"
lifetime = "1h"
[[stream]]
name = "short"
[stream.retry]
first = "300ms"
growth = 1.5
longest = "1s"
rest = "100ms"
lifetime = "2s"
[[stream]]
name = "patient"
[stream.retry]
first = "1h"
longest = "1h"
rest = "100ms"
greylisted = "1s"
lifetime = "2d"
[[stream]]
name = "careful"
unsure = "fail"
[[stream]]
name = "nowhere"
pool = "absent"
[stream.retry]
first = "300ms"
longest = "1s"
lifetime = "3s"
[[stream]]
name = "half"
pool = "half"
"""

BLOCKED = "550 5.7.1 Your IP {source} is blocked for its poor reputation"
BOUNCED, DELIVERED, DEFERRED, EXPIRED = EventKind.BOUNCED, EventKind.DELIVERED, EventKind.DEFERRED, EventKind.EXPIRED


@dataclass(frozen=True)
class Refusal:
    """One row that ends by the provider's words alone: the temper, and what must be told."""

    name: str
    temper: Temper
    category: str
    fault: str
    hard: bool = False
    stream: str = ""


FAILED = [
    Refusal("unknown-user", Temper(kind="unknown-user"), "bad-mailbox", "recipient", hard=True),
    Refusal("moved", Temper(kind="refusal", reply="551 5.1.6 The recipient has moved", category="moved"), "moved", "recipient", hard=True),
    Refusal("inactive", Temper(kind="inactive-user"), "inactive-mailbox", "recipient"),
    Refusal("full-for-ever", Temper(kind="mailbox-full", reply="552 5.2.2 Mailbox full"), "mailbox-full", "recipient"),
    Refusal("unauthenticated", Temper(kind="unauthenticated"), "auth-failed", "sender-domain"),
    Refusal(
        "sender-refused",
        Temper(kind="refusal", step="mail", reply="553 5.7.1 Sender address rejected", category="sender-rejected"),
        "sender-rejected",
        "sender-domain",
    ),
    Refusal(
        "domain-reputation",
        Temper(kind="domain-reputation", reply="550 5.7.1 the very low reputation of the sending domain"),
        "domain-reputation",
        "sender-domain",
    ),
    Refusal("spam", Temper(kind="content"), "content", "content"),
    Refusal("policy", Temper(kind="policy"), "policy", "unknown"),
    Refusal("too-large", Temper(kind="too-large"), "message-too-large", "content"),
]
"""5xx: failed at once. Only a dead address proposes a suppression."""

PASSING = [
    Refusal("trouble", Temper(kind="trouble", times=2), "receiver-trouble", "receiver"),
    Refusal("trouble-at-data", Temper(kind="trouble", step="data", times=1), "receiver-trouble", "receiver"),
    Refusal("full-today", Temper(kind="mailbox-full", times=1), "mailbox-full", "recipient"),
    Refusal("rate", Temper(kind="rate", times=1), "rate-limited", "sender-ip", stream="patient"),
    Refusal(
        "reputation-today",
        Temper(kind="reputation", times=1, reply="450 4.7.1 Your IP {source} has a poor reputation, try later"),
        "ip-reputation",
        "sender-ip",
        stream="patient",
    ),
    Refusal("connections", Temper(kind="connections", most=2), "rate-limited", "sender-ip", stream="patient"),
]
"""4xx that pass: deferred so often, then delivered."""


def mailboxes(refusal: Refusal) -> Mailboxes:
    """The provider of a row."""
    return Mailboxes(name=refusal.name, domains=[f"{refusal.name}.test"], temper=[refusal.temper])


PROVIDERS = [
    *(mailboxes(refusal) for refusal in FAILED + PASSING),
    Mailboxes(name="overquota", domains=["overquota.test"], temper=[Temper(kind="mailbox-full")]),
    Mailboxes(name="relaying", domains=["relaying.test"], temper=[Temper(kind="relaying")]),
    Mailboxes(name="grey", domains=["grey.test"], temper=[Temper(kind="greylist", seconds=0.7)]),
    Mailboxes(
        name="blocks-one", domains=["blocks-one.test"], temper=[Temper(kind="reputation", reply=BLOCKED, sources=[ADDRESSES["one"]])]
    ),
    Mailboxes(name="blocks-all", domains=["blocks-all.test"], temper=[Temper(kind="reputation", reply=BLOCKED)]),
    Mailboxes(name="dead", domains=["dead.test"], listening=False),
    Mailboxes(name="half-dead", domains=["half-dead.test"], mx=["mx1.half-dead.test", "mx2.half-dead.test"]),
    Mailboxes(name="tls-missing", domains=["tls-missing.test"], starttls=False),
    Mailboxes(name="tls-first", domains=["tls-second.test"], mx=["mx1.tls-second.test"], starttls=False),
    Mailboxes(name="tls-second", domains=["tls-second.test"], mx=["mx2.tls-second.test"]),
    Mailboxes(name="unsure", domains=["unsure.test"], temper=[Temper(kind="drop", most=1, taken=True)]),
    Mailboxes(name="unsure-twice", domains=["unsure-twice.test"], temper=[Temper(kind="drop")]),
    Mailboxes(name="unsure-careful", domains=["unsure-careful.test"], temper=[Temper(kind="drop", taken=True)]),
    Mailboxes(name="misconfigured", domains=["misconfigured.test"]),
    Mailboxes(name="half-configured", domains=["half-configured.test"]),
]

NAMES = [
    Name(name="mx1.half-dead.test", records=["A 127.7.9.9"]),
    Name(name="tls-second.test", records=["MX 10 mx1.tls-second.test.", "MX 20 mx2.tls-second.test."]),
    Name(name="null-mx.test", records=["MX 0 ."]),
    Name(name="servfail.test", trouble="servfail"),
]

GREY = [f"grey{number}@grey.test" for number in range(6)]
"""Several, so that a retry by any source would be seen."""

LETTERS: list[tuple[str, str]] = [
    *((f"rcpt@{refusal.name}.test", refusal.stream) for refusal in FAILED + PASSING),
    ("rcpt@overquota.test", "short"),
    *((recipient, "patient") for recipient in GREY),
    ("rcpt@blocks-one.test", "patient"),
    ("rcpt@blocks-all.test", "patient"),
    ("rcpt@dead.test", "short"),
    ("rcpt@relaying.test", "short"),
    ("rcpt@half-dead.test", ""),
    ("rcpt@tls-missing.test", "short"),
    ("rcpt@tls-second.test", ""),
    ("rcpt@unsure.test", ""),
    ("rcpt@unsure-twice.test", ""),
    ("rcpt@unsure-careful.test", "careful"),
    ("rcpt@null-mx.test", ""),
    ("rcpt@no-such-domain.test", ""),
    ("rcpt@servfail.test", ""),
    ("rcpt@misconfigured.test", "nowhere"),
    ("rcpt@half-configured.test", "half"),
]


@dataclass
class Stage:
    """What the tests look at."""

    house: House
    sandbox: Sandbox

    def ended(self, recipient: str) -> list[Event]:
        """Its events, `accepted` left out, once it has ended."""
        events = self.house.ended(recipient)
        assert events[0].kind is EventKind.ACCEPTED
        assert sum(event.kind in (BOUNCED, DELIVERED, EXPIRED) for event in events) == 1, "one final event"
        assert [event.attempt for event in events[1:-1]] == list(range(1, len(events) - 1)), "every attempt is told once"
        return events[1:]

    def took(self, provider: str) -> list[str]:
        """Addresses from which the provider took messages."""
        return [message.peer for message in self.sandbox.messages(provider)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All rows' messages sent at once."""
    folder = tmp_path_factory.mktemp("refusals")
    configuration = GROUND + OPEN_ACCOUNT + SOURCES + POOL + STREAMS
    with internet(PROVIDERS, NAMES) as (sandbox, addresses), serving(House(folder, addresses, configuration)) as house:
        client = house.client()
        for recipient, stream in LETTERS:
            client.sendmail("news@shop.test", [recipient], letter(recipient, stream=stream))
        client.quit()
        yield Stage(house, sandbox)
        assert house.complaints() == []
        assert house.stop() == 0


@pytest.mark.parametrize("refusal", FAILED, ids=lambda refusal: refusal.name)
def test_a_5xx_fails_at_once_and_only_a_dead_address_proposes_suppression(stage: Stage, refusal: Refusal) -> None:
    recipient = f"rcpt@{refusal.name}.test"
    (event,) = stage.ended(recipient)
    assert (event.kind, event.category, event.fault) == (BOUNCED, refusal.category, refusal.fault)
    assert (event.hard, event.suppression_proposed) == (refusal.hard, refusal.hard)
    assert event.code // 100 == 5
    counts = stage.sandbox.counts()[refusal.name]
    assert (counts.attempts, counts.refusals, counts.accepted) == (1, 1, 0)


@pytest.mark.parametrize("refusal", PASSING, ids=lambda refusal: refusal.name)
def test_a_4xx_defers_until_it_passes(stage: Stage, refusal: Refusal) -> None:
    *deferred, delivered = stage.ended(f"rcpt@{refusal.name}.test")
    assert delivered.kind is DELIVERED
    assert deferred
    for event in deferred:
        assert (event.kind, event.category, event.fault) == (DEFERRED, refusal.category, refusal.fault)
        assert event.next_attempt_at > event.at
        assert not event.suppression_proposed
        if refusal.stream == "patient":
            assert event.next_attempt_at - event.at < 60, "a step of the schedule would be an hour: none was used"
    assert stage.sandbox.counts()[refusal.name].accepted == 1


def test_a_recipients_4xx_is_retried_by_the_schedule_and_expires(stage: Stage) -> None:
    *deferred, expired = stage.ended("rcpt@overquota.test")
    assert len(deferred) >= 2
    assert {(event.kind, event.category, event.fault) for event in deferred} == {(DEFERRED, "mailbox-full", "recipient")}
    delays = [event.next_attempt_at - event.at for event in deferred]
    assert 0.25 < delays[0] < 0.35
    assert expired.kind is EXPIRED
    assert not any(event.suppression_proposed or event.hard for event in [*deferred, expired])
    assert stage.sandbox.standing("rcpt@overquota.test") == ["4mailbox-full"]


def test_greylisted_mail_is_retried_from_the_same_source(stage: Stage) -> None:
    for recipient in GREY:
        first, delivered = stage.ended(recipient)
        assert (first.kind, first.category) == (DEFERRED, "greylisted")
        assert first.next_attempt_at - first.at == pytest.approx(1.0, abs=0.01)
        assert delivered.kind is DELIVERED
        assert delivered.source == first.source
        (message,) = [one for one in stage.sandbox.messages("grey") if recipient in one.recipients]
        assert message.peer == ADDRESSES[first.source]


def test_a_source_with_a_bad_reputation_is_replaced_and_not_used_again(stage: Stage) -> None:
    first, delivered = stage.ended("rcpt@blocks-one.test")
    assert (first.kind, first.category, first.fault, first.source) == (DEFERRED, "ip-reputation", "sender-ip", "one")
    assert delivered.kind is DELIVERED
    assert delivered.source in ("two", "three")
    assert stage.took("blocks-one") == [ADDRESSES[delivered.source]]


def test_a_bad_reputation_of_every_source_bounces_after_two_changes_and_suppresses_nobody(stage: Stage) -> None:
    *deferred, bounced = stage.ended("rcpt@blocks-all.test")
    assert [event.kind for event in deferred] == [DEFERRED, DEFERRED]
    assert {event.source for event in [*deferred, bounced]} == {"one", "two", "three"}
    assert (bounced.kind, bounced.category, bounced.fault) == (BOUNCED, "ip-reputation", "sender-ip")
    assert not bounced.hard
    assert not any(event.suppression_proposed for event in [*deferred, bounced])
    assert stage.sandbox.counts()["blocks-all"].attempts == 3


def test_a_host_that_cannot_be_reached_is_retried_until_the_end(stage: Stage) -> None:
    *deferred, expired = stage.ended("rcpt@dead.test")
    assert deferred
    assert {(event.category, event.fault, event.phase) for event in deferred} == {("network", "network", "connect")}
    assert expired.kind is EXPIRED
    assert not expired.suppression_proposed


def test_the_next_mx_is_tried_before_anything_is_deferred(stage: Stage) -> None:
    (delivered,) = stage.ended("rcpt@half-dead.test")
    assert (delivered.kind, delivered.host) == (DELIVERED, "mx2.half-dead.test")
    (delivered,) = stage.ended("rcpt@tls-second.test")
    assert (delivered.kind, delivered.host) == (DELIVERED, "mx2.tls-second.test")
    assert delivered.tls
    assert all(message.tls for message in stage.sandbox.messages("tls-second"))


def test_no_tls_where_it_is_required_sends_nothing_and_is_retried(stage: Stage) -> None:
    *deferred, expired = stage.ended("rcpt@tls-missing.test")
    assert deferred
    assert {(event.category, event.fault) for event in deferred} == {("tls", "receiver")}
    assert expired.kind is EXPIRED
    assert stage.sandbox.counts()["tls-missing"].attempts == 0, "not even an envelope leaves in the clear"


def test_a_reply_lost_behind_the_dot_is_retried_once_and_says_that_a_duplicate_is_possible(stage: Stage) -> None:
    first, delivered = stage.ended("rcpt@unsure.test")
    assert (first.kind, first.phase, first.duplicate_possible) == (DEFERRED, "dot", True)
    assert first.next_attempt_at - first.at == pytest.approx(0.4, abs=0.01)
    assert (delivered.kind, delivered.duplicate_possible) == (DELIVERED, True)
    counts = stage.sandbox.counts()["unsure"]
    assert (counts.drops, counts.accepted, counts.duplicates) == (1, 1, 1)


def test_a_reply_lost_twice_fails_without_suppression(stage: Stage) -> None:
    first, bounced = stage.ended("rcpt@unsure-twice.test")
    assert first.kind is DEFERRED
    assert (bounced.kind, bounced.duplicate_possible, bounced.hard, bounced.suppression_proposed) == (BOUNCED, True, False, False)
    assert stage.sandbox.counts()["unsure-twice"].drops == 2


def test_a_stream_that_would_rather_lose_than_repeat_fails_at_once(stage: Stage) -> None:
    (bounced,) = stage.ended("rcpt@unsure-careful.test")
    assert (bounced.kind, bounced.duplicate_possible, bounced.suppression_proposed) == (BOUNCED, True, False)
    assert stage.sandbox.counts()["unsure-careful"].drops == 1


@pytest.mark.parametrize("domain", ["null-mx.test", "no-such-domain.test"])
def test_a_domain_that_takes_no_mail_is_a_dead_address(stage: Stage, domain: str) -> None:
    (bounced,) = stage.ended(f"rcpt@{domain}")
    assert (bounced.kind, bounced.category, bounced.fault, bounced.phase) == (BOUNCED, "bad-domain", "recipient", "route")
    assert (bounced.hard, bounced.suppression_proposed) == (True, True)


def test_what_a_configuration_may_put_right_is_retried_although_the_code_is_5xx(stage: Stage) -> None:
    *deferred, expired = stage.ended("rcpt@relaying.test")
    assert len(deferred) >= 2
    assert {(event.category, event.fault, event.code) for event in deferred} == {("relaying", "config", 550)}
    assert (expired.kind, expired.suppression_proposed) == (EXPIRED, False)


def test_name_servers_in_trouble_defer(stage: Stage) -> None:
    events = stage.house.seen("rcpt@servfail.test", lambda events: len(events) > 1)
    assert {(event.kind, event.category, event.fault, event.phase) for event in events[1:]} == {(DEFERRED, "routing", "network", "route")}
    assert not any(event.suppression_proposed for event in events)


def test_a_source_that_the_machine_does_not_have_is_our_fault_and_harms_no_delivery(stage: Stage) -> None:
    (expired,) = stage.ended("rcpt@misconfigured.test")
    assert (expired.kind, expired.attempt) == (EXPIRED, 0)
    (delivered,) = stage.ended("rcpt@half-configured.test")
    assert (delivered.kind, delivered.source) == (DELIVERED, "two")
    assert any("192.0.2.77" in str(line) for line in stage.house.logged("connection failed"))


def test_only_dead_addresses_are_suppressed_and_are_not_written_to_again(stage: Stage) -> None:
    """Read after every row has ended: whatever else was refused suppressed nobody."""
    for recipient, _ in LETTERS:
        if recipient != "rcpt@servfail.test":
            stage.ended(recipient)
    dead = {f"rcpt@{refusal.name}.test" for refusal in FAILED if refusal.hard} | {"rcpt@null-mx.test", "rcpt@no-such-domain.test"}

    def suppressed(kind: str) -> set[str]:
        return {event["recipient"] for event in stage.house.events() if event["kind"] == kind}

    assert suppressed("suppression_added") == dead
    client = stage.house.client()
    client.sendmail("news@shop.test", ["rcpt@unknown-user.test"], letter("rcpt@unknown-user.test"))
    client.sendmail("news@shop.test", ["rcpt@spam.test"], letter("rcpt@spam.test"))
    stage.house.until(lambda: suppressed("suppressed"), "the event that says that nothing was sent")
    assert suppressed("suppressed") == {"rcpt@unknown-user.test"}
    assert stage.sandbox.counts()["unknown-user"].attempts == 1
