"""What a provider does at each step of a dialogue: its tempers as a small state machine without I/O.

`Temperament.act` is given the visit and the time and returns an `Act`, or None where the provider is content; `manners` returns the tempers
that change how the dialogue goes on. It remembers the first visitor (from whom `after`, `until` and `every` count), first attempts
(greylisting), recent messages (rates) and attempts of a delivery (`times`), the last three in bounded tables that forget the oldest: a
forgotten greylisting begins again. It reads no clock and draws no lots.
"""

import fnmatch
import hashlib
import ipaddress
import tomllib
from collections import OrderedDict, deque
from pathlib import Path

import msgspec

from mail.outcome import Category
from sandbox.scenario import MANNERS, Mailboxes, Step, Temper

REMEMBERED = 1_000_000
"""Deliveries each temper remembers at most."""


class Visit(msgspec.Struct, frozen=True, gc=False):
    """Who comes with what. `recipient` is empty before RCPT, `content` before the dot; `connections` counts those open, with this one."""

    source: str
    sender: str = ""
    recipient: str = ""
    content: bytes = b""
    connections: int = 0
    tls: bool = False
    message: int = 1
    """The so-manieth MAIL of the connection."""
    pipelined: bool = False
    """More was behind the command when it was read."""


class Act(msgspec.Struct, frozen=True, gc=False):
    """What the provider does: `reply` (lines joined by CRLF; empty: it drops the connection), counted as `category`."""

    reply: str
    category: Category
    taken: bool = False
    octets: int = 1
    """At the step body: after so many octets of the message."""

    @property
    def transient(self) -> bool:
        """A 4yz reply."""
        return self.reply.startswith("4")

    @property
    def drops(self) -> bool:
        """No reply: the connection is closed."""
        return not self.reply


class Kind(msgspec.Struct, frozen=True):
    """Defaults of a kind of temper."""

    step: Step
    category: Category
    reply: str


KINDS = {
    "unknown-user": Kind(Step.RCPT, Category.BAD_MAILBOX, "550 5.1.1 <{recipient}>: no such user here"),
    "inactive-user": Kind(Step.RCPT, Category.INACTIVE_MAILBOX, "550 5.2.1 <{recipient}>: mailbox disabled"),
    "mailbox-full": Kind(Step.RCPT, Category.MAILBOX_FULL, "452 4.2.2 <{recipient}>: mailbox is over quota"),
    "greylist": Kind(Step.RCPT, Category.GREYLISTED, "451 4.7.1 <{recipient}>: greylisted, please try again later"),
    "rate": Kind(Step.MAIL, Category.RATE_LIMITED, "450 4.7.1 Too many messages, slow down"),
    "connections": Kind(Step.CONNECT, Category.RATE_LIMITED, "421 4.7.0 Too many connections from your host"),
    "drop": Kind(Step.DOT, Category.NETWORK, ""),
    "trouble": Kind(Step.RCPT, Category.RECEIVER_TROUBLE, "451 4.3.0 Temporary system problem, try again later"),
    "content": Kind(Step.DOT, Category.CONTENT, "554 5.7.1 Message refused as spam"),
    "policy": Kind(Step.DOT, Category.POLICY, "550 5.7.1 Message refused by local policy"),
    "reputation": Kind(Step.MAIL, Category.IP_REPUTATION, "550 5.7.1 Mail from your address {source} is blocked"),
    "domain-reputation": Kind(Step.DOT, Category.DOMAIN_REPUTATION, "550 5.7.1 Mail from your domain is refused for its reputation"),
    "unauthenticated": Kind(Step.DOT, Category.AUTH_FAILED, "550 5.7.26 Unauthenticated mail is not accepted"),
    "too-large": Kind(Step.DOT, Category.MESSAGE_TOO_LARGE, "552 5.3.4 Message too large"),
    "relaying": Kind(Step.RCPT, Category.RELAYING, "550 5.7.1 <{recipient}>: relay access denied"),
    "refusal": Kind(Step.RCPT, Category.OTHER, "550 5.0.0 Refused"),
    "tls-required": Kind(Step.MAIL, Category.TLS, "530 5.7.0 Must issue a STARTTLS command first"),
    "tls-unavailable": Kind(Step.STARTTLS, Category.TLS, "454 4.7.0 TLS not available due to temporary reason"),
    "stall": Kind(Step.DOT, Category.NETWORK, ""),
    "slow-replies": Kind(Step.CONNECT, Category.NETWORK, ""),
    "slow-reading": Kind(Step.CONNECT, Category.NETWORK, ""),
    "extra-reply": Kind(Step.RCPT, Category.PROTOCOL, ""),
    "missing-reply": Kind(Step.RCPT, Category.PROTOCOL, ""),
    "garbage": Kind(Step.HANDSHAKE, Category.TLS, ""),
}
"""Kind of temper to its defaults."""

_WORDS: dict[str, dict[str, str]] = tomllib.loads((Path(__file__).parent / "words.toml").read_text("utf-8"))


def lot(*parts: str) -> float:
    """A number in [0, 1) that only depends on `parts`."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def wire(reply: str) -> str:
    """A reply as it goes over the wire: the code (and enhanced code) of its first line on each of its lines (RFC 5321 section 4.2.1)."""
    lines = reply.split("\n")
    code, _, rest = lines[0].partition(" ")
    texts = [rest, *lines[1:]]
    return "\r\n".join(f"{code}{' ' if number == len(texts) else '-'}{text}" for number, text in enumerate(texts, 1))


class _Habit:
    """One temper with its memory."""

    def __init__(self, provider: str, number: int, temper: Temper, voice: dict[str, str]) -> None:
        kind = KINDS[temper.kind]
        self.step = temper.step or kind.step
        self.temper = temper
        self._clear = temper.clear or temper.kind == "tls-required"
        self._label = f"{provider}/{number}"
        self._category = temper.category or kind.category
        self._reply = "" if temper.kind == "drop" else (temper.reply or voice.get(temper.kind) or kind.reply)
        self._networks = [ipaddress.ip_network(network) for network in temper.sources]
        self._contains = temper.contains.encode() if temper.contains is not None else None
        self._first: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._attempts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._passed: deque[float] = deque()
        self._penalty_ends = float("-inf")
        self._fired = 0

    def fires(self, visit: Visit, now: float, age: float) -> bool:
        """Whether this habit does something about the visit, `age` seconds after the provider's first one."""
        if not self._in_time(age) or not self._concerns(visit) or not self._provoked(visit, now):
            return False
        if self.temper.times and not self._counted(visit):
            return False
        if self.temper.most and self._fired >= self.temper.most:
            return False
        self._fired += 1
        return True

    def act(self, visit: Visit) -> Act:
        """The answer to a visit for which it fires."""
        if not self._reply:
            return Act("", self._category, self.temper.taken, self.temper.octets)
        words = self._reply.replace("{recipient}", visit.recipient).replace("{source}", visit.source).replace("{sender}", visit.sender)
        return Act(wire(words), self._category, octets=self.temper.octets)

    def _in_time(self, age: float) -> bool:
        temper = self.temper
        if temper.every is not None:
            age %= temper.every
        return temper.after <= age and (temper.until is None or age < temper.until)

    def _concerns(self, visit: Visit) -> bool:
        temper = self.temper
        if self._networks and not any(ipaddress.ip_address(visit.source) in network for network in self._networks):
            return False
        if temper.recipients and not any(fnmatch.fnmatchcase(visit.recipient.lower(), pattern) for pattern in temper.recipients):
            return False
        if temper.senders and not any(fnmatch.fnmatchcase(visit.sender.lower(), pattern) for pattern in temper.senders):
            return False
        if (self._clear and visit.tls) or (temper.pipelined and not visit.pipelined) or visit.message < temper.from_message:
            return False
        if temper.larger is not None and len(visit.content) <= temper.larger:
            return False
        if self._contains is not None and self._contains not in visit.content:
            return False
        if temper.unsigned and b"dkim-signature:" in visit.content[: visit.content.find(b"\r\n\r\n") + 2].lower():
            return False
        return temper.part >= 1 or lot(self._label, visit.recipient.lower()) < temper.part

    def _provoked(self, visit: Visit, now: float) -> bool:
        match self.temper.kind:
            case "greylist":
                return self._greylisted(visit, now)
            case "rate":
                return self._over_rate(now)
            case "connections":
                return visit.connections > self.temper.messages
            case _:
                return True

    def _greylisted(self, visit: Visit, now: float) -> bool:
        """Whether the first attempt of (network, sender, recipient) is less than `seconds` ago (RFC 6647 section 2.2)."""
        network = visit.source.rpartition(".")[0] or visit.source
        key = (network, visit.sender, visit.recipient)
        first = self._first.setdefault(key, now)
        if len(self._first) > REMEMBERED:
            self._first.popitem(last=False)
        return now - first < self.temper.seconds

    def _over_rate(self, now: float) -> bool:
        if now < self._penalty_ends:
            return True
        while self._passed and self._passed[0] <= now - self.temper.per:
            self._passed.popleft()
        if len(self._passed) >= self.temper.messages:
            self._penalty_ends = now + self.temper.penalty
            return True
        self._passed.append(now)
        return False

    def _counted(self, visit: Visit) -> bool:
        """Whether this attempt is among the first `times` of its delivery."""
        key = (visit.sender, visit.recipient)
        attempts = self._attempts.get(key, 0) + 1
        self._attempts[key] = attempts
        if len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)
        return attempts <= self.temper.times


class Temperament:
    """All habits of one provider, in order."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        voice = _WORDS.get(mailboxes.voice)
        if voice is None:
            raise ValueError(f"provider {mailboxes.name}: there is no voice {mailboxes.voice!r}; there are {', '.join(sorted(_WORDS))}")
        self._answers: dict[Step, list[_Habit]] = {step: [] for step in Step}
        self._manners: dict[Step, list[_Habit]] = {step: [] for step in Step}
        self._first: float | None = None
        for number, temper in enumerate(mailboxes.temper):
            habit = _Habit(mailboxes.name, number, temper, voice)
            (self._manners if temper.kind in MANNERS else self._answers)[habit.step].append(habit)

    @property
    def reads_slowly(self) -> bool:
        """Whether a large message may be left unread."""
        habits = [*self._answers[Step.BODY], *self._manners[Step.BODY], *self._manners[Step.CONNECT]]
        return any(habit.step is Step.BODY or habit.temper.kind == "slow-reading" for habit in habits)

    def act(self, step: Step, visit: Visit, now: float) -> Act | None:
        """What the provider answers at `step`, or None where it goes on. `now` is in seconds of any clock that only goes forward."""
        age = self._age(now)
        for habit in self._answers[step]:
            if habit.fires(visit, now, age):
                return habit.act(visit)
        return None

    def manners(self, step: Step, visit: Visit, now: float) -> list[Temper]:
        """How the provider goes on at `step`: every temper of `MANNERS` that fires."""
        age = self._age(now)
        return [habit.temper for habit in self._manners[step] if habit.fires(visit, now, age)]

    def _age(self, now: float) -> float:
        """Seconds since the first visitor."""
        if self._first is None:
            self._first = now
        return now - self._first
