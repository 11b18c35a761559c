"""The port of the spool: what the core asks of storage, in values. SQLite is the first engine; PostgreSQL is meant to be the second.

Promises every engine keeps, and the contract tests check:
- `write` carries out one `Transaction` whole or not at all, in the order of its fields, and returns after it is on disk (fsync).
- A write that fails is unknown, not undone: it raises `SpoolBroken`, and the engine refuses everything after it. The core stops and
  recovers by restart. `SpoolFull` alone means: nothing was written, and reads, settlements and later writes may go on.
- A lease has an owner (a node) and an epoch (a start of that node); a settlement, renewal or release with another owner or epoch changes
  nothing and its identity is returned in `Written.stale`.
- Reads return bounded pages; nothing stays open between calls.

What it does not do: decide. Due times, states, retry steps and events come from the core.
"""

from typing import Protocol

import msgspec

from gateway.calls import Message
from gateway.spool.lifecycle import State
from gateway.spool.notice import Notice, Pending, Told


class SpoolError(Exception):
    """Storage did not do what was asked."""


class SpoolBroken(SpoolError):
    """The outcome of a write is unknown, or the file is damaged: stop and recover by restart."""


class SpoolUnusable(SpoolBroken):
    """The file is damaged, of another version or no spool at all: no restart mends it, a person must look."""


class SpoolFull(SpoolError):
    """No space: nothing of this transaction was written."""


class SpoolRefused(SpoolError):
    """The transaction contradicts the spool (an identity twice, an illegal state), which is a bug of ours: nothing of it was written."""


class SpoolLocked(SpoolError):
    """Another process has this folder."""


class FlowKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A flow: deliveries that are alike for the scheduler (DESIGN section 2, "The engine"); `route` is the set of hosts they go to."""

    provider: str
    route: str
    pool: str
    account: str
    stream: str
    campaign: str
    priority: str = "normal"
    only: str = ""
    """The one source that may carry it, or ""."""
    without: tuple[str, ...] = ()
    """Sources excluded."""


UNROUTED = 0
"""Flow number of deliveries whose domain has no route yet."""


class NewFlow(msgspec.Struct, frozen=True, gc=False):
    """A flow that gets its number (given by the core, ascending from 1)."""

    number: int
    key: FlowKey


class NewDelivery(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One recipient of an accepted message. `leased`: written as leased by this owner and epoch, else queued."""

    id: int
    recipient: str
    domain: str
    return_path: str
    flow: int
    due: float
    """When queued: when to try. When leased: when to try again if we crash."""
    leased: bool
    notify: str = ""
    """NOTIFY of RCPT (RFC 3461 section 4.1), as `gateway.smtp.dsn` gives it."""
    orcpt: str = ""
    """ORCPT of RCPT (RFC 3461 section 4.2), the same."""


class Acceptance(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One message to take responsibility for. `message.id` is set."""

    message: Message
    content: bytes
    expires: float
    """Unix seconds at which its deliveries expire."""
    deliveries: list[NewDelivery]
    events: list[bytes]
    """Those of its deliveries are the last ones, one each and in their order."""
    key: bytes = b""
    """16 octets that stand for (account, idempotency key): a recipient accepted under them before is not queued again, and its event is not
    written (see `Written.repeated`). Empty for none. Kept as long as the sent ledger, counted from the key's first use."""
    body: int = 0
    """With a key: a hash of the body, to tell when the same key comes with another."""
    told: Told | None = None
    """The notices that this message, a report of ours, tells."""


class LeaseRequest(msgspec.Struct, frozen=True, gc=False):
    """Lease up to `limit` queued deliveries of `flow` due at `now`, earliest due first; their due on disk becomes `next_due`, and they
    are returned with the state and the due time they had before, which a `Release` can give back."""

    flow: int
    now: float
    limit: int
    next_due: float


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A delivery as the spool knows it."""

    id: int
    message: Message
    recipient: str
    domain: str
    return_path: str
    flow: int
    state: State
    due: float
    expires: float
    attempts: int
    """Attempts made so far, of any kind."""
    steps: int
    """Steps of the retry schedule used up."""
    unsure: int
    """Attempts that ended Unsure."""
    sources_tried: int
    """Times another source was chosen after an IP-reputation refusal."""
    eligible_until: float
    """When the flow's exclusion or source binding ends and the delivery returns to the pool's flow; 0 for never."""
    first_attempt: float
    """Unix seconds, 0 when none was made."""
    reason: str
    """Last reply or trouble, for people; "" when none."""
    notify: str = ""
    orcpt: str = ""
    delay_told: bool = False
    """A notice of its delay was written."""


class Leased(msgspec.Struct, frozen=True, gc=False):
    """The answer to one LeaseRequest: the deliveries, and the due time of the flow's next queued one (0 when none is left)."""

    flow: int
    deliveries: list[Queued]
    next_due: float


class Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The end of an attempt (or of waiting) of one leased delivery, its event beside it. QUEUED keeps it with the new values; a final
    state removes it from the queue and writes its row of the sent ledger; the message's bytes go with its last delivery."""

    delivery: int
    state: State
    at: float
    events: list[bytes] = []
    flow: int = -1
    """New flow; -1 keeps."""
    due: float = 0.0
    attempts: int = 0
    steps: int = 0
    unsure: int = 0
    sources_tried: int = 0
    eligible_until: float = 0.0
    reason: str = ""
    unleased: bool = False
    """The delivery is queued: it was deferred before anybody could lease it, for want of a route."""
    notice: Notice | None = None
    """What the sender is to be told of it; of a delay once, which marks the delivery."""


class Release(msgspec.Struct, frozen=True, gc=False):
    """A leased delivery goes back untouched: queued, due at `due`. -1 in `flow` keeps the flow."""

    delivery: int
    due: float
    flow: int = -1


class Routed(msgspec.Struct, frozen=True, gc=False):
    """A queued delivery (see `Spool.unrouted`, `Spool.lapsed`) gets flow `flow`; one that is not queued is left alone, in silence."""

    delivery: int
    flow: int
    eligible_until: float = -1.0
    """New value; 0 when an exclusion or binding has lapsed, -1 keeps the old one."""


class Hold(msgspec.Struct, frozen=True, gc=False):
    """One row about flows: those that match every non-empty field are not served until it is removed or `until` (0: no end) comes."""

    id: int
    created: float
    until: float = 0.0
    provider: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    domain: str = ""
    source: str = ""
    reason: str = ""


class Selection(msgspec.Struct, frozen=True, gc=False):
    """Which deliveries a command means; empty fields match all."""

    ids: list[int] = []
    domain: str = ""
    provider: str = ""
    account: str = ""
    stream: str = ""
    campaign: str = ""
    older_than: float = 0.0
    """Accepted before this Unix time; 0 for any."""
    due_before: float = 0.0
    """Due before this Unix time; 0 for any."""


class Sweep(msgspec.Struct, frozen=True, gc=False):
    """One slice (at most `limit`, 1,000) of a change to many queued deliveries: `retry` makes them due at `at`, `reroute` makes them
    unrouted and due at `at`. Leased ones are not touched. `after` is the largest identity already seen, so that a sweep moves on. `forget`
    takes the identities of its selection out of the sent ledger."""

    action: str
    selection: Selection
    at: float
    after: int = 0
    limit: int = 1000


class Note(msgspec.Struct, frozen=True, gc=False):
    """A small value that must survive a restart (limit reserves, ledgers, positions); None removes it."""

    key: str
    value: bytes | None


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """Everything one commit writes, carried out in this order."""

    flows_removed: list[int] = []
    """Flows that are forgotten; one that has a delivery after all stays until the next start."""
    flows: list[NewFlow] = []
    acceptances: list[Acceptance] = []
    changes: list[Change] = []
    releases: list[Release] = []
    routed: list[Routed] = []
    leases: list[LeaseRequest] = []
    holds: list[Hold] = []
    holds_removed: list[int] = []
    sweeps: list[Sweep] = []
    notes: list[Note] = []
    events: list[bytes] = []
    """Events without a delivery's change."""
    outbox_until: int = 0
    """Outbox rows up to this position have been published and go: at most 1,000 a transaction, the rest with later ones, and an engine may
    keep a few (SQLite the newest). Nobody may rely on their absence; a position is never given twice. 0 for none."""
    told: list[Told] = []
    """Notices that no report tells: they go."""


class Repeated(msgspec.Struct, frozen=True, gc=False):
    """An acceptance with recipients that were accepted under its key before: these `deliveries` were not written, and without any left
    neither was the message. `first` is the earliest message that has one of them; `differs`: one of them came with another body."""

    message: int
    first: int
    deliveries: list[int]
    differs: bool


class Written(msgspec.Struct, frozen=True, gc=False):
    """What a transaction did."""

    leased: list[Leased] = []
    stale: list[int] = []
    """Deliveries whose change or release came with an old owner or epoch, or that are not leased: nothing was changed."""
    swept: list[list[int]] = []
    """Identities each sweep touched, ascending."""
    position: int = 0
    """Position of the last outbox row written by this transaction; 0 when it wrote none."""
    damaged: list[int] = []
    """Deliveries whose stored facts do not decode. They were leased and not given out: quarantined until the next start."""
    repeated: list[Repeated] = []
    """Acceptances of which something was accepted before."""


class FlowCount(msgspec.Struct, frozen=True, gc=False):
    """Backlog of one flow."""

    number: int
    queued: int
    leased: int
    oldest: float
    """Acceptance time of the oldest."""
    next_due: float


class Recovered(msgspec.Struct, frozen=True, gc=False):
    """What a start found."""

    owner: int
    epoch: int
    last_identity: int
    returned: int
    """Deliveries that were leased by this owner's earlier epochs and are queued again."""
    flows: list[NewFlow]
    holds: list[Hold]
    position: int
    clean: bool
    """The last stop was orderly."""


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """A delivery that ended, as the sent ledger keeps it."""

    delivery: int
    recipient: str
    account: str
    stream: str
    campaign: str
    message_id: str
    state: State
    at: float


class Spool(Protocol):
    """Storage. `write` and `recover` block and are called from the writer's own thread; reads block too, and are short."""

    def recover(self, owner: int, now: float) -> Recovered:
        """Open a new epoch of `owner`: its leased deliveries are queued again, due as written."""

    def write(self, transaction: Transaction) -> Written:
        """Carry out and make durable. Raises SpoolFull or SpoolBroken."""

    def content(self, message: int) -> bytes | None:
        """The bytes the application sent, or None when the message is gone."""

    def unrouted(self, after: int, limit: int) -> list[Queued]:
        """Queued deliveries without a route with identities over `after`, ascending."""

    def flows_due(self, since: float, now: float, limit: int) -> list[int]:
        """Numbers of flows that have a queued delivery with `since` < due <= `now`."""

    def next_due(self, now: float) -> float:
        """The earliest due time after `now` of any queued, routed delivery; 0 when there is none."""

    def expiring(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `expires` has come (leased ones end by their attempt)."""

    def lapsed(self, now: float, limit: int) -> list[Queued]:
        """Queued deliveries whose `eligible_until` has come."""

    def find(self, selection: Selection, after: int, limit: int) -> list[Queued]:
        """Deliveries in the queue that match, with identities over `after`, ascending."""

    def count(self, selection: Selection) -> int:
        """How many deliveries in the queue match."""

    def backlog(self) -> list[FlowCount]:
        """Backlog of every flow that has any."""

    def events(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Outbox rows after a position."""

    def notices(self, now: float, limit: int) -> list[Pending]:
        """Notices that are due, of at most `limit` messages, earliest first; with each, all others of its message and action."""

    def excerpt(self, message: int, limit: int) -> bytes | None:
        """The first `limit` bytes the application sent, or None when the message is gone."""

    def note(self, key: str) -> bytes | None:
        """The value of a note."""

    def sent(self, delivery: int) -> LedgerEntry | None:
        """The ledger row of a delivery that ended within the return window."""

    def close(self, clean: bool) -> None:
        """End. `clean` says that everything is settled."""
