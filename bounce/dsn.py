"""Delivery status notifications: the machine-readable part of a report (RFC 3464, RFC 6522, RFC 6533), read with patience.

What arrives is far from the grammar: groups without an empty line between them or with three, quoted-printable and base64, values with
comments, fields in the text part only, addresses of unknown types, actions nobody defined. Everything is bounded: at most MAX_RECIPIENTS
groups are kept. The part returned from a report inside the report is never looked at.
"""

import re
from collections.abc import Callable

import msgspec

from bounce.diagnostic import Transcript, read, remote_host, unwrap
from bounce.report import Action, Recipient, recipient

MAX_RECIPIENTS = 2_000
MAX_VALUE = 4_000

_FIELD = re.compile(r"^[ \t>]{0,8}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]{0,8}:[ \t]{0,8}(.*)$")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_ADDRESS = re.compile(r"[^\s<>\"(),;:\[\]]{1,64}@[^\s<>\"(),;:\[\]]{1,255}|\"[^\"\n]{1,64}\"@[^\s<>\"(),;:\[\]]{1,255}")
_XTEXT = re.compile(r"\+(2B|3D)")
_UTF8 = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 section 3
_PER_RECIPIENT = frozenset(
    {"final-recipient", "original-recipient", "action", "status", "diagnostic-code", "remote-mta", "x-actual-recipient"}
)
_ACTIONS = {
    "failed": Action.FAILED,
    "failure": Action.FAILED,
    "fail": Action.FAILED,
    "error": Action.FAILED,
    "expired": Action.FAILED,
    "bounced": Action.FAILED,
    "hardfail": Action.FAILED,
    "undeliverable": Action.FAILED,
    "delayed": Action.DELAYED,
    "delay": Action.DELAYED,
    "deferred": Action.DELAYED,
    "transient": Action.DELAYED,
    "delivered": Action.DELIVERED,
    "deliverable": Action.DELIVERED,
    "relayed": Action.RELAYED,
    "expanded": Action.EXPANDED,
}


class Status(msgspec.Struct, frozen=True):
    """A status part: its per-message fields and one mapping for each recipient. Names are in lower case."""

    message: dict[str, str]
    recipients: list[dict[str, str]]

    def named(self, name: str) -> str:
        """The first field `name` of any group, or ""."""
        return next((group[name] for group in (self.message, *self.recipients) if name in group), "")


def groups(text: str) -> Status:
    """The fields of a status part. A field that a group already has begins the next group, because empty lines are unreliable."""
    message: dict[str, str] = {}
    found: list[dict[str, str]] = []
    current: dict[str, str] = message
    last, gap = "", False
    for line in text.split("\n"):
        if line[:1] in " \t" and last and line.strip():
            if len(current.get(last, "")) < MAX_VALUE:
                current[last] = f"{current[last]} {line.strip()}"
            continue
        match = _FIELD.match(line[:MAX_VALUE])
        if match is None:
            last, gap = "", True
            continue
        name, value = match.group(1).lower(), match.group(2).strip()
        if name in _PER_RECIPIENT and (current is message or _begins(name, current, gap)):
            if len(found) >= MAX_RECIPIENTS:
                break
            current = {}
            found.append(current)
        current.setdefault(name, value)
        last, gap = name, False
    return Status(message, [group for group in found if "final-recipient" in group or "original-recipient" in group or "action" in group])


def _begins(name: str, group: dict[str, str], gap: bool) -> bool:
    """Whether this field cannot belong to `group` any more; `gap` says that an empty line stood before it."""
    if name not in ("original-recipient", "final-recipient", "action"):
        return False
    return name in group or (gap and "final-recipient" in group)


def recipients(status: Status, context: str, fallback: Callable[[], list[str]]) -> tuple[Recipient, ...]:
    """One entry for each group. `context` is the text part; `fallback` gives addresses for a single group without a usable one."""
    found: dict[tuple[str, Action], Recipient] = {}
    transcript = Transcript(context if len(status.recipients) > 1 else "")
    for group in status.recipients:
        final, original = address_of(group.get("final-recipient", "")), address_of(group.get("original-recipient", ""))
        actual = address_of(group.get("x-actual-recipient", ""))
        address = _usable(final) or _usable(original) or _usable(actual)
        if not address and len(status.recipients) == 1:
            address = next(iter(fallback()), "")
        address = address or final or original
        if not address:
            continue
        about = context if len(status.recipients) == 1 else transcript.spoken_of(address)
        entry = _entry(group, address, original, about)
        found.setdefault((address.lower(), entry.action), entry)
    return tuple(found.values())


def _entry(group: dict[str, str], address: str, original: str, context: str) -> Recipient:
    diagnostic = unwrap(group.get("diagnostic-code", ""))
    stated = _STATUS.search(group.get("status", ""))
    status = stated.group(1) if stated else ""
    reading = read(diagnostic or group.get("status", "").partition("(")[2], status, context)
    action = action_of(group.get("action", ""), reading.status or status)
    remote = group.get("remote-mta", "").rpartition(";")[2].strip() or remote_host(diagnostic)
    best = reading.status if action in (Action.FAILED, Action.DELAYED) else status
    return recipient(address, action, best, reading.found, original=original, diagnostic=diagnostic, remote_mta=remote)


def action_of(value: str, status: str) -> Action:
    """The action named, or what the status code implies when it is missing or unheard of."""
    word = value.strip().partition(" ")[0].partition("(")[0].strip(";,.\"'").lower()
    if word in _ACTIONS:
        return _ACTIONS[word]
    return {"2": Action.DELIVERED, "4": Action.DELAYED}.get(status[:1], Action.FAILED)


def address_of(value: str) -> str:
    """The address in `rfc822; user@example.org`, of whatever type and dress; what remains when there is none."""
    kind, separator, rest = value.partition(";")
    if not separator:
        kind, rest = "", value
    rest = rest.strip()
    if kind.strip().lower() == "utf-8":
        rest = _UTF8.sub(_character, rest)
    elif "+" in rest:
        rest = _XTEXT.sub(_printable, rest)  # RFC 3461 section 4
    match = _ADDRESS.search(rest[:1_000])
    if match is not None:
        return match.group().strip(".'")
    return rest.strip("<> \t").partition(" ")[0][:320]


def _usable(address: str) -> str:
    return address if "@" in address else ""


def _character(match: re.Match[str]) -> str:
    number = int(match.group(1), 16)
    return chr(number) if 32 < number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


def _printable(match: re.Match[str]) -> str:
    """An octet of xtext that was not decoded on its way into the report; only those two that must be encoded in an address."""
    return chr(int(match.group(1), 16))
