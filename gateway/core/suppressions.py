"""The suppression view as the core uses it: looked up for each recipient, fed by events in the same turn of the loop as their cause.

A lookup that cannot be made is never "not suppressed": it raises SpoolError, new mail is answered 451 and queued mail waits. That shows on
/readyz as `contacts` until a lookup succeeds again.
"""

from collections.abc import Callable

from contacts.store import SuppressionStore
from contacts.trouble import StoreError
from gateway.spool.port import SpoolError
from mail.address import Address
from mail.event import Event


class Suppressions:
    """Carries lookups and events to the store. `on_trouble` gets the sentence, or None when it is well."""

    def __init__(self, store: SuppressionStore, on_trouble: Callable[[str | None], None]) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self._troubled = False

    def reason(self, account: str, stream: str, recipient: Address) -> str | None:
        """Why this recipient is suppressed, or None. Raises SpoolError when that cannot be known."""
        try:
            found = self._store.reason(account, stream, recipient)
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
            self._store.catch_up(rows)
        except StoreError as error:
            raise SpoolError(str(error)) from error
