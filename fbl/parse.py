"""A complaint, read: `parse(raw)` gives a Feedback, or None when the message is no complaint.

Promises: any octets in, never an exception; size, depth, count and time bounded. A report that wraps a delivery report is a complaint and
stays one. It does not know our messages: whoever has the keys checks `token` and `sealed`, and a report without either suppresses nobody.
"""

from fbl import xarf
from fbl.arf import fields_of_report, read
from fbl.report import Feedback
from fbl.variants import from_jmrp, from_notification, from_prose, from_text, from_unsubscription, from_words, original_of
from mail.complaint import FEEDBACK_TYPE, is_complaint, is_jmrp, is_unsubscription
from mail.mime import parse as parse_mime
from mail.notification import notification


def parse(raw: bytes) -> Feedback | None:
    """The complaint in `raw` (a message, or an XARF document), or None."""
    document = xarf.parse_json(raw[: xarf.MAX_OCTETS + 1])
    if document is not None:
        return document
    root = parse_mime(raw)
    part = root.find(FEEDBACK_TYPE)
    if part is not None:
        fields = fields_of_report(part.content())
        if not any(name == "feedback-type" for name, _ in fields):
            fields = [*fields, ("feedback-type", "abuse" if fields else "other")]
        return read(fields, original_of(root), "arf")
    told = notification(root)
    if told is not None:
        return from_notification(told)
    attached = xarf.in_mail(root)
    if attached is not None or not is_complaint(root):
        return attached
    if is_unsubscription(root):
        return from_unsubscription(root)
    if is_jmrp(root):
        return from_jmrp(root)
    return from_text(root) or from_prose(root) or from_words(root)
