"""Reports for people: the recipients that failed, and why, from prose (`freeform.toml` says how it looks).

`recognise` decides whether a message is a report at all: a daemon's name, a subject, a sentence that only programs say; two of these, or
a field that lists failed recipients. `recipients` finds the addresses (fields copied into the text; addresses that begin a line; addresses
after words that announce them; the one recipient of the returned message) and gives each the words that stand by it.

Promises: linear, bounded, never an exception. An address in a returned message is never taken for a failed one, except its only
recipient when the report names nobody.
"""

import bisect
import re

import msgspec

from bounce.diagnostic import Transcript, codes_of, read, remote_host, strength
from bounce.dsn import groups
from bounce.dsn import recipients as dsn_recipients
from bounce.notice import Notice
from bounce.patterns import patterns
from bounce.phrases import normal_form, normalise, words
from bounce.report import Action, Recipient, recipient
from mail.encoded_word import text as decoded
from mail.mime import Part

MAX_FOUND = 500
MAX_BLOCK = 2_500
GENERAL = "gateway"
"""The format whose signs are the words of any program, and of people."""
FULL_FIELD = 50
"""Addresses at which Exim ends its X-Failed-Recipients; the text goes on."""

_LOCAL = r"(?:[^\s<>()\[\]{},;:\"'|\\*]{1,64}|\"[^\"\n]{1,62}\")"
_ADDRESS = rf"{_LOCAL}@(?:\[[0-9A-Za-z.:]{{2,60}}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{{0,250}}[A-Za-z0-9_])?)"
_ANY = re.compile(_ADDRESS)
_LEADING = re.compile(rf"^[ \t>*•·\-\"'\[(<]{{0,24}}(?:mailto:|smtp:|rfc822;[ ]?|c=.{{0,200}}?SMTP=)?({_ADDRESS})(.{{0,2000}})$", re.I)
_TAIL = re.compile(
    r"^[\"'>\])]{0,4}[;.]?\s{0,4}(?:$|[:\[(<=|–-]|\.\.\.|,\s?(?:error|\d)|on \w{3},|(?:on|am|le|el|il|op|em) (?:\w{2,4}\.?,? ?)?\d|\d{3}\b"
    r"|(?:invalid|error|unknown|mailbox|user|unable|host|recipient|quota)\b)",
    re.I,
)
_TO = re.compile(r"(?i)^[ \t>*-]{0,8}(?:to|recipient|destinataire|an|para|a)[ \t]{0,8}:[ \t]{0,20}\S{0,80}@")
_EMBEDDED = re.compile(r"(?im)^[> \t]{0,8}final-recipient[ \t]{0,4}:")
_ALIAS = re.compile(rf"(?:expanded|generated|forwarded) from:?\s{{1,20}}<?({_ADDRESS})")
_CODE_BEFORE = re.compile(r" [45]\d\d (?:[45] \d{1,3} \d{1,3} )?$")
_REPLY_MARK = re.compile(r"(?i)^\s{0,4}(?:re|aw|fwd?|wg|sv|antw|tr|rv|rif|res|enc)\s{0,3}(?:\[\d{1,3}\])?:")
_ADDRESS_SPLIT = re.compile(r"[,;\s]+")


class Recognised(msgspec.Struct, frozen=True):
    """`rule` names the format; `strong` says that the message is a report beyond doubt."""

    rule: str
    strong: bool


def recognise(root: Part, said: Notice) -> Recognised | None:
    """The format of a report, or None when the message is none."""
    table = patterns()
    listed = failed_recipients_field(root)
    daemon = is_daemon(root)
    subject = has_report_subject(root)
    found = words(said.text[:20_000])
    places = set(table.signs.find(found, normal_form(found)))
    rule = table.formats[min(places)] if places else ("x-failed-recipients" if listed else "daemon")
    answers_somebody = bool(root.value("in-reply-to")) and not root.value("auto-submitted")
    if not daemon and not listed and answers_somebody:
        return None  # a person writes back, and may well quote or retell a report
    if not listed and rule == GENERAL and is_answer(root):
        return None  # a postmaster is a person, too
    if listed or (daemon and (subject or places)) or (subject and places) or table.sufficient.found(said.text[:20_000]):
        return Recognised(rule, bool(listed) or (daemon and subject))
    return None


def is_daemon(root: Part) -> bool:
    """Whether a program that reports sent this: by its name, or by the empty name that RFC 5321 section 4.5.5 gives it."""
    sender = root.value("from")
    local = decoded(sender.encode("utf-8", "replace"))[:500]
    for separator in "@<>().,-_+":
        local = local.replace(separator, " ")
    if patterns().senders.found(local):
        return True
    return "@" not in sender and root.value("return-path").strip() in ("<>", "MAILER-DAEMON", "<MAILER-DAEMON>")


def is_answer(root: Part) -> bool:
    """Whether somebody who can be answered answers a message of ours, and says so in the subject."""
    if not root.value("in-reply-to") or root.value("auto-submitted") or root.value("return-path").strip() == "<>":
        return False
    return bool(_REPLY_MARK.match(decoded(root.value("subject").encode("utf-8", "replace"))))


def has_report_subject(root: Part) -> bool:
    """Whether the subject is that of a report, and not of somebody's answer to one."""
    subject = decoded(root.value("subject").encode("utf-8", "replace"))
    if not _REPLY_MARK.match(subject):
        return bool(patterns().subjects.found(subject))
    # "RE: what was sent : not delivered": the subject that was sent, and the verdict behind it.
    return bool(patterns().subjects.found(" ".join(subject.split()[4:])))


def failed_recipients_field(root: Part) -> list[str]:
    """The addresses of X-Failed-Recipients (Exim, Google)."""
    listed = ",".join(root.values("x-failed-recipients"))[:20_000]
    found = [entry.strip("<>") for entry in _ADDRESS_SPLIT.split(listed) if "@" in entry]
    return list(dict.fromkeys(found))[:MAX_FOUND]


def recipients(root: Part, said: Notice) -> tuple[Recipient, ...]:
    """Those who did not get the message, by name, else the only recipient of the message that is returned."""
    named_ones = named(root, said)
    if named_ones:
        return named_ones
    lines = said.text.split("\n")
    action = action_of(said.text)
    found = _written_to(lines, _addresses(root, "from", "reply-to")) or _returned_to(said.returned)
    transcript = Transcript(said.text)
    return tuple(_entry(address, place, lines, [], action, transcript) for place, address in _unique(found))


def named(root: Part, said: Notice) -> tuple[Recipient, ...]:
    """Those whom the report names."""
    if _EMBEDDED.search(said.text):
        copied = dsn_recipients(groups(said.text), said.text, lambda: failed_recipients_field(root))
        if copied:
            return copied
    lines = said.text.split("\n")
    own = _addresses(root, "from", "reply-to", "message-id", "in-reply-to") | _addresses(said.returned, "message-id")
    places = _leading(lines, own)
    listed = failed_recipients_field(root)
    if listed and len(listed) >= FULL_FIELD:
        found = [*places, *((-1, address) for address in listed)]
    elif listed:
        wanted = {address.lower() for address in listed}
        at = {address.lower(): place for place, address in places}
        found = [(at.get(address.lower(), -1), address) for address in listed]
        places = [entry for entry in places if entry[1].lower() in wanted]
    else:
        found = places or _announced(lines, own | _addresses(root, "to", "delivered-to")) or _announced(lines, own)
    action = action_of(said.text)
    starts = sorted({place for place, _ in places or found})
    transcript = Transcript(said.text)
    return tuple(_entry(address, place, lines, starts, action, transcript) for place, address in _unique(found))


def _addresses(root: Part, *fields: str) -> set[str]:
    """The addresses in these fields, in lower case."""
    return {address.lower() for field in fields for address in _ANY.findall(root.value(field)[:4_000])}


def action_of(text: str) -> Action:
    """Failed, unless the words say that it arrived, or that more attempts follow, and nothing says that it is over."""
    said = words(text[:20_000])
    normal = normal_form(said)
    table = patterns()
    if any(True for _ in table.delivered.find(said, normal)) and not any(True for _ in table.failures.find(said, normal)):
        return Action.DELIVERED
    if any(True for _ in table.delays.find(said, normal)) and not any(True for _ in table.failures.find(said, normal)):
        return Action.DELAYED
    return Action.FAILED


def _unique(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    seen: dict[str, tuple[int, str]] = {}
    for place, address in found:
        seen.setdefault(address.lower(), (place, address))
    return list(seen.values())[:MAX_FOUND]


def _leading(lines: list[str], own: set[str]) -> list[tuple[int, str]]:
    """Addresses that begin a line and are followed by nothing, or by what follows a failed recipient."""
    found: list[tuple[int, str]] = []
    before, indent = "", 0
    for number, line in enumerate(lines):
        if "@" in line:
            match = _LEADING.match(line)
            goes_on = found and _indent(line) > indent and number and lines[number - 1].strip()
            if match is not None and not goes_on and _is_leading(match, own, before):
                found.append((number, _clean(match.group(1))))
                indent = _indent(line)
                if len(found) >= MAX_FOUND:
                    break
        if line.strip():
            before = line
    return found


def _is_leading(match: re.Match[str], own: set[str], before: str) -> bool:
    """Whether an address at the start of a line is that of a recipient; `before` is the last line that was not empty."""
    return bool(_TAIL.match(match.group(2))) and match.group(1).lower() not in own and not _ends_with_bystander(before)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _announced(lines: list[str], own: set[str]) -> list[tuple[int, str]]:
    """Addresses right after words that announce a failed recipient, in a line or over a line's end."""
    found: list[tuple[int, str]] = []
    before = ""
    for number, line in enumerate(lines):
        if "@" in line:
            for match in _ANY.finditer(line):
                lead = normalise(f"{before[-200:]} {line[: match.start()][-200:]}")
                follow = normalise(f"{line[match.end() :][:120]} {_next(lines, number)[:120]}")
                if match.group().lower() not in own and _announces(lead, follow):
                    found.append((number, _clean(match.group())))
            if len(found) >= MAX_FOUND:
                break
        if line.strip():
            before = line
    return found


def _next(lines: list[str], number: int) -> str:
    """The line after, when it goes on with the sentence."""
    return lines[number + 1] if number + 1 < len(lines) else ""


def _announces(lead: str, follow: str) -> bool:
    """Whether the words around an address say that it failed; of those before it the longest phrase that fits decides."""
    table = patterns()
    for prefix in (" smtp ", " rfc822 ", " mailto "):
        lead = lead.removesuffix(prefix[1:])
    if _CODE_BEFORE.search(lead):
        return True
    good = next((len(phrase) for phrase in table.inline if lead.endswith(phrase)), 0)
    bad = next((len(phrase) for phrase in table.bystanders if lead.endswith(phrase)), 0)
    return good > bad or (not bad and any(follow.startswith(phrase) for phrase in table.verdicts))


def _ends_with_bystander(line: str) -> bool:
    lead = normalise(line[-200:])
    return any(lead.endswith(phrase) for phrase in patterns().bystanders) and not any(lead.endswith(phrase) for phrase in patterns().inline)


def _written_to(lines: list[str], own: set[str]) -> list[tuple[int, str]]:
    """The only address in the lines that repeat whom the message was for."""
    found = [(number, match.group()) for number, line in enumerate(lines) if _TO.match(line) for match in [_ANY.search(line)] if match]
    found = [(number, _clean(address)) for number, address in found if address.lower() not in own]
    return found if len({address.lower() for _, address in found}) == 1 else []


def _returned_to(returned: Part) -> list[tuple[int, str]]:
    """The only recipient of the returned message."""
    for field in ("x-envelope-to", "x-original-to", "delivered-to", "to"):
        addresses = list(dict.fromkeys(match.group() for match in _ANY.finditer(returned.value(field)[:2_000])))
        if len(addresses) == 1:
            return [(-1, _clean(addresses[0]))]
    return []


def _clean(address: str) -> str:
    """An address without what prose puts around it."""
    local, _, domain = address.rpartition("@")
    for prefix in ("SMTP=", "smtp=", "mailto:"):
        local = local.removeprefix(prefix)
    if not local.startswith("=?"):
        local = local.removeprefix("=")
    return f"{local.lstrip('.!/')}@{domain.rstrip('.:')}"


def _entry(address: str, place: int, lines: list[str], starts: list[int], action: Action, transcript: Transcript) -> Recipient:
    """One recipient with the words that stand by it."""
    block = _block(place, lines, starts)
    spoken = transcript.spoken_of(address)
    diagnostic = " ".join((spoken or _telling_paragraph(block)).split())
    reading = read(diagnostic, "", block)
    if strength(reading.found) < 2 and strength(transcript.whole.found) > strength(reading.found):
        reading = msgspec.structs.replace(transcript.whole, status=transcript.whole.status or reading.status)
    alias = _ALIAS.search(block[:1_000])
    original = _clean(alias.group(1)) if alias else ""
    return recipient(
        address, action, reading.status, reading.found, original=original, diagnostic=diagnostic, remote_mta=remote_host(diagnostic)
    )


def _telling_paragraph(block: str) -> str:
    """The paragraph in which a reply code stands, else all."""
    for paragraph in block.split("\n\n"):
        if codes_of(paragraph)[0]:
            return paragraph
    return block


def _block(place: int, lines: list[str], starts: list[int]) -> str:
    """The words from one recipient to the next."""
    if place < 0:
        return "\n".join(lines)[:MAX_BLOCK]
    following = bisect.bisect_right(starts, place)
    after = starts[following] if following < len(starts) else len(lines)
    first = _ANY.sub("", lines[place], count=1).strip(" \t<>:\"'*")
    return "\n".join([first, *lines[place + 1 : after]])[:MAX_BLOCK]
