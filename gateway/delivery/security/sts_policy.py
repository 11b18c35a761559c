"""What a domain says about TLS to its MX hosts by MTA-STS: the TXT record, the policy file, and whether a host is named (RFC 8461; pure).

Promises: any text in, never an exception; time linear in it; what comes out is bounded. A record or policy that is not clearly valid is
none: then mail goes on as if nothing had been published (RFC 8461 section 3.2), and the reason is there for a report.
"""

import enum
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from mail.address import normalise_domain

MAX_POLICY: Final = 65_536  # RFC 8461 section 3.3: "a limit on the size", 64 kilobytes as it suggests
MOST_MX: Final = 100
KEPT: Final = 4_096
"""Octets of a policy's own lines that are kept for reports, about: policies are in memory by the ten thousand."""
LONGEST_AGE: Final = 31_557_600.0  # RFC 8461 section 3.2

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_AGE = re.compile(r"[0-9]{1,10}")
_WHITE: Final = " \t"


class Mode(enum.StrEnum):
    """What is done where a host cannot be verified (RFC 8461 section 5): nothing, a report, or no delivery."""

    NONE = "none"
    TESTING = "testing"
    ENFORCE = "enforce"


class Policy(msgspec.Struct, frozen=True, gc=False):
    """A policy file. `mx` are host names or `*.suffix`, in normal form; `max_age` in seconds; `lines` are the file's own, for reports:
    the first `KEPT` octets of them."""

    mode: Mode
    max_age: float
    mx: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class Invalid(msgspec.Struct, frozen=True, gc=False):
    """No policy; `why` is for people."""

    why: str


def policy_id(texts: Iterable[str]) -> str | None:
    """The id in the TXT records of `_mta-sts.DOMAIN`, or None: RFC 8461 section 3.1 wants exactly one record that begins with v=STSv1."""
    records = [text for text in texts if _version(text)]
    if len(records) != 1:
        return None
    found = ""
    for field in records[0].split(";")[1:]:
        name, _, value = field.partition("=")
        if name.strip(_WHITE) == "id" and not found:
            found = value.strip(_WHITE)
    return found if _ID.fullmatch(found) else None


def _version(text: str) -> bool:
    first = text.partition(";")[0]
    return first.rstrip(_WHITE) == "v=STSv1"


def read_policy(body: bytes) -> Policy | Invalid:
    """The policy in a file (RFC 8461 section 3.2). Unknown fields are passed over; of a field named twice, but mx, the first counts."""
    if len(body) > MAX_POLICY:
        return Invalid("the policy is too long")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return Invalid("the policy is not UTF-8")
    fields: dict[str, str] = {}
    hosts: list[str] = []
    lines = tuple(line.strip(_WHITE) for line in text.replace("\r\n", "\n").split("\n") if line.strip(_WHITE))
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(_WHITE), value.strip(_WHITE)
        if not colon:
            return Invalid(f"not a field: {_shown(line)}")
        if name == "mx":
            hosts.append(value)
        else:
            fields.setdefault(name, value)
    return _policy(fields, hosts, _kept(lines))


def _kept(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The first of `lines`, as many as fit."""
    kept: list[str] = []
    room = KEPT
    for line in lines:
        room -= len(line.encode())
        if room < 0:
            break
        kept.append(line)
    return tuple(kept)


def _policy(fields: dict[str, str], hosts: list[str], lines: tuple[str, ...]) -> Policy | Invalid:
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if fields.get("version") != "STSv1":
        return Invalid("version is not STSv1")
    if mode not in list(Mode):
        return Invalid(f"there is no mode {_shown(mode)}")
    if _AGE.fullmatch(age) is None:
        return Invalid(f"max_age is not a number of seconds: {_shown(age)}")
    if len(hosts) > MOST_MX:
        return Invalid("the policy names too many hosts")
    patterns = [_pattern(host) for host in hosts]
    wrong = next((host for host, pattern in zip(hosts, patterns, strict=True) if pattern is None), None)
    if wrong is not None:
        return Invalid(f"mx is not a host name: {_shown(wrong)}")
    if not hosts and mode != Mode.NONE:
        return Invalid("the policy names no host")
    named = tuple(pattern for pattern in patterns if pattern is not None)
    return Policy(Mode(mode), min(float(age), LONGEST_AGE), named, lines)


def _pattern(host: str) -> str | None:
    """`host` in normal form: a name, or `*.name` (RFC 8461 section 4.1)."""
    star = host.startswith("*.")
    name = normalise_domain(host.removeprefix("*."))
    if name is None or name.startswith("["):
        return None
    return f"*.{name}" if star else name


def names_host(policy: Policy, host: str) -> bool:
    """Whether `host` (normal form) is one the policy names; `*` stands for exactly one label (RFC 8461 section 4.1)."""
    return host in policy.mx or f"*.{host.partition('.')[2]}" in policy.mx


def _shown(text: str) -> str:
    return repr(text[:60])
