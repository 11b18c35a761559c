"""Whether a message is a complaint: a feedback report (RFC 5965) or what big mailbox operators send in its place.

Both rooms that read what comes back need to know, one to read it and the other to leave it alone; reading it is `fbl`'s matter.
"""

import re

from mail.mime import Part

FEEDBACK_TYPE = "message/feedback-report"
JMRP_FIELD = "x-hmxmroriginalrecipient"
COMPLAINT_SUBJECT = "complaint about message from"
COMPLAINT_WORDS = ("this is an email abuse report", "this is a spam complaint", "this is an abuse report")
AUTHENTICATION_FAILED = "has failed the published dmarc policy for your domain"

_IN_TEXT = re.compile(r"(?im)^feedback-type[ \t]{0,4}:[ \t]{0,4}[a-z-]{3,40}[ \t]{0,4}$")
_VERSION_IN_TEXT = re.compile(r"(?im)^(?:version|user-agent|source-ip|original-mail-from|original-rcpt-to)[ \t]{0,4}:")


def is_complaint(root: Part) -> bool:
    """Whether `root` is a feedback report in any of its known shapes."""
    if root.find(FEEDBACK_TYPE) is not None or root.parameters.get("report-type", "").strip().lower().startswith("feedback-report"):
        return True
    if is_jmrp(root) or is_unsubscription(root) or is_spoken(root):
        return True
    for part in root.walk():
        if not part.parts and part.type in ("text/plain", "application/octet-stream"):
            octets = part.content()[:8_000]
            if b"eedback-" not in octets:
                continue
            body = octets.decode("latin-1")
            if _IN_TEXT.search(body) and _VERSION_IN_TEXT.search(body):
                return True
    return False


def is_jmrp(root: Part) -> bool:
    """The old form of Microsoft's junk mail reports: the message itself, with a field that names its recipient."""
    if root.value(JMRP_FIELD):
        return True
    enclosed = root.find("message/rfc822")
    return enclosed is not None and JMRP_FIELD.encode() in enclosed.body[:65_536].lower()


def is_unsubscription(root: Part) -> bool:
    """Apple Mail's automatic "unsubscribe" message: an opt-out that its user asked for with one click."""
    return root.value("x-apple-unsubscribe").strip().lower() == "true"


def is_spoken(root: Part) -> bool:
    """A message that says it is a complaint and encloses the message complained about; or failed authentication reported in prose."""
    text = next((part for part in root.walk() if part.type == "text/plain" and not part.parts), None)
    said = " ".join(text.content()[:4_000].decode("latin-1").lower().split()) if text is not None else ""
    if AUTHENTICATION_FAILED in said:
        return True
    subject = root.value("subject").strip().lower()
    return root.find("message/rfc822") is not None and (
        subject.startswith(COMPLAINT_SUBJECT) or any(words in said for words in COMPLAINT_WORDS)
    )
