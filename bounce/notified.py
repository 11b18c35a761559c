"""Bounces and deliveries that arrive as JSON from a sending service (`mail.notification`), as reports."""

from bounce.diagnostic import read, remote_host, unwrap
from bounce.dsn import action_of
from bounce.report import Action, Kind, Recipient, Report, kind_of, recipient
from mail.notification import Bounce, Notification

MAX_RECIPIENTS = 500


def report_of(found: Notification) -> Report | None:
    """The report, or None when the notification tells of something else."""
    identity = next((field.value for field in found.mail.headers[:200] if field.name.lower() == "message-id"), "") or found.mail.message_id
    if found.complaint is not None:
        return Report(Kind.FEEDBACK, rule="json-notification")
    if found.bounce is not None:
        entries = tuple(_bounced(found.bounce))
        return Report(kind_of(entries), entries, original_message_id=identity, rule="json-notification") if entries else None
    if found.delivery is not None:
        reading = read(found.delivery.smtp_response)
        entries = tuple(
            recipient(address, Action.DELIVERED, "", reading.found, diagnostic=found.delivery.smtp_response)
            for address in found.delivery.recipients[:MAX_RECIPIENTS]
        )
        return Report(Kind.DELIVERED, entries, original_message_id=identity, rule="json-notification")
    return None


def _bounced(bounce: Bounce) -> list[Recipient]:
    entries = []
    for entry in bounce.bounced_recipients[:MAX_RECIPIENTS]:
        if "@" not in entry.email_address:
            continue
        diagnostic = unwrap(entry.diagnostic_code)
        reading = read(diagnostic, entry.status, f"{bounce.bounce_type} {bounce.bounce_sub_type}")
        action = action_of(entry.action, reading.status) if entry.action else Action.FAILED
        address = entry.email_address.strip().rpartition("<")[2].rstrip(">")
        remote = remote_host(diagnostic)
        entries.append(recipient(address, action, reading.status or entry.status, reading.found, diagnostic=diagnostic, remote_mta=remote))
    return entries
