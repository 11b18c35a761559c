"""Every format by the name that commands take."""

from contacts.formats import hashed, lines, sendgrid, services, table
from contacts.formats.shape import Format

FORMATS: dict[str, Format] = {
    shape.name: shape
    for shape in (
        Format(
            "csv",
            "Our columns. Loses account and stream of entries that are not scoped to them, evidence and batch.",
            table.read,
            table.write,
        ),
        Format("ndjson", "Every field; ids are given anew when imported.", lines.read, lines.write),
        Format("ses", "Amazon SES: address and BOUNCE or COMPLAINT; no times.", services.read_ses, services.write_ses),
        Format("mailgun", "Mailgun: any of its three lists, by header.", services.read_mailgun),
        Format("mailgun-bounces", "Mailgun: hard bounces and invalid ones.", services.read_mailgun, services.write_mailgun_bounces),
        Format("mailgun-complaints", "Mailgun: complaints.", services.read_mailgun, services.write_mailgun_complaints),
        Format(
            "mailgun-unsubscribes", "Mailgun: unsubscribes, a list is a tag.", services.read_mailgun, services.write_mailgun_unsubscribes
        ),
        Format("postmark", "Postmark: bounces, complaints, manual ones; no text.", services.read_postmark, services.write_postmark),
        Format("sendgrid", "SendGrid: any of its lists, by columns (never `blocks`).", sendgrid.read),
        Format("sendgrid-bounces", "SendGrid: hard bounces, with status and text.", sendgrid.read, sendgrid.write_bounces),
        Format("sendgrid-spam-reports", "SendGrid: complaints.", sendgrid.read, sendgrid.write_spam_reports),
        Format("sendgrid-unsubscribes", "SendGrid: unsubscribes.", sendgrid.read, sendgrid.write_unsubscribes),
        Format("sendgrid-invalid", "SendGrid: invalid addresses.", sendgrid.read, sendgrid.write_invalid),
        Format("sha256", "Plain SHA-256 of the address; reason and time are lost.", hashed.read, hashed.write),
    )
}
"""By name. A salted SHA-256 export has its salt: `contacts.formats.hashed.salted`."""
