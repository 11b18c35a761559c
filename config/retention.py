"""How long what is known of people is kept, where a time decides it."""

from pydantic import Field

from config.model import Model
from config.units import Duration
from mail.event import EventKind

DAY = 86_400.0


class Retention(Model):
    """How long data is kept. The sent ledger is kept for `gateway.return_window`; bodies go when the last delivery of a message ends."""

    event_files: Duration = Field(30 * DAY, ge=DAY, description="Event files on this machine; the one being written is rotated each day.")
    events: Duration = Field(395 * DAY, ge=DAY, description="Events in the contact database, or in the embedded event log: 13 months.")
    event_kinds: dict[EventKind, Duration] = Field(
        default={}, description='The same for single kinds, such as `{ accepted = "30d", deferred = "7d" }`.'
    )
    dead_letters: Duration = Field(30 * DAY, ge=DAY, description="Webhook requests that were given up.")
    reports: Duration = Field(30 * DAY, ge=DAY, description="Bounce and complaint messages as they came, where they are kept.")
