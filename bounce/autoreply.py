"""Automatic answers (RFC 3834), challenges, loops, and what people write back.

None of these says that an address is dead: the colleague who left is a fact for the contact database, not a bounce. A message is automatic
when its header says so, or its subject begins as only automatic answers do; a quotation of such a subject behind "Re:" does not count.
What remains from a person is a reply; what remains from a list or a robot is nothing (None).
"""

import datetime
import email.utils
import re

from bounce.answers import answers
from bounce.dates import returning
from bounce.notice import Notice
from bounce.phrases import normalise
from bounce.reply import new_text
from bounce.report import Absence, Kind, Report
from mail.encoded_word import text as decoded
from mail.mime import Part

MAX_TEXT = 16_000

_FIELDS = (
    "x-autoreply",
    "x-autorespond",
    "x-auto-reply",
    "x-autoreply-from",
    "x-autoresponder",
    "x-vacation",
    "x-auto-reply-from",
    "x-mdn-autoreply",
)
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_LOOP = ("loop alert", "mail loop detected", "mail loop", "duplicated message id")
_READ = re.compile(r"(?i)^\s{0,4}(?:not read|read|gelesen|ungelesen|lu|non lu|le[ií]do|no le[ií]do|letto|non letto|lida?)\s{0,2}:")
_WAS_READ = re.compile(
    r"(?i)was (?:read|displayed|opened) on|was deleted without being read|wurde (?:am .{4,60} )?gelesen|ungelesen gel[oö]scht"
    r"|a [eé]t[eé] lu|sans avoir [eé]t[eé] lu|fue le[ií]do|se ley[oó]|sin ser le[ií]do|[eè] stato letto|senza essere letto"
)
_LEAD = 160
"""Characters before an address that may say whose it is."""
_SUBJECT_MARK = re.compile(r"(?i)^\s{0,4}(?:re|aw|fwd?|wg|tr|rv|r|i|sv|antw)\s{0,2}:\s{0,4}")


def read(root: Part, said: Notice) -> Report | None:
    """What a message that is no delivery report is."""
    subject = decoded(root.value("subject").encode("utf-8", "replace"))
    text = _all_text(root, said)
    automatic = is_automatic(root, subject) or _speaks_of_absence(root, subject, text)
    if any(normalise(subject).startswith(f" {phrase} ") for phrase in _LOOP):
        return Report(Kind.LOOP, rule="loop")
    if _READ.match(subject) and _WAS_READ.search(text[:4_000]):
        return Report(Kind.READ_RECEIPT, rule="read-in-words")
    if _is_challenge(subject, text, bool(automatic) or is_bulk(root)):
        return Report(Kind.CHALLENGE, rule="challenge")
    if automatic:
        return Report(Kind.AUTO_REPLY, rule=automatic, absence=absence(root, subject, text), text=new_text(text)[:MAX_TEXT])
    if "@" not in root.value("from") or is_bulk(root):
        return None
    return Report(Kind.REPLY, rule="reply", text=new_text(text)[:MAX_TEXT])


def _all_text(root: Part, said: Notice) -> str:
    """The whole text, also behind what would begin a returned message in a report."""
    for part in root.walk():
        if not part.parts and part.type in ("text/plain", "text/html") and part.body.strip():
            return part.text()[:MAX_TEXT]
    return said.text[:MAX_TEXT]


def is_automatic(root: Part, subject: str) -> str:
    """What says that no person wrote this ("" when nothing does)."""
    submitted = root.value("auto-submitted").strip().lower()
    if submitted and not submitted.startswith("no"):  # RFC 3834 section 5
        return "auto-submitted"
    for field in _FIELDS:
        if root.value(field):
            return field
    if root.value("precedence").strip().lower() in ("auto_reply", "auto-reply"):
        return "precedence"
    normal = normalise(subject)
    if any(normal.startswith(phrase) for phrase in answers().subjects):
        return "subject"
    return ""


def _speaks_of_absence(root: Part, subject: str, text: str) -> str:
    """A subject that people use as well, over a text that says until when somebody is away."""
    normal = normalise(subject)
    if not any(normal.startswith(phrase) for phrase in answers().perhaps):
        return ""
    found = absence(root, subject, text)
    return "subject" if found.returns or found.left else ""


def is_bulk(root: Part) -> bool:
    """Whether a list or a robot sent this."""
    precedence = root.value("precedence").strip().lower()
    return precedence in ("bulk", "list", "junk") or bool(root.value("list-id") or root.value("list-unsubscribe"))


def _is_challenge(subject: str, text: str, automatic: bool) -> bool:
    """Whether somebody's machine wants a proof before it delivers: two different sentences of such machines, or one from a robot."""
    found = answers().challenge
    if _SUBJECT_MARK.match(subject) and not automatic:
        return False
    hits = len({sentence for sentence in re.split(r"[.!?\n]", f"{subject}\n{text[:6_000]}")[:200] if found.found(sentence)})
    return hits >= 2 or (hits == 1 and automatic and bool(re.search(r"https?://|\breply\b", text, re.I)))


def absence(root: Part, subject: str, text: str) -> Absence:
    """What the author says about being away, gone, or elsewhere."""
    table = answers()
    new = new_text(text)
    own = {address.lower() for field in ("from", "reply-to", "to") for address in _ADDRESS.findall(root.value(field)[:2_000])}
    left = bool(table.left.found(f"{subject}\n{new}"))
    changed = not left and bool(table.changed.found(f"{subject}\n{new}"))
    address = _address(new, own, anything=left or changed)
    return Absence(
        returns="" if left or changed else returning(f"{_without_mark(subject)}\n{new}", _written(root)),
        successor="" if changed else address,
        new_address=address if changed else "",
        left=left,
    )


def _without_mark(subject: str) -> str:
    """The subject, unless it is that of the message answered."""
    return "" if _SUBJECT_MARK.match(subject) else subject


def _address(text: str, own: set[str], *, anything: bool) -> str:
    """The first address in the text that is not the author's; `anything`: even without words that lead to it."""
    contact = answers().contact
    for match in _ADDRESS.finditer(text[:MAX_TEXT]):
        address = match.group().strip(".'")
        if address.lower() not in own and (anything or contact.found(text[max(0, match.start() - _LEAD) : match.start()])):
            return address
    return ""


def _written(root: Part) -> datetime.date:
    """The day the message says it was written; without a readable one, long ago, so that no date of the text is past."""
    try:
        found = email.utils.parsedate_to_datetime(root.value("date")[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return datetime.date(2000, 1, 1)
    return found.date()
