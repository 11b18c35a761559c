"""Every format by the name that commands take."""

from contacts.formats import hashed, lines, sendgrid, services, table
from contacts.formats.shape import Format, Splits

_TABLE = Splits(quoted=True, header=True)
_ROWS = Splits(quoted=True, unless=b"{")
_TABLE_OR_ARRAY = Splits(quoted=True, header=True, unless=b"[")

FORMATS: dict[str, Format] = {
    shape.name: shape
    for shape in (
        Format(
            "csv",
            "Our columns. Loses account and stream of entries that are not scoped to them, evidence and batch.",
            table.read,
            table.write,
            _TABLE,
        ),
        Format("ndjson", "Every field; ids are given anew when imported.", lines.read, lines.write, Splits()),
        Format("ses", "Amazon SES: address and BOUNCE or COMPLAINT; no times.", services.read_ses, services.write_ses, _ROWS),
        Format("mailgun", "Mailgun: any of its three lists, by header.", services.read_mailgun, splits=_TABLE),
        Format("mailgun-bounces", "Mailgun: hard bounces and invalid ones.", services.read_mailgun, services.write_mailgun_bounces, _TABLE),
        Format("mailgun-complaints", "Mailgun: complaints.", services.read_mailgun, services.write_mailgun_complaints, _TABLE),
        Format(
            "mailgun-unsubscribes",
            "Mailgun: unsubscribes, a list is a tag.",
            services.read_mailgun,
            services.write_mailgun_unsubscribes,
            _TABLE,
        ),
        Format(
            "postmark",
            "Postmark: bounces, complaints, manual ones; no text.",
            services.read_postmark,
            services.write_postmark,
            lines=False,
        ),
        Format("sendgrid", "SendGrid: any of its lists, by columns (never `blocks`).", sendgrid.read, splits=_TABLE_OR_ARRAY),
        Format("sendgrid-bounces", "SendGrid: hard bounces, with status and text.", sendgrid.read, sendgrid.write_bounces, _TABLE_OR_ARRAY),
        Format("sendgrid-spam-reports", "SendGrid: complaints.", sendgrid.read, sendgrid.write_spam_reports, _TABLE_OR_ARRAY),
        Format("sendgrid-unsubscribes", "SendGrid: unsubscribes.", sendgrid.read, sendgrid.write_unsubscribes, _TABLE_OR_ARRAY),
        Format("sendgrid-invalid", "SendGrid: invalid addresses.", sendgrid.read, sendgrid.write_invalid, _TABLE_OR_ARRAY),
        Format(
            "sha256",
            "Plain SHA-256 of the address; reason and time are lost.",
            hashed.read,
            hashed.write,
            Splits(prefix=b"sha256\n"),
        ),
    )
}
"""By name. A salted SHA-256 export has its salt: `contacts.formats.hashed.salted`."""
