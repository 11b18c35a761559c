"""What follows for a contact from a refusal or a report: one table, and a counter for what is not final.

The table (`Policy`) is data and can be configured; its first row that holds decides. It promises, whatever it is configured to:

- only a fault of the recipient ever suppresses; one of the sender, the content or the configuration raises an alarm instead;
- a delay changes nothing, an automatic answer or a reply changes nothing;
- evidence without a proven token suppresses nobody (DESIGN section 5): anybody can write a report.
"""

import enum

import msgspec

from bounce.report import Action, Kind, Recipient, Report
from mail.outcome import Category, Failed, Fault, Outcome, Verdict, is_hard

DAY = 86_400.0
MAX_HISTORY = 64
"""Soft failures remembered for one address."""
MAX_EVIDENCE = 1_000


class Consequence(enum.StrEnum):
    """What happens to the contact, or to us."""

    SUPPRESS = "suppress"
    COUNT = "count"
    ALARM = "alarm"
    NOTHING = "nothing"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row: holds when each field that is not empty contains the fact. `hard` asks for an address that is dead."""

    name: str
    consequence: Consequence
    hard: bool | None = None
    categories: frozenset[Category] = frozenset()
    faults: frozenset[Fault] = frozenset()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table, and when soft failures add up.

    `soft_threshold` of them on different days within `soft_window` seconds suppress for `soft_expiry` seconds.
    """

    rows: tuple[Row, ...]
    soft_threshold: int = 5
    soft_window: float = 30 * DAY
    soft_expiry: float = 90 * DAY


DEFAULT = Policy(
    rows=(
        Row("dead-address", Consequence.SUPPRESS, hard=True, faults=frozenset({Fault.RECIPIENT})),
        Row("greylisted", Consequence.NOTHING, categories=frozenset({Category.GREYLISTED, Category.RATE_LIMITED})),
        Row("recipient", Consequence.COUNT, faults=frozenset({Fault.RECIPIENT})),
        Row("sender", Consequence.ALARM, faults=frozenset({Fault.SENDER_IP, Fault.SENDER_DOMAIN, Fault.CONTENT, Fault.CONFIG})),
        Row("receiver", Consequence.NOTHING, faults=frozenset({Fault.RECEIVER, Fault.NETWORK})),
        Row("unknown", Consequence.NOTHING),
    )
)
"""The policy that holds when none is configured."""


class Evidence(msgspec.Struct, frozen=True):
    """What a decision rests on. `source` is `reply` or `report`; `text` the words of the remote side; `rule` the classification rule."""

    source: str
    at: float
    text: str
    rule: str
    status: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What follows for one address. `expires_at` is Unix seconds, 0 for never. `row` is the row of the policy that decided."""

    address: str
    consequence: Consequence
    row: str
    category: Category
    fault: Fault
    evidence: Evidence
    expires_at: float = 0.0


def policy_of(configured: object) -> Policy:
    """The policy in plain configuration data. Raises ValueError saying what is wrong."""
    try:
        return msgspec.convert(configured, Policy)
    except msgspec.ValidationError as error:
        raise ValueError(f"bounce policy: {error}") from error


def of_report(policy: Policy, report: Report, now: float, *, proven: bool) -> tuple[Decision, ...]:
    """What follows from a report; `proven` says that its token is one of ours and still valid."""
    return tuple(_of_recipient(policy, report.kind, entry, now, proven=proven) for entry in report.recipients)


def of_outcome(policy: Policy, address: str, outcome: Outcome, now: float, *, final: bool = False) -> Decision | None:
    """What follows from an attempt; `final` says that no other follows. None when it delivered, or when it may still deliver."""
    verdict: Verdict | None = getattr(outcome, "verdict", None)
    if verdict is None or not (final or isinstance(outcome, Failed)):
        return None
    permanent = isinstance(outcome, Failed)
    evidence = Evidence("reply", now, str(verdict.reply)[:MAX_EVIDENCE], verdict.rule, verdict.reply.enhanced)
    hard = is_hard(verdict.category, permanent)
    return _decide(policy, address, verdict.category, verdict.fault, hard=hard, evidence=evidence)


def of_facts(policy: Policy, address: str, category: Category, fault: Fault, *, hard: bool, evidence: Evidence) -> Decision:
    """What follows from a final failure of which only this is known: an event that is read again."""
    return _decide(policy, address, category, fault, hard=hard, evidence=evidence)


def _of_recipient(policy: Policy, kind: Kind, entry: Recipient, now: float, *, proven: bool) -> Decision:
    evidence = Evidence("report", now, entry.diagnostic[:MAX_EVIDENCE], entry.rule, entry.status)
    address = entry.original_address or entry.address
    if kind is not Kind.BOUNCE or entry.action is not Action.FAILED:
        return Decision(address, Consequence.NOTHING, "not-final", entry.category, entry.fault, evidence)
    if not proven:
        return Decision(address, Consequence.NOTHING, "not-proven", entry.category, entry.fault, evidence)
    return _decide(policy, address, entry.category, entry.fault, hard=entry.hard, evidence=evidence)


def _decide(policy: Policy, address: str, category: Category, fault: Fault, *, hard: bool, evidence: Evidence) -> Decision:
    row = next((row for row in policy.rows if _holds(row, category, fault, hard)), None)
    consequence = row.consequence if row is not None else Consequence.NOTHING
    if fault is not Fault.RECIPIENT and consequence in (Consequence.SUPPRESS, Consequence.COUNT):
        consequence = Consequence.ALARM  # no table may make somebody else's fault the recipient's
    return Decision(address, consequence, row.name if row is not None else "", category, fault, evidence)


def _holds(row: Row, category: Category, fault: Fault, hard: bool) -> bool:
    if row.hard is not None and row.hard != hard:
        return False
    if row.categories and category not in row.categories:
        return False
    return not row.faults or fault in row.faults


class History(msgspec.Struct, frozen=True):
    """The soft failures of one address: Unix times, ascending."""

    times: tuple[float, ...] = ()


def count(policy: Policy, history: History, decision: Decision, now: float) -> tuple[History, Decision]:
    """Count a soft failure. Returns the new history, and the decision: a suppression with an expiry once the threshold is reached.

    Failures within one day are one: a campaign that retries is not evidence of several kinds. Anything but COUNT passes unchanged.
    """
    if decision.consequence is not Consequence.COUNT:
        return history, decision
    recent = [at for at in history.times if now - policy.soft_window < at <= now]
    if not recent or now - recent[-1] >= DAY:
        recent.append(now)
    kept = History(tuple(recent[-MAX_HISTORY:]))
    if len(recent) < policy.soft_threshold:
        return kept, decision
    return History(), msgspec.structs.replace(
        decision, consequence=Consequence.SUPPRESS, row="soft-threshold", expires_at=now + policy.soft_expiry
    )


def forget(history: History) -> History:
    """The history after a delivery: an address that takes mail again has no past."""
    return History() if history.times else history
