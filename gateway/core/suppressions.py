"""The suppression view as the core uses it: looked up for each recipient, fed by events in the same turn of the loop as their cause.

A lookup that cannot be made is never "not suppressed": it raises SpoolError, new mail is answered 451 and queued mail waits. That shows on
/readyz as `contacts` until a lookup succeeds again.
"""

from collections.abc import Callable

from config.settings import Settings
from contacts.soft import SoftFailures
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Reason, Rules, Scope
from contacts.trouble import StoreError
from gateway.core.soft import SoftBounces
from gateway.spool.port import SpoolError
from mail.address import Address
from mail.event import Event


def policy_of(settings: Settings) -> Policy:
    """What the configuration says about the list."""
    known = settings.suppression
    return Policy(
        passes={
            "transactional": frozenset(Reason(name) for name in known.transactional_passes),
            "marketing": frozenset(Reason(name) for name in known.marketing_passes),
        },
        scopes={Reason.UNSUBSCRIBE: Scope(known.unsubscribe_scope)},
    )


def rules_of(settings: Settings) -> Rules:
    """The policy with the configured streams."""
    return Rules(policy_of(settings), {stream.name: stream.kind for stream in settings.stream})


class Suppressions:
    """Carries lookups and events to the store. `on_trouble` gets the sentence, or None when it is well."""

    def __init__(
        self, store: SuppressionStore, settings: Settings, clock: Callable[[], float], on_trouble: Callable[[str | None], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_trouble = on_trouble
        self._troubled = False
        self.soft = SoftBounces(SoftFailures(store), settings.suppression, on_trouble)

    def reconfigure(self, settings: Settings) -> None:
        """Use new settings for what comes."""
        self._store.rules = rules_of(settings)
        self.soft.reconfigure(settings.suppression)

    def reason(self, account: str, stream: str, recipient: Address) -> str | None:
        """Why this recipient is suppressed, or None. Raises SpoolError when that cannot be known."""
        return self._looked_up(lambda: self._store.reason(account, stream, recipient))

    def reason_everywhere(self, account: str, recipient: Address) -> str | None:
        """Why no mail of this account may go to this recipient, or None. Raises SpoolError when that cannot be known."""
        return self._looked_up(lambda: self._store.reason_everywhere(account, recipient))

    def _looked_up(self, look: Callable[[], str | None]) -> str | None:
        try:
            found = look()
        except StoreError as error:
            self._troubled = True
            self._on_trouble(str(error))
            raise SpoolError(str(error)) from error
        if self._troubled:
            self._troubled = False
            self._on_trouble(None)
        return found

    def apply(self, event: Event) -> None:
        """Take an event into the view at once. Trouble is told; the event log brings it again."""
        try:
            self._store.apply(event)
        except StoreError as error:
            self._troubled = True
            self._on_trouble(str(error))

    def catch_up(self, rows: list[tuple[int, bytes]]) -> None:
        """Carry rows of the event log to disk; from the outbox's thread. Raises SpoolError."""
        try:
            reached = self._store.position()
            self.soft.follow((line for position, line in rows if position > reached), self._clock())
            self._store.catch_up(rows)
        except StoreError as error:
            raise SpoolError(str(error)) from error
