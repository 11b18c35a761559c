"""Suppression: who must not be written to, by whom, and why. A view of the event log, never a truth of its own (DESIGN section 5).

An `Entry` is one reason for one address, within a scope. It comes with a `suppression_added` event and goes with a `suppression_removed`
that NAMES it. That makes the view the same in whatever order and however often events arrive: an entry that was removed does not come back
when its addition arrives late, and a new addition, which has a new id, does suppress again.

Promises: pure, no clock (one is given), no input or output; applying an event twice changes nothing; an event that makes no sense changes
nothing. It does not decide whether a bounce suppresses (`bounce.consequence` does), and it does not keep anything: `contacts.store` does.
`SuppressionView` here holds everything in memory; it is the model that the store is tested against.
"""

import enum
from collections.abc import Callable, Iterable

import msgspec

from contacts.address import hash_of, normal_form, subject_of
from mail.address import Address
from mail.event import Event, EventKind

MAX_ENTRIES = 1000
"""Entries of one address that are looked at. Hardly anybody has more than one; the rest is somebody's flood."""
MAX_TEXT = 1000
"""Characters kept of a diagnostic; other texts keep 255."""
MAX_WORD = 255


class Reason(enum.StrEnum):
    """Why, the gravest first: where several hold, the first is named."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    INVALID = "invalid"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"
    IMPORTED = "imported"
    SOFT_BOUNCE_LIMIT = "soft_bounce_limit"


class Scope(enum.StrEnum):
    """For whom: everybody; one account; one stream, of one account or (account empty) of all; one list, likewise."""

    GLOBAL = "global"
    ACCOUNT = "account"
    STREAM = "stream"
    LIST = "list"


GRAVITY = {reason: number for number, reason in enumerate(Reason)}


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One reason for one address. Times in Unix seconds; `expires` 0: never. Add fields at the end, with defaults: entries are stored.

    `address` is the normal form, `sha256:…` where only the hash is known, or "" where the person was forgotten. `evidence` is the id of
    the event that caused it; `code`, `enhanced`, `diagnostic` what the remote side said; `batch` the import it came with.
    """

    id: str
    address: str
    reason: Reason
    scope: Scope
    created: float
    account: str = ""
    stream: str = ""
    list: str = ""
    origin: str = ""
    evidence: str = ""
    expires: float = 0.0
    code: int = 0
    enhanced: str = ""
    diagnostic: str = ""
    campaign: str = ""
    message_id: str = ""
    batch: str = ""

    def live(self, now: float) -> bool:
        """Whether it has not expired."""
        return not self.expires or now < self.expires

    def applies(self, account: str, stream: str, name: str = "") -> bool:
        """Whether it is about mail of this account, stream and list (`name`; "" when the message has none)."""
        match self.scope:
            case Scope.GLOBAL:
                return True
            case Scope.ACCOUNT:
                return self.account == account
            case Scope.STREAM:
                return self.stream == stream and self.account in ("", account)
            case Scope.LIST:
                return self.list == name != "" and self.account in ("", account)


class Added(msgspec.Struct, frozen=True, gc=False):
    """An entry that was not there."""

    entry: Entry


class Removed(msgspec.Struct, frozen=True, gc=False):
    """The entry of `address` with this id must not be there, now or later."""

    address: str
    entry: str
    at: float


Change = Added | Removed


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which reasons mail of a kind may pass, and for whom a new entry holds.

    `unsubscribe_scopes` gives the scope of an unsubscription by stream, where it is not the default.
    """

    passes: dict[str, frozenset[Reason]] = msgspec.field(default_factory=lambda: {"transactional": frozenset({Reason.UNSUBSCRIBE})})
    scopes: dict[Reason, Scope] = msgspec.field(default_factory=lambda: {Reason.UNSUBSCRIBE: Scope.ACCOUNT})
    unsubscribe_scopes: dict[str, Scope] = {}

    def scope_of(self, reason: Reason, stream: str) -> Scope:
        """For whom an entry holds that comes from mail of `stream`. Dead addresses and complaints hold for all who share the contacts."""
        if reason is Reason.UNSUBSCRIBE and stream in self.unsubscribe_scopes:
            return self.unsubscribe_scopes[stream]
        return self.scopes.get(reason, Scope.GLOBAL)


class Rules:
    """A policy with the kinds of the configured streams: whether an entry keeps a message back."""

    def __init__(self, policy: Policy, kinds: dict[str, str]) -> None:
        """`kinds`: stream name to `transactional` or `marketing`. A stream that is not in it passes nothing."""
        self._passes = {stream: policy.passes.get(kind, frozenset()) for stream, kind in kinds.items()}
        self._passed_somewhere = frozenset[Reason]().union(*self._passes.values())

    def reason(self, entries: Iterable[Entry], account: str, stream: str, name: str, now: float) -> str | None:
        """The gravest reason among `entries` that keeps this mail back, or None."""
        passes = self._passes.get(stream, frozenset())
        found = [
            entry.reason for entry in entries if entry.reason not in passes and entry.live(now) and entry.applies(account, stream, name)
        ]
        return min(found, key=GRAVITY.__getitem__).value if found else None

    def reason_everywhere(self, entries: Iterable[Entry], account: str, now: float) -> str | None:
        """The gravest reason among `entries` that keeps back every mail of the account, whatever its stream, or None."""
        found = [
            entry.reason
            for entry in entries
            if entry.reason not in self._passed_somewhere
            and entry.live(now)
            and (entry.scope is Scope.GLOBAL or (entry.scope is Scope.ACCOUNT and entry.account == account))
        ]
        return min(found, key=GRAVITY.__getitem__).value if found else None


def change_of(event: Event) -> Change | None:
    """What `event` does to the view; None for every other event, and for one that names no address, no entry or an unknown word."""
    if event.kind is EventKind.SUPPRESSION_REMOVED:
        address = subject_of(event.recipient)
        return Removed(address, event.entry, event.at) if address and 0 < len(event.entry) <= MAX_WORD else None
    if event.kind is not EventKind.SUPPRESSION_ADDED:
        return None
    address = subject_of(event.recipient)
    identity = event.entry or event.id
    if not address or not 0 < len(identity) <= MAX_WORD or event.reason not in _REASONS or event.scope not in _SCOPES:
        return None
    entry = Entry(
        identity,
        address,
        Reason(event.reason),
        Scope(event.scope),
        event.at,
        event.account[:MAX_WORD],
        event.stream[:MAX_WORD],
        event.list[:MAX_WORD],
        event.origin[:MAX_WORD],
        event.evidence[:MAX_WORD],
        event.expires,
        event.code if 0 <= event.code < 1000 else 0,
        event.enhanced[:MAX_WORD],
        event.diagnostic[:MAX_TEXT],
        event.campaign[:MAX_WORD],
        event.message_id[:MAX_WORD],
        event.batch[:MAX_WORD],
    )
    return Added(entry) if _has_its_scope(entry) else None


_REASONS = frozenset(reason.value for reason in Reason)
_SCOPES = frozenset(scope.value for scope in Scope)
_NEEDS = {Scope.GLOBAL: None, Scope.ACCOUNT: "account", Scope.STREAM: "stream", Scope.LIST: "list"}


def _has_its_scope(entry: Entry) -> bool:
    """An entry for an account names it, and so on: one that does not would never apply, and nobody would know."""
    needed = _NEEDS[entry.scope]
    return needed is None or bool(getattr(entry, needed))


class SuppressionView:
    """The view in memory. For tests, tools and small lists; a gateway uses `contacts.store.SuppressionStore`."""

    def __init__(self, rules: Rules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._entries: dict[bytes, dict[str, Entry]] = {}
        self._removed: set[str] = set()

    def reason(self, account: str, stream: str, recipient: Address, name: str = "") -> str | None:
        """Why mail of this account and stream (and list `name`) must not go to `recipient`, or None."""
        entries = self._entries.get(hash_of(normal_form(recipient)))
        return None if not entries else self._rules.reason(entries.values(), account, stream, name, self._clock())

    def apply(self, event: Event) -> list[Change]:
        """Take an event in. Returns what changed: nothing for an event that was applied before or is about something else."""
        match change := change_of(event):
            case None:
                return []
            case Added(entry):
                mine = self._entries.setdefault(hash_of(entry.address), {})
                if entry.id in mine or entry.id in self._removed:
                    return []
                mine[entry.id] = entry
            case Removed(address, identity):
                if identity in self._removed:
                    return []
                self._removed.add(identity)
                self._entries.get(hash_of(address), {}).pop(identity, None)
        return [change]

    def entries(self, recipient: Address) -> list[Entry]:
        """Every entry of `recipient`, expired ones too, oldest first."""
        return sorted(self._entries.get(hash_of(normal_form(recipient)), {}).values(), key=lambda entry: (entry.created, entry.id))
