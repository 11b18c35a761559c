"""What a provider does at each step of a dialogue: its tempers as a small state machine without I/O.

`Temperament.act` is given the visit and the time and returns an `Act`, or None where the provider is content. It remembers first attempts
(greylisting), recent messages (rates) and attempts of a delivery (`times`), each in a bounded table that forgets the oldest: a forgotten
greylisting begins again. It reads no clock and draws no lots.
"""

import fnmatch
import hashlib
import ipaddress
import tomllib
from collections import OrderedDict, deque
from pathlib import Path

import msgspec

from mail.outcome import Category
from sandbox.scenario import Mailboxes, Step, Temper

REMEMBERED = 1_000_000
"""Deliveries each temper remembers at most."""


class Visit(msgspec.Struct, frozen=True, gc=False):
    """Who comes with what. `recipient` is empty before RCPT, `content` before the dot; `connections` counts those open, with this one."""

    source: str
    sender: str = ""
    recipient: str = ""
    content: bytes = b""
    connections: int = 0


class Act(msgspec.Struct, frozen=True, gc=False):
    """What the provider does: `reply` (lines joined by CRLF; empty: it drops the connection), counted as `category`."""

    reply: str
    category: Category
    taken: bool = False

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
        self._temper = temper
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

    def act(self, visit: Visit, now: float) -> Act | None:
        """What this habit does about the visit, or None."""
        if not self._concerns(visit) or not self._fires(visit, now):
            return None
        if self._temper.times and not self._counted(visit):
            return None
        if self._temper.most and self._fired >= self._temper.most:
            return None
        self._fired += 1
        if not self._reply:
            return Act("", self._category, self._temper.taken)
        words = self._reply.replace("{recipient}", visit.recipient).replace("{source}", visit.source).replace("{sender}", visit.sender)
        return Act(wire(words), self._category)

    def _concerns(self, visit: Visit) -> bool:
        temper = self._temper
        if self._networks and not any(ipaddress.ip_address(visit.source) in network for network in self._networks):
            return False
        if temper.recipients and not any(fnmatch.fnmatchcase(visit.recipient.lower(), pattern) for pattern in temper.recipients):
            return False
        if temper.senders and not any(fnmatch.fnmatchcase(visit.sender.lower(), pattern) for pattern in temper.senders):
            return False
        if temper.larger is not None and len(visit.content) <= temper.larger:
            return False
        if self._contains is not None and self._contains not in visit.content:
            return False
        if temper.unsigned and b"dkim-signature:" in visit.content[: visit.content.find(b"\r\n\r\n") + 2].lower():
            return False
        return temper.part >= 1 or lot(self._label, visit.recipient.lower()) < temper.part

    def _fires(self, visit: Visit, now: float) -> bool:
        match self._temper.kind:
            case "greylist":
                return self._greylisted(visit, now)
            case "rate":
                return self._over_rate(now)
            case "connections":
                return visit.connections > self._temper.messages
            case _:
                return True

    def _greylisted(self, visit: Visit, now: float) -> bool:
        """Whether the first attempt of (network, sender, recipient) is less than `seconds` ago (RFC 6647 section 2.2)."""
        network = visit.source.rpartition(".")[0] or visit.source
        key = (network, visit.sender, visit.recipient)
        first = self._first.setdefault(key, now)
        if len(self._first) > REMEMBERED:
            self._first.popitem(last=False)
        return now - first < self._temper.seconds

    def _over_rate(self, now: float) -> bool:
        if now < self._penalty_ends:
            return True
        while self._passed and self._passed[0] <= now - self._temper.per:
            self._passed.popleft()
        if len(self._passed) >= self._temper.messages:
            self._penalty_ends = now + self._temper.penalty
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
        return attempts <= self._temper.times


class Temperament:
    """All habits of one provider, in order."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        voice = _WORDS.get(mailboxes.voice)
        if voice is None:
            raise ValueError(f"provider {mailboxes.name}: there is no voice {mailboxes.voice!r}; there are {', '.join(sorted(_WORDS))}")
        self._at: dict[Step, list[_Habit]] = {step: [] for step in Step}
        for number, temper in enumerate(mailboxes.temper):
            habit = _Habit(mailboxes.name, number, temper, voice)
            self._at[habit.step].append(habit)

    def act(self, step: Step, visit: Visit, now: float) -> Act | None:
        """What the provider does at `step`, or None where it goes on. `now` is in seconds of any clock that only goes forward."""
        for habit in self._at[step]:
            act = habit.act(visit, now)
            if act is not None:
                return act
        return None
